"""The `compare` and `guards` parts of a rollout document, read and written. Pure."""

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, assert_never

from router.rollout import kinds
from router.rollout.kinds import duration_text
from router.rollout.rules import Argmax, Close, Cosine, Exact, JensenShannon, Rule, TopK
from router.rollout.values import (
    AgreementGuard,
    ClientsGuard,
    ErrorsGuard,
    Guard,
    LatencyGuard,
    Per,
    PromQLGuard,
)
from serving.document import Node, read_each

Reader = tuple[str, Callable[[Node], Any]]
Readers = Mapping[str, Reader]


_MODE: Reader = ("mode", kinds.MODE.read)
_MAX_RATIO: Reader = ("max_ratio", kinds.RATIO.read)
_LATENCY_RATIO: Reader = ("max_ratio", kinds.LATENCY_RATIO.read)
_PROMQL: Readers = {
    "promql": ("query", kinds.QUERY.read),
    "min": ("min", kinds.QUERY_BOUND.read),
    "max": ("max", kinds.QUERY_BOUND.read),
    "interval": ("interval_seconds", kinds.QUERY_INTERVAL.read),
    "failureLimit": ("failure_limit", kinds.TOLERATED.read),
    "inconclusiveLimit": ("inconclusive_limit", kinds.TOLERATED.read),
    "mode": _MODE,
}
_NAME = re.compile(kinds.NAME.pattern)


def check_name(name: str, node: Node) -> None:
    """Refuse a public model name or a guard's name that is no plain name.

    Raises:
        DocumentError: at the node, which is what the name stands for.
    """
    if not _NAME.fullmatch(name):
        node.fail(
            "a name has 1 to 128 letters, digits, dots, dashes and underscores, and begins with a letter or"
            f" digit, unlike {name[:140]!r}"
        )


def fields(node: Node, required: Collection[str], readers: Readers) -> dict[str, Any]:
    """What a mapping says, as arguments for a dataclass, which knows the defaults of what it leaves out.

    Args:
        node: the mapping.
        required: keys that must be there.
        readers: for every allowed key the argument's name and what reads the value.

    Raises:
        DocumentError: with every fault of the mapping and of what it holds.
    """
    entries = {key: entry for key, entry in node.entries().items() if key in readers}
    _, *values = read_each(
        [
            partial(node.mapping, required, readers),
            *(partial(readers[key][1], each) for key, each in entries.items()),
        ]
    )
    return dict(zip((readers[key][0] for key in entries), values, strict=True))


def parse_compare(node: Node) -> dict[str, Rule]:
    """Rule by output name; refused with `DocumentError` when one is not understood."""
    entries = node.entries()
    return dict(zip(entries, read_each(partial(_rule, rule) for rule in entries.values()), strict=True))


def _rule(node: Node) -> Rule:
    if not isinstance(node.value, dict):
        return Exact() if kinds.PLAIN_RULES.read(node) == "exact" else Argmax()
    entries = node.mapping(optional=["atol", "rtol", "topk", "cosine", "js"])
    if entries and entries.keys() <= {"atol", "rtol"}:
        return Close(**{key: kinds.TOLERANCE.read(limit) for key, limit in entries.items()})
    if len(entries) != 1:
        node.fail("expected exact, argmax, {atol, rtol}, {topk}, {cosine} or {js}")
    ((key, limit),) = entries.items()
    match key:
        case "topk":
            return TopK(kinds.TOP_K.read(limit))
        case "cosine":
            return Cosine(kinds.COSINE.read(limit))
        case _:
            return JensenShannon(kinds.JENSEN_SHANNON.read(limit))


def parse_guards(node: Node) -> tuple[Guard, ...]:
    """Guards in the order of the document; refused with `DocumentError` when one is not understood."""
    entries = node.entries()
    guards: list[Guard] = []
    found = read_each(partial(_guards, name, guard) for name, guard in entries.items())
    for guard, of_name in zip(entries.values(), found, strict=True):
        guards += of_name
        if sum(not isinstance(each, ClientsGuard) for each in guards) > kinds.GUARDS.most:
            guard.fail(f"more than {kinds.GUARDS.most} guards")
    return tuple(guards)


def _guards(name: str, node: Node) -> list[Guard]:
    """The guards of one name: agreement has one for each output, latency one of the model, one of clients."""
    match name:
        case "errors":
            return [_errors_guard(node)]
        case "latency":
            return _latency_guards(node)
        case "agreement":
            return _agreement_guards(node)
        case _ if node.lenient and "promql" not in node.entries():
            return []  # of a newer version
        case _:
            return [_promql_guard(name, node)]


def _errors_guard(node: Node) -> ErrorsGuard:
    readers: Readers = {
        "maxRatio": _MAX_RATIO,
        "max": ("max", kinds.LIMIT.read),
        "per": ("per", kinds.ERRORS_PER.read),
        "mode": _MODE,
    }
    guard = ErrorsGuard(**fields(node, [], readers))
    if guard.max_ratio is None and guard.max is None:
        node.fail("expected maxRatio, max or both")
    if guard.max is None and "per" in node.entries():
        node.entries()["per"].fail("it is the unit of max, which is not set; maxRatio has none")
    return guard


def _latency_guards(node: Node) -> list[Guard]:
    readers: Readers = {"maxRatio": _LATENCY_RATIO, "clients": ("clients", _clients), "mode": _MODE}
    found = fields(node, ["maxRatio"], readers)
    clients = found.pop("clients", {})
    model = LatencyGuard(**found)
    return [model, ClientsGuard(**{"mode": model.mode, **clients})]


def _clients(node: Node) -> dict[str, Any]:
    readers: Readers = {
        "maxRatio": _MAX_RATIO,
        "slack": ("slack_seconds", kinds.SLACK.read),
        "slice": ("slice_seconds", kinds.SLICE.read),
        "mode": _MODE,
    }
    return fields(node, [], readers)


def _agreement_guards(node: Node) -> list[Guard]:
    nodes = node.value if isinstance(node.value, list) else [node]
    if not nodes:
        node.fail("expected at least one output")
    guards: dict[str, Guard] = {}
    readers: Readers = {
        "output": ("output", kinds.TENSOR.read),
        "min": ("min", kinds.LIMIT.read),
        "per": ("per", kinds.AGREEMENT_PER.read),
        "mode": _MODE,
    }
    for each in nodes:
        guard = AgreementGuard(**fields(each, ["output", "min"], readers))
        if guard.output in guards:
            each.fail(f"output {guard.output[:160]!r} has a guard already")
        guards[guard.output] = guard
    return list(guards.values())


def _promql_guard(name: str, node: Node) -> PromQLGuard:
    check_name(name, node)
    guard = PromQLGuard(name, **fields(node, ["promql"], _PROMQL))
    if guard.min is None and guard.max is None:
        node.fail("expected min, max or both")
    if guard.min is not None and guard.max is not None and guard.min > guard.max:
        node.entries()["max"].fail(f"less than min, which is {guard.min:g}")
    return guard


def rule_to_document(rule: Rule) -> str | dict[str, float]:
    """What `parse_compare` reads as this rule."""
    match rule:
        case Exact():
            return "exact"
        case Argmax():
            return "argmax"
        case Close():
            return {"atol": rule.atol, "rtol": rule.rtol}
        case TopK():
            return {"topk": rule.k}
        case Cosine():
            return {"cosine": rule.min}
        case JensenShannon():
            return {"js": rule.max}
        case _:
            assert_never(rule)


def guards_to_document(guards: tuple[Guard, ...]) -> dict[str, Any]:
    """What `parse_guards` reads as these guards."""
    document: dict[str, Any] = {}
    for guard in guards:
        match guard:
            case ErrorsGuard():
                document["errors"] = without_none(
                    maxRatio=guard.max_ratio, max=guard.max, per=_per_text(guard.per), mode=guard.mode
                )
            case LatencyGuard():
                document["latency"] = {"maxRatio": guard.max_ratio, "mode": guard.mode}
            case ClientsGuard():
                document["latency"]["clients"] = {
                    "maxRatio": guard.max_ratio,
                    "slack": duration_text(guard.slack_seconds),
                    "slice": duration_text(guard.slice_seconds),
                    "mode": guard.mode,
                }
            case AgreementGuard():
                entry = without_none(
                    output=guard.output, min=guard.min, per=_per_text(guard.per), mode=guard.mode
                )
                document.setdefault("agreement", []).append(entry)
            case PromQLGuard():
                document[guard.name] = without_none(
                    promql=guard.query,
                    min=guard.min,
                    max=guard.max,
                    interval=duration_text(guard.interval_seconds),
                    failureLimit=guard.failure_limit,
                    inconclusiveLimit=guard.inconclusive_limit,
                    mode=guard.mode,
                )
            case _:
                assert_never(guard)
    return document


def _per_text(per: Per) -> str | None:
    """As documents have it; None for the default, which an older version does not know by its name."""
    if isinstance(per, int):
        return duration_text(per)
    return None if per == "key" else per


def without_none(**entries: Any) -> dict[str, Any]:
    """The entries that are set."""
    return {key: entry for key, entry in entries.items() if entry is not None}
