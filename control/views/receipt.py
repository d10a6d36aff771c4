"""A receipt as it is shown: the names behind its hashes, as far as control knows them. Pure."""

from collections.abc import Iterable
from typing import Any

from router.counting.receipt import Receipt, name_id, node_id


def receipt_view(receipt: Receipt, models: Iterable[str], nodes: Iterable[str]) -> dict[str, Any]:
    """For `GET /v1/receipts/{receipt}`.

    Args:
        receipt: as it was read.
        models: every public name that there was.
        nodes: names of the nodes that are known.
    """
    return {
        "model": next((model for model in models if name_id(model) == receipt.rollout), None),
        "stage": receipt.stage,
        "role": receipt.role,
        "drawn": receipt.drawn,
        "candidate": receipt.candidate or None,
        "arrived": receipt.arrived,
        "node": next((node for node in nodes if node_id(node) == receipt.node), None),
        "worker": receipt.worker,
        "counter": receipt.counter,
        "sticky_key_hash": f"{receipt.key:016x}" if receipt.key else "",
    }
