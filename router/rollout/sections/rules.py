"""The `compare` part of a rollout document, read and written. Pure."""

from functools import partial
from typing import assert_never

from router.rollout import kinds
from router.rollout.rules import Argmax, Close, Cosine, Exact, JensenShannon, Rule, TopK
from serving.document import Node, read_each


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
