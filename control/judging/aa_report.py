"""What an A/A test has shown: false alarms, and the noise that tolerances must stand above. Pure.

Law: stable is held against itself, so whatever differs is noise and whatever alarms is false. What was not
seen is no proof that it is not there: each share comes with the bound that the counts allow, at
`CONFIDENCE`, and where nothing was counted the report says so. A suggestion is the least tolerance that is
above the noise by `MARGIN`; whether a change of that size matters to anybody is not for counts to say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10

import numpy as np

from control.judging.verdicts import GuardVerdict, Verdict, e_value
from router.counting.pairs import RATIO_EDGES, PairCounts
from router.counting.stage_counts import RoleCounts, StageCounts
from router.rollout.guards.latency import LatencyGuard
from router.rollout.rules import Close, Cosine, JensenShannon, Rule
from router.rollout.sections.rules import rule_to_document
from router.rollout.values import Rollout

CONFIDENCE = 0.95
"""Of each bound by itself."""
MARGIN = 2.0
"""How far above the noise a tolerance is suggested."""
LATENCY_RATIOS = (1.1, 1.25, 1.5, 2.0, 3.0)
BEYOND = 0.1
"""Of the pairs of a copy, that a tolerated ratio may leave beyond it: the guard acts where half are."""
QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Share:
    """Events among trials, and between which shares the true one lies, each bound at `CONFIDENCE`."""

    events: int
    trials: int
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class RoleSeen:
    """What one of the two did: requests that were counted, and those of them that failed."""

    requests: int
    failures: Share


@dataclass(frozen=True, slots=True)
class GuardSeen:
    """One guard.

    Args:
        guard: its name.
        verdict: as it stands.
        alarm: what it said when it first called the copy harmful; empty where it never did.
        log_greatest: the greatest e-value for harm that was seen, as a logarithm; None where it has none.
        log_line: what that must reach.
        reason: of the verdict.
    """

    guard: str
    verdict: Verdict
    alarm: str
    log_greatest: float | None
    log_line: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class OutputSeen:
    """One output.

    Args:
        output: its name.
        rule: by which it is compared, as the document has it.
        default: whether the document leaves the rule to its default.
        differences: of the comparisons.
        farthest: the greatest distance by the rule, of those that could be measured.
        suggestion: the least tolerance above the noise, in words; empty where no noise was seen.
    """

    output: str
    rule: str
    default: bool
    differences: Share
    farthest: float
    suggestion: str


@dataclass(frozen=True, slots=True)
class LatencySeen:
    """The copy timed beside stable.

    Args:
        pairs: that were timed.
        max_ratio: that the guard tolerates; 0 without pairs.
        slower: pairs in which the copy took longer than that many times stable; of those in whole units.
        ratios: of the copy's time to stable's, below which half, 90% and 99% of the pairs are; rounded up.
        suggestion: the least `maxRatio` above the noise, in words.
    """

    pairs: int
    max_ratio: float
    slower: Share
    ratios: tuple[float, ...]
    suggestion: str


@dataclass(frozen=True, slots=True)
class AAReport:
    """An A/A test.

    Args:
        alarms: how many guards, the test of the draws among them, called it harmful or off: all false.
        draws: what the test of the draws said when it did; empty otherwise.
        sentences: what follows, for a person.
    """

    stable: RoleSeen
    canary: RoleSeen
    alarms: int
    draws: str
    guards: tuple[GuardSeen, ...]
    outputs: tuple[OutputSeen, ...]
    latency: LatencySeen
    sentences: tuple[str, ...]


def aa_report(
    rollout: Rollout,
    guards: Sequence[GuardVerdict],
    greatest: Mapping[str, float],
    alarms: Mapping[str, str],
    counts: StageCounts,
) -> AAReport:
    """What was seen until now.

    Args:
        rollout: as it was judged.
        guards: as they stand.
        greatest: by guard the greatest e-value for harm that was ever seen, as a logarithm.
        alarms: by guard, or `draws`, what was said when it first alarmed.
        counts: of the test's stage, over all processes.
    """
    seen = tuple(_guard(guard, greatest, alarms) for guard in guards)
    outputs = tuple(
        _output(rollout, output, pair, counts.farthest.get(output, 0.0))
        for output, pair in sorted(counts.agreement.items())
    )
    ratio = next((guard.max_ratio for guard in rollout.guards_of(LatencyGuard)), 0.0)
    latency = _latency(counts.pairs, ratio)
    stable, canary = _role(counts.stable), _role(counts.canary)
    report = AAReport(stable, canary, len(alarms), alarms.get("draws", ""), seen, outputs, latency, ())
    sentences = (
        _of_alarms(report, rollout.alpha),
        *_of_requests(report),
        *(_of_output(output) for output in outputs),
        *(
            []
            if outputs
            else ["nothing was compared: no mirrored request came, so nothing is known of noise"]
        ),
        _of_latency(latency),
    )
    return AAReport(stable, canary, report.alarms, report.draws, seen, outputs, latency, sentences)


def share(events: int, trials: int) -> Share:
    """A share with its bounds; 0 to 1 where there is no trial.

    Each bound is the share at which as few, or as many, events have a chance of 1 - `CONFIDENCE`. The number
    of trials must not depend on the events.

    Source: Clopper and Pearson, The use of confidence or fiducial limits illustrated (1934).
    """
    from scipy import special  # noqa: PLC0415  (a tenth of control's start)

    least = special.betaincinv(events, trials - events + 1, 1.0 - CONFIDENCE) if events else 0.0
    most = special.betaincinv(events + 1, trials - events, CONFIDENCE) if events < trials else 1.0
    return Share(events, trials, float(least), float(most))


def rounded_up(value: float) -> float:
    """The least number of one digit that is no less; 0 stays 0."""
    if value <= 0.0:
        return 0.0
    scale = floor(log10(value))
    digit = 1
    while float(f"{digit}e{scale}") < value:
        digit += 1
    return float(f"{digit}e{scale}")


# ------------------------------------------------------------------ what was seen
def _role(counts: RoleCounts) -> RoleSeen:
    ended = counts.requests - counts.abandoned
    return RoleSeen(counts.requests, share(min(counts.failures, ended), ended))


def _guard(found: GuardVerdict, greatest: Mapping[str, float], alarms: Mapping[str, str]) -> GuardSeen:
    name = found.guard
    return GuardSeen(
        name, found.verdict, alarms.get(name, ""), greatest.get(name), found.log_line, found.reason
    )


def _output(rollout: Rollout, output: str, pair: tuple[int, int], farthest: float) -> OutputSeen:
    comparisons, differing = pair
    rule, differences = rollout.compare.get(output), share(differing, comparisons)
    words = "by default" if rule is None else _words(rule)
    return OutputSeen(
        output, words, rule is None, differences, farthest, _tolerance(rule, differences, farthest)
    )


def _words(rule: Rule) -> str:
    document = rule_to_document(rule)
    if isinstance(document, str):
        return document
    return ", ".join(f"{key} {value:g}" for key, value in document.items())


def _tolerance(rule: Rule | None, differences: Share, farthest: float) -> str:
    """The least tolerance above the noise of an output, as it is written in a document."""
    if differences.trials == 0 or (differences.events == 0 and farthest == 0.0):
        return ""
    suggested = rounded_up(MARGIN * farthest)
    match rule:
        case None if differences.events:  # of which datatype it is nobody tells
            return f"{_min(differences)}, or for floats atol {suggested:g}"
        case None | Close() if farthest > 0.0:
            return f"atol {suggested:g}"
        case Cosine() if farthest > 0.0:
            return f"cosine {max(1.0 - suggested, 0.0):g}"
        case JensenShannon() if farthest > 0.0:
            return f"js {min(suggested, 1.0):g}"
        case _:
            return _min(differences)


def _min(differences: Share) -> str:
    """The greatest `min` of a guard on agreement that is above the noise."""
    tolerated = rounded_up(MARGIN * differences.most)
    return f"min at most {100 * (1.0 - tolerated):g}%" if tolerated < 1.0 else "no min: it is noise"


def _latency(pairs: PairCounts, max_ratio: float) -> LatencySeen:
    counted = sum(pairs.ratios)
    if not counted:
        return LatencySeen(0, max_ratio, share(0, 0), (), "")
    below = np.cumsum(pairs.ratios)
    edges = (*RATIO_EDGES, float("inf"))
    ratios = tuple(edges[int(np.argmax(below >= quantile * counted))] for quantile in QUANTILES)
    fits = [ratio for ratio in LATENCY_RATIOS if _beyond(pairs, ratio) <= BEYOND]
    suggestion = f"maxRatio at least {fits[0]:g}" if fits else "no maxRatio: it is noise"
    finite = tuple(min(ratio, RATIO_EDGES[-1]) for ratio in ratios)
    return LatencySeen(counted, max_ratio, share(pairs.slower, pairs.pairs), finite, suggestion)


def _beyond(pairs: PairCounts, ratio: float) -> float:
    """The greatest share of pairs beyond a ratio that the counts allow; rounded up to a bucket's edge."""
    first = int(np.searchsorted(RATIO_EDGES, ratio * (1.0 + 1e-9), side="right"))
    return share(sum(pairs.ratios[first:]), sum(pairs.ratios)).most


# ------------------------------------------------------------------ in words
def percent(fraction: float) -> str:
    """A share as a percentage of two digits: `0.025%`."""
    return f"{100 * fraction:.2g}%" if fraction < 0.995 else f"{100 * fraction:.4g}%"


def _of_alarms(report: AAReport, alpha: float) -> str:
    counted = [guard for guard in report.guards if guard.log_greatest is not None and guard.log_line]
    if report.alarms:
        names = [guard.guard for guard in report.guards if guard.alarm]
        names += ["the draws"] if report.draws else []
        return (
            f"{report.alarms} false {'alarm' if report.alarms == 1 else 'alarms'}, by {' and '.join(names)}:"
            " a canary would have been taken off, or held, for being stable"
        )
    if not counted:
        return "no guard had anything to look at, so nothing is known of false alarms"
    nearest = max(counted, key=lambda guard: (guard.log_greatest or 0.0) - (guard.log_line or 0.0))
    assert nearest.log_greatest is not None
    assert nearest.log_line is not None
    return (
        f"no false alarm; nearest was {nearest.guard}, with an e-value of {e_value(nearest.log_greatest)} for"
        f" harm, needed {e_value(nearest.log_line)}. One A/A is one draw: to see that at most"
        f" {percent(alpha)} of them alarm takes hundreds"
    )


def _of_requests(report: AAReport) -> list[str]:
    if not report.canary.requests:
        return ["no request came to the copy, so nothing is known of errors"]
    return [_of_failures("stable", report.stable), _of_failures("its copy", report.canary)]


def _of_failures(who: str, seen: RoleSeen) -> str:
    failed = seen.failures
    return f"{who} failed {failed.events:,} of {failed.trials:,} requests: {_bounds(failed)}"


def _bounds(found: Share) -> str:
    if found.trials == 0:
        return "nothing is known of the share"
    if found.events == 0:
        return f"at most {percent(found.most)} at {percent(CONFIDENCE)}"
    return f"{percent(found.least)} to {percent(found.most)}, each at {percent(CONFIDENCE)}"


def _of_output(seen: OutputSeen) -> str:
    found = seen.differences
    if found.events == 0:
        text = f"{seen.output}: no disagreement in {found.trials:,} comparisons, {_bounds(found)}"
    else:
        text = f"{seen.output}: {found.events:,} of {found.trials:,} comparisons differ, {_bounds(found)}"
    text += f"; compared {seen.rule if seen.default else 'by ' + seen.rule}"
    if found.events == 0 and seen.farthest == 0.0:
        return f"{text}; no noise was seen"
    return f"{text}; farthest apart {seen.farthest:.2g}; above the noise: {seen.suggestion}"


def _of_latency(seen: LatencySeen) -> str:
    if not seen.pairs:
        return "latency: no pair was timed, so nothing is known of its noise"
    typical, high, highest = seen.ratios
    text = (
        f"latency: of {seen.pairs:,} pairs the copy took at most {typical:.3g} times as long as stable in"
        f" half, {high:.3g} in 90%, {highest:.3g} in 99%"
    )
    if seen.slower.trials:
        text += f"; more than {seen.max_ratio:g} times in {percent(seen.slower.events / seen.slower.trials)}"
    return f"{text}; above the noise: {seen.suggestion}"
