"""`agreement`: how often the canary's answers are stable's. Pure."""

from dataclasses import dataclass
from typing import Any, ClassVar

from router.rollout import kinds
from router.rollout.guards.kind import GuardKind
from router.rollout.reading import MODE, Readers, fields, per_text, without_none
from router.rollout.table import NAME, REQUIRED, Field, Section, default_of, mode_of, sample, section
from router.rollout.values import Guard, Mode, Per, Setting, Units
from serving.document import Node

SAMPLE = {"output": "label", "min": "98%"}


@dataclass(frozen=True, slots=True)
class AgreementGuard:
    """At least the fraction `min` (0 and 1 excluded) of comparisons of `output` must agree.

    `per` is the unit: each weighs the same, however many comparisons are in it; of equal bodies the first
    on each node counts.
    """

    output: str
    min: float
    mode: Mode = "enforce"
    per: Per = "key"
    counted: ClassVar[bool] = True
    proves: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """`agreement:label` for the output `label`; only `latency:clients` has a colon besides."""
        return f"agreement:{self.output}"

    @property
    def units(self) -> Units:
        """As `Guard`."""
        return Units(self.per, 1.0 - self.min, self.output)

    def can_prove(self, at: Setting) -> bool:
        """As `Guard`: from mirrored requests, or recorded ones."""
        return at.mirror > 0 or at.top_up > 0


def _read(_name: str, node: Node) -> list[Guard]:
    nodes = node.value if isinstance(node.value, list) else [node]
    if not nodes:
        node.fail("expected at least one output")
    guards: dict[str, Guard] = {}
    readers: Readers = {
        "output": ("output", kinds.TENSOR.read),
        "min": ("min", kinds.LIMIT.read),
        "per": ("per", kinds.AGREEMENT_PER.read),
        "mode": MODE,
    }
    for each in nodes:
        guard = AgreementGuard(**fields(each, ["output", "min"], readers))
        if guard.output in guards:
            each.fail(f"output {guard.output[:160]!r} has a guard already")
        guards[guard.output] = guard
    return list(guards.values())


def _write(guard: AgreementGuard, document: dict[str, Any]) -> None:
    entry = without_none(output=guard.output, min=guard.min, per=per_text(guard.per), mode=guard.mode)
    document.setdefault("agreement", []).append(entry)


_SECTION = Section(
    "agreement",
    "guards.agreement",
    "One mapping, or a list of them, one for each output. It rests on mirrored requests (`mirror`)"
    " and recorded ones (`topUp`).",
    (NAME, "guards", "agreement"),
    sample(guards={"agreement": SAMPLE}),
    [
        Field("output", kinds.TENSOR, REQUIRED, "label", 1, "what is compared, by its rule in `compare`"),
        Field("min", kinds.LIMIT, REQUIRED, "98%", 98, "least share of answers that agree"),
        Field(
            "per",
            kinds.AGREEMENT_PER,
            default_of(AgreementGuard, "per"),
            "10s",
            "user",
            "the unit, each of which weighs the same: a user of `sticky` (without it a request), of equal"
            " bodies the first in each node, or all comparisons of so much time",
        ),
        mode_of(AgreementGuard),
    ],
)

_SCHEMA = {
    "if": {"type": "array"},
    "then": kinds.GUARDS.of(section("agreement")),
    "else": section("agreement"),
}
KIND = GuardKind("agreement", _read, {AgreementGuard: _write}, (_SECTION,), _SCHEMA)
