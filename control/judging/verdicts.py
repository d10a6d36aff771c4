"""What the judge says: verdicts, and the words and numbers in their reasons. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from router.rollout.values import Mode

Verdict = Literal["harmful", "proven", "undecided"]
Unit = Literal["change", "difference", "ratio", "share"]
"""By which share of stable's it is more; by how much a share is more than stable's; how many times stable's
it is; the share itself."""


@dataclass(frozen=True, slots=True)
class Effect:
    """How far the canary is from stable, as a guard sees it.

    Args:
        unit: of the numbers.
        estimate: the likeliest; None where nothing is known of it.
        least: what it is at least; None where there is no interval.
        greatest: what it is at most; None where there is no interval, or it may be anything above `least`.
        confidence: with which each end holds by itself, at all looks together.
        asymptotic: whether the interval is an approximation for many events.
    """

    unit: Unit
    estimate: float | None
    least: float | None
    greatest: float | None
    confidence: float
    asymptotic: bool = False

    def as_change(self) -> "Effect":
        """A ratio as a change."""
        estimate, least, greatest = (
            None if each is None else each - 1.0 for each in (self.estimate, self.least, self.greatest)
        )
        return replace(self, unit="change", estimate=estimate, least=least, greatest=greatest)

    def words(self) -> str:
        """As people read it: `-3.1% of stable's (-6.2% to +0.4%)`."""
        told = "?" if self.estimate is None else self._number(self.estimate)
        found = f"{told}{_BESIDE[self.unit]}"
        if self.least is None:
            return found
        about = "about " if self.asymptotic else ""
        ends = "at least " if self.greatest is None else ""
        upto = "" if self.greatest is None else f" to {self._number(self.greatest)}"
        return f"{found} ({about}{ends}{self._number(self.least)}{upto})"

    def _number(self, value: float) -> str:
        match self.unit:
            case "ratio":
                return f"{value:.3g}"
            case "share":
                return share(value)
            case "difference":
                return f"{100 * value:+.3g}"
            case _:
                return f"{100 * value:+.3g}%"


_BESIDE: Mapping[Unit, str] = {
    "change": " of stable's",
    "difference": " points",
    "ratio": " times stable's",
    "share": "",
}


@dataclass(frozen=True, slots=True)
class SegmentVerdict:
    """One segment, as the guard of segments sees it.

    Args:
        value: of the header; `other` is all without a place of their own, `none` those without the header.
        canary: errors of the canary in it.
        stable: errors of stable in it.
        log_harm: natural logarithm of its e-value for harm.
        named: whether it is among those that may be called harmed, of which in expectation at most one in
            twenty is called so wrongly.
    """

    value: str
    canary: int
    stable: int
    log_harm: float
    named: bool


def _nothing() -> None:
    """The effect of a guard that tells none."""


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """One guard, judged.

    Args:
        guard: its name.
        mode: whether the verdict acts or is only shown.
        verdict: what the evidence says now.
        reason: a sentence that begins with the verdict.
        log_harm: natural logarithm of the e-value for harm; None without counts, or for a PromQL guard.
        log_safe: the same for being no worse.
        log_line: what `log_harm` must reach; None for a PromQL guard.
        log_proof_line: what `log_safe` must reach.
        more_to_harm: how many more canary requests (agreement: comparisons; latency: pairs; a guard on an
            outcome: outcomes, or labels) it should take at present rates until `log_harm` is at the line; 0
            when it is, None when it never would be.
        more_to_proof: the same for `log_safe`.
        doubt: what the guard cannot see, or an assumption that its counts do not keep, in words; or empty.
        proves: whether promotion waits for it; else it speaks for harm only.
        recorded: comparisons in it that are of recorded requests.
        segments: those with errors, of the guard of segments, the worst first.
        tell_effect: reckons `effect`; to be called through that.
    """

    guard: str
    mode: Mode
    verdict: Verdict
    reason: str
    log_harm: float | None = None
    log_safe: float | None = None
    log_line: float | None = None
    log_proof_line: float | None = None
    more_to_harm: int | None = None
    more_to_proof: int | None = None
    doubt: str = ""
    proves: bool = True
    recorded: int = 0
    segments: tuple[SegmentVerdict, ...] = ()
    tell_effect: Callable[[], Effect | None] = field(default=_nothing, repr=False, compare=False)

    @property
    def effect(self) -> Effect | None:
        """How far the canary is from stable since the evidence began; None where the guard cannot tell.

        It takes as long as the verdict, so it is reckoned when it is first asked for, and once.
        """
        return self.tell_effect()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A rollout, judged.

    Args:
        verdict: `harmful` when an enforced guard is, `proven` when all of them are.
        reason: why, in a sentence.
        guards: each guard, in the order of the document.
        hold: why the rollout must not move on although nobody harmed anyone: the draws did not fall as the
            weight says. `verdict` is never `proven` then.
    """

    verdict: Verdict
    reason: str
    guards: tuple[GuardVerdict, ...]
    hold: str | None = None


def as_json(judgement: Judgement) -> dict[str, Any]:
    """The judgement as JSON values; e-values stay logarithms (natural), since they may be huge."""
    return asdict(judgement) | {"guards": guards_as_json(judgement.guards)}


def guards_as_json(guards: Sequence[GuardVerdict]) -> list[dict[str, Any]]:
    """Each guard as JSON values, with its effect."""
    found = [(asdict(guard), guard.effect) for guard in guards]
    for row, effect in found:
        del row["tell_effect"]
        row["effect"] = None if effect is None else asdict(effect)
    return [row for row, _ in found]


def e_value(log_e: float) -> str:
    """An e-value as people read it: `412`, `0.031`, `1.2e+15`."""
    if log_e > 690:
        return "above 1e+299"
    value = math.exp(log_e)
    if value >= 1e6:
        return f"{value:.1e}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def share(fraction: float) -> str:
    """A fraction as a percentage: `2%`, `0.1%`."""
    return f"{100 * fraction:.4g}%"


def waited(seconds: float) -> str:
    """A time that people wait, in whole units: `40 s`, `12 min`, `6 d`."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2.0 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def duration(seconds: float) -> str:
    """A duration with a unit: `12.5 ms`."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"
