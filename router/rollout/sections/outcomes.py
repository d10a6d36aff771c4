"""The `outcomes` and `segments` of a rollout document, read, written and described. Pure."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from router.rollout import kinds
from router.rollout.kinds import Shape, duration_text
from router.rollout.reading import Readers, check_name, fields, header_name, without_none
from router.rollout.table import NAME, REQUIRED, UNSET, Field, Section, by_choice, default_of, sample, section
from router.rollout.values import Outcome, OutcomeKind, Segments
from serving.document import Node, read_each


def parse_outcomes(node: Node) -> tuple[Outcome, ...]:
    """Outcomes in the order of the document; refused with `DocumentError` when one is not understood."""
    entries = node.entries()
    if not kinds.OUTCOMES.least <= len(entries) <= kinds.OUTCOMES.most:
        node.fail(f"expected {kinds.OUTCOMES.least} to {kinds.OUTCOMES.most} outcomes, got {len(entries)}")
    known = ((name, each) for name, each in entries.items() if not each.lenient or _is_known(each))
    return tuple(read_each(partial(_outcome, name, each) for name, each in known))


def _is_known(node: Node) -> bool:
    """Whether its kind is not one of a newer version, whose outcomes are left out."""
    kind = node.entries().get("kind")
    return kind is None or kind.value in kinds.OUTCOME_KIND.options


def _outcome(name: str, node: Node) -> Outcome:
    check_name(name, node)
    kind = _kind(node)
    required = ("output", "within") if kind == "label" else ("within",)
    found = fields(node, required, _READERS[kind])
    if found.get("tolerance") is not None and "range" in found:
        node.entries()["range"].fail(
            "a label has a tolerance, by which it is right or wrong, or a range, by which the distance is the"
            " loss; not both"
        )
    return Outcome(name, **{"kind": kind, **found})


def _kind(node: Node) -> OutcomeKind:
    entries = node.entries()
    if "kind" in entries:
        said: Any = kinds.OUTCOME_KIND.read(entries["kind"])
        kind: OutcomeKind = said
        return kind
    if "output" not in entries:
        node.fail("expected `output`, of which it is the truth, or `kind: binary` or `kind: number`")
    return "label"


def _range(node: Node) -> tuple[float, float]:
    ends = node.sequence()
    if len(ends) != 2:
        node.fail("expected the least and the greatest value, such as [0, 500]")
    least, most = (kinds.QUERY_BOUND.read(end) for end in ends)
    if not least < most:
        node.fail(f"the greatest value, {most:g}, is not above the least, {least:g}")
    return least, most


_KIND: Readers = {"kind": ("kind", kinds.OUTCOME_KIND.read)}
_WITHIN: Readers = {"within": ("within_seconds", kinds.WITHIN.read)}
_RANGE: Readers = {"range": ("range", _range)}
_BETTER: Readers = {"better": ("better", kinds.BETTER.read)}
_READERS: Mapping[OutcomeKind, Readers] = {
    "label": {
        **_KIND,
        "output": ("output", kinds.TENSOR.read),
        "tolerance": ("tolerance", kinds.TOLERANCE.read),
        **_RANGE,
        **_WITHIN,
    },
    "binary": {**_KIND, **_BETTER, **_WITHIN},
    "number": {**_KIND, **_BETTER, **_RANGE, **_WITHIN},
}


def outcome_to_document(outcome: Outcome) -> dict[str, Any]:
    """What `parse_outcomes` reads as this outcome, under its name."""
    return without_none(
        kind=outcome.kind,
        output=outcome.output or None,
        tolerance=outcome.tolerance,
        better=None if outcome.kind == "label" else outcome.better,
        range=None if outcome.range is None else list(outcome.range),
        within=duration_text(outcome.within_seconds),
    )


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
        "additionalProperties": by_choice(
            "kind", {"binary": section("binary"), "number": section("number")}, section("label")
        ),
    },
)
_BOUNDS = Shape(
    "a list of two numbers, the least and the greatest",
    {"type": "array", "minItems": 2, "maxItems": 2, "items": kinds.QUERY_BOUND.schema},
)
_IS_BETTER = Field(
    "better", kinds.BETTER, default_of(Outcome, "better"), "higher", "more", "whether more of it is good"
)
_IS_TAKEN = Field("within", kinds.WITHIN, REQUIRED, "1h", "1 hour", "how long after its answer it is taken")
_IS_JUDGED = Field(
    "within",
    kinds.WITHIN,
    REQUIRED,
    "1h",
    3600,
    "how long after its answer it is taken; the answer is judged when this is over, so that nobody looks"
    " worse whose users take longer",
)
_LABEL = Section(
    "label",
    "outcomes.NAME (a label)",
    "The truth for an output that has one value for each request: [accuracy](../accuracy.md). Answers of a"
    " rollout that has outcomes carry receipts, by which these are told: [outcomes](../outcomes.md).",
    (NAME, "outcomes", "label"),
    sample(outcomes={"label": {"output": "label", "within": "7d"}}),
    [
        Field("kind", kinds.OUTCOME_KINDS["label"], "label", "label", "class", "may be left out"),
        Field("output", kinds.TENSOR, REQUIRED, "label", 1, "that it is the truth for"),
        Field(
            "tolerance",
            kinds.TOLERANCE,
            UNSET,
            0.5,
            -1,
            "of numbers: an output this close to it is right; left out, an equal one",
        ),
        Field(
            "range",
            _BOUNDS,
            UNSET,
            [0, 500],
            [0],
            "of numbers: beyond it none is taken, and what is judged is the mean distance of output and"
            " label, as a share of the range, instead of right and wrong",
        ),
        _IS_TAKEN,
    ],
    rules={"not": {"required": ["tolerance", "range"]}},
)
_BINARY = Section(
    "binary",
    "outcomes.NAME (what happens or does not)",
    "A conversion, a complaint. What is not told did not happen.",
    (NAME, "outcomes", "conversion"),
    sample(outcomes={"conversion": {"kind": "binary", "within": "1h"}}),
    [
        Field("kind", kinds.OUTCOME_KINDS["binary"], REQUIRED, "binary", "click", "says which it is"),
        _IS_BETTER,
        _IS_JUDGED,
    ],
)
_NUMBER = Section(
    "number",
    "outcomes.NAME (an amount)",
    "Revenue, minutes watched. Of what is not told it is 0.",
    (NAME, "outcomes", "revenue"),
    sample(outcomes={"revenue": {"kind": "number", "within": "1d"}}),
    [
        Field("kind", kinds.OUTCOME_KINDS["number"], REQUIRED, "number", "amount", "says which it is"),
        _IS_BETTER,
        Field(
            "range",
            _BOUNDS,
            UNSET,
            [0, 500],
            [0],
            "beyond it none is taken. With one it is judged exactly; without, by an approximation for many"
            " amounts, which errs more often than `alpha` while they are few",
        ),
        _IS_JUDGED,
    ],
)
SECTIONS = (
    _LABEL,
    _BINARY,
    _NUMBER,
    Section(
        "segments",
        "segments",
        "Parts of the traffic that the guard `segments` looks at by themselves: [segments](../segments.md).",
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
