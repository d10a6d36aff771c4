"""The `guards` part of a rollout document, by its kinds. Pure."""

from functools import partial
from typing import Any

from router.rollout import kinds
from router.rollout.guards import agreement, drift, errors, latency, outcomes, promql, segments, speed
from router.rollout.guards.kind import GuardKind
from router.rollout.values import Guard
from serving.document import Node, read_each

KINDS = (
    errors.KIND,
    latency.KIND,
    speed.KIND,
    agreement.KIND,
    drift.KIND,
    segments.KIND,
    outcomes.KIND,
    promql.KIND,
)
"""In the order in which the reference has them."""

_BY_KEY = {kind.key: kind for kind in KINDS if kind.key}
_FREE = {kind.told_by: kind for kind in KINDS if not kind.key}
_WRITERS = {value: write for kind in KINDS for value, write in kind.write.items()}


def parse_guards(node: Node) -> tuple[Guard, ...]:
    """Guards in the order of the document; refused with `DocumentError` when one is not understood."""
    entries, declared = node.entries(), 0
    known = {name: kind for name, guard in entries.items() if (kind := _kind(name, guard)) is not None}
    found = read_each(partial(kind.read, name, entries[name]) for name, kind in known.items())
    for guard in entries.values():
        declared += len(guard.value) if isinstance(guard.value, list) else 1
        if declared > kinds.GUARDS.most:
            guard.fail(f"more than {kinds.GUARDS.most} guards")
    return tuple(guard for of_name in found for guard in of_name)


def _kind(name: str, node: Node) -> GuardKind | None:
    """What is read under a name; None of a kind of a newer version, which is left out."""
    if name in _BY_KEY and not (node.lenient and _named_freely(node)):
        return _BY_KEY[name]
    told = _FREE.keys() & node.entries().keys()
    if len(told) == 1:
        return _FREE[told.pop()]
    if node.lenient:
        return None
    if told:
        node.fail(f"{' and '.join(sorted(told))} exclude each other")
    known = ", ".join(_BY_KEY)
    return node.fail(
        f"{name[:140]!r} is none of {known}: another name is a guard on a value (`promql`) or on an outcome"
        " (`outcome`)"
    )


def _named_freely(node: Node) -> bool:
    """Whether an older version read it as a guard with a free name, which is the key of a kind by now."""
    return isinstance(node.value, dict) and bool(_FREE.keys() & node.entries().keys())


def guards_to_document(guards: tuple[Guard, ...]) -> dict[str, Any]:
    """What `parse_guards` reads as these guards."""
    document: dict[str, Any] = {}
    for guard in guards:
        _WRITERS[type(guard)](guard, document)
    return document
