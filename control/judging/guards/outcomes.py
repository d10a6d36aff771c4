"""Guards on outcomes: weighed, in words. Pure."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from math import exp
from operator import add

import numpy as np

from control.judging.evidence import Evidence, Floats, bets_test
from control.judging.guard_evidence import AHEAD, GuardEvidence, Past, Pooled, Tests
from control.judging.guards.effects import accuracy_effect, amounts_effect, change_effect
from control.judging.guards.judged import Judged
from control.judging.guards.outcome_simulation import (
    labels_harm,
    labels_untold,
    outcomes_harm,
    outcomes_untold,
    simulated_labels,
    simulated_outcomes,
)
from control.judging.outcomes.amounts import LEAST_EVENTS, LEAST_NON_ZERO, AmountSums, asymptotic_test
from control.judging.outcomes.conversions import GRID, conversion_ratios, conversion_test
from control.judging.outcomes.mean_bets import MeanBets
from control.judging.outcomes.paired_labels import PairedLabels, accuracy_bets
from control.judging.outcomes.stage_outcomes import StageOutcomes
from control.judging.verdicts import Effect, share, waited
from router.rollout.guards.outcomes import AccuracyGuard, OutcomeGuard

_TUNED_FOR = 0.01
"""The alpha that the test of amounts without a range is quickest at; it holds for any."""
_ASYMPTOTIC = (
    "an approximation for many amounts, which errs more often than alpha while they are few (an outcome"
    " with a `range` is judged exactly)"
)


# ------------------------------------------------------------------ labels


def _weigh_labels(guard: AccuracyGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    """Labels of requests that both answered. They count as they come: both sides wait for the same ones."""
    stages = past.outcomes.get(guard.name, ())
    labels = reduce(add, (stage.labels for stage in stages), PairedLabels())
    losses = reduce(add, (stage.bets for stage in stages), MeanBets())
    if labels.labels + losses.events == 0.0:
        return _no_labels(guard, pooled, sum(stage.waiting for stage in stages))
    bets = accuracy_bets(labels, guard.margin) + losses
    facts, tolerance = _label_facts(guard, labels, losses)
    tests = Tests(past)
    evidence = _of_bets(f"outcomes/{guard.name}", bets, tests)
    effect = partial(_label_effect, guard, labels, losses)
    return GuardEvidence(evidence, facts, facts, tolerance, tests.ratios, effect=effect)


def _label_effect(guard: AccuracyGuard, labels: PairedLabels, losses: MeanBets, line: float) -> Effect:
    """Of a loss only the estimate: its sums are those of the one tolerance."""
    if losses.events == 0.0:
        return accuracy_effect(labels, line)
    return Effect("difference", losses.total / losses.events - guard.margin, None, None, 1.0 - exp(-line))


def _label_facts(guard: AccuracyGuard, labels: PairedLabels, losses: MeanBets) -> tuple[str, str]:
    """What was found, and what is proven when it is."""
    tolerated = share(guard.margin)
    if losses.events == 0.0:
        return (
            f"of {labels.labels:,.0f} labels of {guard.outcome} only the canary was right about"
            f" {labels.gained:,.0f} and only stable about {labels.lost:,.0f}; tolerated are {tolerated} of"
            " the labels fewer"
        ), f"at most {tolerated} of the labels fewer right"
    more = guard.margin - losses.total / losses.events
    side = "more" if more > 0.0 else "less"
    return (
        f"over {losses.events:,.0f} labels of {guard.outcome} the canary's mean loss was {share(abs(more))}"
        f" of the range {side} than stable's; tolerated are {tolerated} more"
    ), f"a mean loss of at most {tolerated} of the range more"


def _no_labels(guard: AccuracyGuard, pooled: Pooled, waiting: int) -> str:
    compared = sum(pair[0] for row in pooled.rows for pair in row.agreement.values())
    nothing = "" if compared else ", and none was mirrored yet (`mirror` of the canary says how many are)"
    pairs = f"only of a mirrored request both answers are known{nothing}"
    if waiting:
        return f"of {waiting:,} labels of {guard.outcome} none is of a request that both answered: {pairs}"
    return f"no label of {guard.outcome} was told yet (`POST /v1/outcomes`); {pairs}"


# ------------------------------------------------------------------ what happens, and amounts


def _weigh(guard: OutcomeGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    """Mature outcomes, by the draw."""
    stages = past.outcomes.get(guard.name, ())
    if not any(stage.canary + stage.stable for stage in stages):
        return _nothing_mature(guard, pooled, stages)
    outcome = next((stage.outcome for stage in reversed(stages) if stage.outcome is not None), None)
    if outcome is None or outcome.kind == "binary":
        return _weigh_happenings(guard, pooled, past, stages)
    if outcome.range is not None:
        return _weigh_bounded(guard, pooled, past, stages)
    return _weigh_unbounded(guard, pooled, stages)


def _weigh_happenings(
    guard: OutcomeGuard, pooled: Pooled, past: Past, stages: Sequence[StageOutcomes]
) -> GuardEvidence:
    weight, canary, stable = np.array([(each.weight, each.canary, each.stable) for each in stages]).T
    events = _ahead(weight, canary, stable, pooled.present)
    higher = guard.max_rise is None
    tests = Tests(past)
    ratios = conversion_ratios(*events, guard.limit, higher_is_better=higher)
    harm = tests.log_e(f"outcomes/{guard.name}", ratios)
    safe = conversion_test(*events, guard.limit, higher_is_better=higher).safe
    effect = partial(change_effect, weight, canary, stable, grid=GRID)
    return _found(guard, pooled, stages, Evidence(harm, safe), tests, effect)


def _ahead(weight: Floats, canary: Floats, stable: Floats, present: float) -> tuple[Floats, Floats, Floats]:
    """Weight and outcomes of both roles, now and ahead: so many more, at the present weight and as until now.

    Of more outcomes a share w r / (w r + 1 - w) is the canary's, where r is how much oftener than stable it
    has them, taken from the outcomes themselves.
    """
    at_canary = 0.0
    if 0.0 < present < 1.0:
        drawn = (weight > 0.0) & (weight < 1.0)
        odds = np.where(drawn, weight, 0.5) / (1.0 - np.where(drawn, weight, 0.5))
        oftener = float((canary[drawn] / odds[drawn]).sum() / max(float(stable[drawn].sum()), 0.5))
        grown = oftener * present / (1.0 - present)
        at_canary = grown / (1.0 + grown)
    more = [np.outer(AHEAD, np.append(np.zeros(len(weight)), each)) for each in (at_canary, 1.0 - at_canary)]
    return np.append(weight, present), np.append(canary, 0.0) + more[0], np.append(stable, 0.0) + more[1]


def _weigh_bounded(
    guard: OutcomeGuard, pooled: Pooled, past: Past, stages: Sequence[StageOutcomes]
) -> GuardEvidence:
    bets, tests = reduce(add, (stage.bets for stage in stages)), Tests(past)
    evidence = _of_bets(f"outcomes/{guard.name}", bets, tests)
    return _found(guard, pooled, stages, evidence, tests, partial(amounts_effect, stages))


def _weigh_unbounded(
    guard: OutcomeGuard, pooled: Pooled, stages: Sequence[StageOutcomes]
) -> GuardEvidence | str:
    """By an approximation, over everything: a change that comes late has to outweigh what came before."""
    sums = reduce(add, (stage.sums for stage in stages), AmountSums())
    facts = _facts(guard, pooled, stages)
    if sums.events == 0.0:
        return (
            f"{facts}; amounts without a `range` are cut at what stable earned before the canary came, and"
            " there were too few of those (give the outcome a `range`, or let stable serve alone for longer)"
        )
    if not sums.enough:
        return (
            f"{facts}; without a `range` nothing can be said before {LEAST_EVENTS} amounts other than 0,"
            f" {LEAST_NON_ZERO} of each side, and of a canary that brings none never (a `binary` outcome sees"
            " that at once)"
        )
    evidence = asymptotic_test(sums, _TUNED_FOR, times=1.0 + AHEAD / sums.events)
    doubt = "; ".join(filter(None, [pooled.nobody_new, _ASYMPTOTIC]))
    return _found(guard, pooled, stages, evidence, None, partial(amounts_effect, stages), doubt)


def _of_bets(name: str, bets: MeanBets, tests: Tests) -> Evidence:
    """Bets that have won so much, now and with so many more of the same."""
    ahead = 1.0 + AHEAD / bets.events
    harm = tests.log_e(name, np.multiply.outer(bets.harm, ahead))
    return Evidence(harm, bets_test(np.multiply.outer(bets.safe, ahead)))


def _found(
    guard: OutcomeGuard,
    pooled: Pooled,
    stages: Sequence[StageOutcomes],
    evidence: Evidence,
    tests: Tests | None,
    effect: Callable[[float], Effect | None],
    doubt: str = "",
) -> GuardEvidence:
    facts = _facts(guard, pooled, stages)
    doubt = doubt or pooled.nobody_new
    safe_facts = "; ".join(filter(None, [facts, doubt]))
    tolerance = f"at most {share(guard.limit)} {_side(guard)} than stable's"
    ratios = {} if tests is None else tests.ratios
    return GuardEvidence(evidence, facts, safe_facts, tolerance, ratios, doubt, effect=effect)


def _facts(guard: OutcomeGuard, pooled: Pooled, stages: Sequence[StageOutcomes]) -> str:
    """What was found, beside what would be expected of a canary that is as good."""
    drawn = [stage for stage in stages if 0.0 < stage.weight < 1.0]
    units = sum(stage.canary for stage in drawn), sum(stage.stable for stage in drawn)
    whose = "users" if pooled.sticky else "answers"
    if any(stage.outcome is not None and stage.outcome.kind == "number" for stage in stages):
        totals = sum(stage.canary_total for stage in drawn), sum(stage.stable_total for stage in drawn)
        equal = sum((stage.canary_total + stage.stable_total) * stage.weight for stage in drawn)
        found = (
            f"{totals[0]:,.6g} by {units[0]:,.0f} of the canary's {whose} and {totals[1]:,.6g} by"
            f" {units[1]:,.0f} of stable's"
        )
        expected = f"{equal:,.6g}"
    else:
        equal = sum((stage.canary + stage.stable) * stage.weight for stage in drawn)
        found = f"{units[0]:,.0f} of the canary's {whose} and {units[1]:,.0f} of stable's"
        expected = f"{equal:,.1f}"
    waiting = sum(stage.waiting for stage in stages)
    more = f"; {waiting:,} that are told are not mature yet" if waiting else ""
    return (
        f"{guard.outcome}: {found} {_weights(drawn)}, where an equal canary would have about {expected};"
        f" tolerated is {share(guard.limit)} {_side(guard)} than stable's{more}"
    )


def _weights(stages: Sequence[StageOutcomes]) -> str:
    found = sorted({stage.weight for stage in stages if stage.canary + stage.stable})
    if len(found) == 1:
        return f"at a weight of {share(found[0])}"
    return f"at weights of {share(found[0])} to {share(found[-1])}" if found else ""


def _side(guard: OutcomeGuard) -> str:
    return "less" if guard.max_rise is None else "more"


def _nothing_mature(guard: OutcomeGuard, pooled: Pooled, stages: Sequence[StageOutcomes]) -> str:
    waiting = sum(stage.waiting for stage in stages)
    first = min((stage.matures_in for stage in stages if stage.matures_in is not None), default=None)
    if waiting == 0:
        found = f"no {guard.outcome} of an answer that was drawn was told yet (`POST /v1/outcomes`)"
    else:
        when = "" if first is None else f": the first is in {waited(first)}"
        found = f"{waiting:,} of {guard.outcome} are told, and none is mature yet{when}"
    return "; ".join(filter(None, [found, pooled.nobody_new]))


JUDGED: dict[type, Judged] = {
    AccuracyGuard: Judged(_weigh_labels, simulated_labels, labels_untold, labels_harm),
    OutcomeGuard: Judged(_weigh, simulated_outcomes, outcomes_untold, outcomes_harm),
}
