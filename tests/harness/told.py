"""Receipts as a node's workers make them, for a real control, and outcomes told to it."""

from typing import Any

from harness.control import Control
from router.counting.receipt import Receipts, newest
from router.wire.receipt_keys import KeyRow


class Stamps:
    """Makes receipts that a control knows.

    Args:
        control: whose keys they are signed with.
    """

    def __init__(self, control: Control) -> None:
        report = {"instance": "stamps", "node": "n1", "kind": "worker", "revision": 0, "wait": 0.0}
        answer = control.client.post("/v1/sync", json={**report, "receipt_keys": ""}).raise_for_status()
        self._receipts = Receipts("n1", 0)
        self._receipts.key = newest([KeyRow.model_validate(row).key for row in answer.json()["receipt_keys"]])

    def make(
        self, model: str, stage: int, drawn: Any, arrived: float, key: int = 0, *, anew: bool = True
    ) -> str:
        """A receipt of an answer by who was drawn, or by stable."""
        stamp = self._receipts.of(model, stage)
        return stamp.make(drawn, drawn or "stable", key, arrived, anew).decode()

    def make_of(self, model: str, stage: int, side: int, arrived: float, *, anew: bool = True) -> str:
        """A receipt of an A/B/n test: of an answer by stable (0), or by the candidate of this number."""
        role: Any = "canary" if side else "stable"
        return self._receipts.of(model, stage).make(role, role, 0, arrived, anew, side or 1).decode()
