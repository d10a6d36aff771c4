"""The `guards` part of a rollout document, by its kinds. Pure."""

from functools import partial
from typing import Any

from router.rollout import kinds
from router.rollout.guards import agreement, errors, latency, promql
from router.rollout.values import Guard
from serving.document import Node, read_each

KINDS = (errors.KIND, latency.KIND, agreement.KIND, promql.KIND)
"""In the order in which the reference has them."""

_BY_KEY = {kind.key: kind for kind in KINDS}
_WRITERS = {value: write for kind in KINDS for value, write in kind.write.items()}


def parse_guards(node: Node) -> tuple[Guard, ...]:
    """Guards in the order of the document; refused with `DocumentError` when one is not understood."""
    entries, declared = node.entries(), 0
    found = read_each(
        partial(_BY_KEY.get(name, _BY_KEY[""]).read, name, guard) for name, guard in entries.items()
    )
    for guard in entries.values():
        declared += len(guard.value) if isinstance(guard.value, list) else 1
        if declared > kinds.GUARDS.most:
            guard.fail(f"more than {kinds.GUARDS.most} guards")
    return tuple(guard for of_name in found for guard in of_name)


def guards_to_document(guards: tuple[Guard, ...]) -> dict[str, Any]:
    """What `parse_guards` reads as these guards."""
    document: dict[str, Any] = {}
    for guard in guards:
        _WRITERS[type(guard)](guard, document)
    return document
