"""The `outcomes` and `segments` of a rollout document, read, written and described. Pure."""

from functools import partial
from typing import Any

from router.rollout import kinds
from router.rollout.kinds import Shape, duration_text
from router.rollout.reading import Readers, check_name, fields, header_name, without_none
from router.rollout.table import NAME, REQUIRED, UNSET, Field, Section, default_of, sample
from router.rollout.values import Outcome, Segments
from serving.document import Node, read_each


def parse_outcomes(node: Node) -> tuple[Outcome, ...]:
    """Outcomes in the order of the document; refused with `DocumentError` when one is not understood."""
    entries = node.entries()
    if not kinds.OUTCOMES.least <= len(entries) <= kinds.OUTCOMES.most:
        node.fail(f"expected {kinds.OUTCOMES.least} to {kinds.OUTCOMES.most} outcomes, got {len(entries)}")
    return tuple(read_each(partial(_outcome, name, each) for name, each in entries.items()))


def _outcome(name: str, node: Node) -> Outcome:
    check_name(name, node)
    found = fields(node, ["within"], _READERS)
    entries = node.entries()
    found.setdefault("kind", "label" if "output" in found else "")
    match found["kind"]:
        case "label":
            _only(entries, "label", "output", "tolerance", "range")
            if "output" not in found:
                node.fail("a label is the truth for an output: say which, as `output: label`")
            if "tolerance" in found and "range" in found:
                entries["range"].fail(
                    "a label has a tolerance (right or wrong) or a range (a loss), not both"
                )
        case "binary":
            _only(entries, "binary", "better")
        case "number":
            _only(entries, "number", "better", "range")
        case _:
            node.fail("expected `output`, of which it is the truth, or `kind: binary` or `kind: number`")
    return Outcome(name, **found)


def _only(entries: dict[str, Node], kind: str, *known: str) -> None:
    for key, entry in entries.items():
        if key not in (*known, "kind", "within"):
            entry.fail(f"an outcome of the kind {kind} has no {key}")


def _range(node: Node) -> tuple[float, float]:
    ends = node.sequence()
    if len(ends) != 2:
        node.fail("expected the least and the greatest value, such as [0, 500]")
    least, most = (kinds.QUERY_BOUND.read(end) for end in ends)
    if not least < most:
        node.fail(f"the greatest value, {most:g}, is not above the least, {least:g}")
    return least, most


_READERS: Readers = {
    "kind": ("kind", kinds.OUTCOME_KIND.read),
    "output": ("output", kinds.TENSOR.read),
    "tolerance": ("tolerance", kinds.TOLERANCE.read),
    "better": ("better", kinds.BETTER.read),
    "within": ("within_seconds", kinds.WITHIN.read),
    "range": ("range", _range),
}


def outcome_to_document(outcome: Outcome) -> dict[str, Any]:
    """What `parse_outcomes` reads as this outcome, under its name."""
    bounds = None if outcome.range is None else [kinds.plain(end) for end in outcome.range]
    within = duration_text(outcome.within_seconds)
    if outcome.kind == "label":
        return without_none(
            kind="label", output=outcome.output, tolerance=outcome.tolerance, range=bounds, within=within
        )
    return without_none(kind=outcome.kind, better=outcome.better, range=bounds, within=within)


def parse_segments(node: Node) -> Segments:
    """By which header; refused with `DocumentError` when that is none."""
    found = fields(node, ["header"], {"header": ("header", header_name), "max": ("max", kinds.SEGMENTS.read)})
    return Segments(**found)


OUTCOMES = Shape(
    f"a mapping of {kinds.OUTCOMES.least} to {kinds.OUTCOMES.most} names, see below",
    {
        "type": "object",
        "minProperties": kinds.OUTCOMES.least,
        "maxProperties": kinds.OUTCOMES.most,
        "propertyNames": {"pattern": kinds.NAME.schema["pattern"]},
        "additionalProperties": {"$ref": "#/$defs/outcome"},
    },
)
SECTIONS = (
    Section(
        "outcome",
        "outcomes.NAME",
        "What is told of an answer later, by its receipt or by its user: `POST /v1/outcomes`. A `label` is"
        " the truth for an output, of one value for each request; `binary` happens or does not; a `number`"
        " is an amount. Answers of a rollout with outcomes carry receipts. See [outcomes](../outcomes.md).",
        (NAME, "outcomes", "label"),
        sample(outcomes={"label": {"output": "label", "within": "7d"}}),
        [
            Field("kind", kinds.OUTCOME_KIND, UNSET, "label", "class", "left out with an `output`: `label`"),
            Field(
                "output", kinds.TENSOR, UNSET, "label", 1, "of a label: the output that it is the truth for"
            ),
            Field(
                "tolerance",
                kinds.TOLERANCE,
                UNSET,
                0.5,
                -1,
                "of a label that is a number: an output this close to it is right; left out, an equal one",
            ),
            Field(
                "range",
                Shape(
                    "two numbers, the least and the greatest",
                    {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}},
                ),
                UNSET,
                [0, 500],
                [0],
                "beyond which no value is taken; a number with a range is judged exactly, and of a label the"
                " distance over the range is the loss",
            ),
            Field(
                "better",
                kinds.BETTER,
                default_of(Outcome, "better"),
                "higher",
                "more",
                "whether more of it is good; of a label always `higher`",
            ),
            Field(
                "within",
                kinds.WITHIN,
                REQUIRED,
                "1h",
                "100d",
                "how long after the answer it is taken; what is no label is judged when this is over",
            ),
        ],
    ),
    Section(
        "segments",
        "segments",
        "Parts of the traffic that [the guard of segments](#guards-segments) looks at by themselves.",
        (NAME, "segments"),
        sample(segments={"header": "x-country"}),
        [
            Field("header", kinds.HEADER, REQUIRED, "x-country", "", "whose value names the segment"),
            Field(
                "max",
                kinds.SEGMENTS,
                default_of(Segments, "max"),
                10,
                0,
                "at most so many; values that come later are one segment together, `other`",
            ),
        ],
    ),
)
