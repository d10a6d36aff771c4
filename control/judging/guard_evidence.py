"""What the counts of a rollout say about each guard, now and further on at present rates. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from control.judging import client_waits, latency_pairs
from control.judging.client_waits import ClientWaits
from control.judging.evidence import (
    BETS,
    Evidence,
    Floats,
    bets_test,
    label_ratios,
    label_test,
    limit_ratios,
    limit_test,
)
from control.judging.latency_edges import MIN_BASELINE
from control.judging.latency_spans import TimedSpans
from control.judging.restarts import Remembered
from control.judging.unit_bets import UnitBets, units_of
from control.judging.verdicts import share
from router.counting.latency import shift_down, shift_up
from router.counting.pairs import NO_PAIRS, UNIT_PAIRS
from router.counting.stage_counts import StageCounts
from router.rollout.values import AgreementGuard, ClientsGuard, ErrorsGuard, LatencyGuard

CountedGuard = ErrorsGuard | LatencyGuard | ClientsGuard | AgreementGuard

_FAILING, _LEAVING = np.log(0.8), np.log(0.2)
"""Stakes of the two ways in which a canary fails clients: it fails, or lets them wait until they leave."""

REPEATED_SHARE = 0.1
"""Of the compared requests: when more repeat a body, the reason says so."""

_NOTHING = Remembered()

AHEAD = np.concatenate([[0.0], np.geomspace(1.0, 1e9, 200)])
"""Canary requests, comparisons or pairs from now at which evidence is looked up: now, then 11% apart."""


@dataclass(frozen=True, slots=True)
class GuardEvidence:
    """What counts say about one guard.

    Args:
        evidence: now and, at present rates, at each further place of `AHEAD`.
        harm_facts: the counts that speak most for harm, in words.
        safe_facts: the counts on which proof waits, or rests.
        tolerance: what is proven when it is proven, in words.
        ratios: of each test of harm the log likelihood ratios now, over everything: what `Past` remembers.
        doubt: an assumption that the counts do not keep, in words; or empty.
    """

    evidence: Evidence
    harm_facts: str
    safe_facts: str
    tolerance: str
    ratios: Mapping[str, Floats]
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    """What is known beside counts.

    Args:
        left: sums of the span test's bets, of clients that went away before they had an answer.
        tests: stakes of the tests of harm, by name; a test that is not in here begins now.
        paired: whether latency is judged by pairs timed side by side, else span by span.
        pairing: why no pairs are timed, in words; empty where they are, or may yet be.
        timed: compute times span by span; None before there are edges.
        clients: how long clients waited, stage by stage.
        units: by the name of a guard that weighs units, what its bets on them won.
    """

    left: Floats = field(default_factory=lambda: np.zeros(len(BETS)))
    tests: Mapping[str, Remembered] = field(default_factory=dict)
    paired: bool = True
    pairing: str = ""
    timed: TimedSpans | None = None
    clients: Sequence[ClientWaits] = ()
    units: Mapping[str, UnitBets] = field(default_factory=dict)

    def log_e(self, test: str, ratios: Floats) -> Floats:
        """The log e-value of a test of harm, from its ratios over everything."""
        return self.tests.get(test, _NOTHING).log_e(ratios)


@dataclass(frozen=True, slots=True)
class Pooled:
    """All stages, those of equal weight added up: within a weight the sums are sufficient.

    Args:
        rows: one per weight; one per stage where the split is sticky.
        weight: of each row, shape (rows,).
        present: the weight now, at which evidence is to grow.
        sticky: users stay where they were drawn, so that the draws of one stage are those of the next: rows
            are the stages then, in order, and what each shows is no news beside the others.
    """

    rows: tuple[StageCounts, ...]
    weight: Floats
    present: float
    sticky: bool = False

    def ahead(
        self, canary: Floats, stable: Floats, answers: tuple[float, float]
    ) -> tuple[Floats, Floats, Floats]:
        """Weight and events of both roles, now and ahead: more of the same rates at the present weight.

        Args:
            canary: events at the canary by row.
            stable: events at stable by row.
            answers: requests of the canary and of stable.
        """
        w = self.present
        rates = canary.sum() / answers[0], 0.0
        if 0.0 < w < 1.0 and answers[1] > 0:
            rates = rates[0], (1.0 - w) / w * stable.sum() / answers[1]
        more = [np.outer(AHEAD, np.append(np.zeros(len(canary)), rate)) for rate in rates]
        return (
            np.append(self.weight, w),
            np.append(canary, 0.0) + more[0],
            np.append(stable, 0.0) + more[1],
        )


def pool(stages: Sequence[StageCounts], *, sticky: bool = False) -> Pooled:
    """Add up the stages of equal weight unless the split is sticky; without stages, one without counts."""
    by_weight: dict[float, StageCounts] = {}
    for stage in stages:
        before = by_weight.get(stage.weight)
        by_weight[stage.weight] = stage if before is None else before + stage
    rows = tuple(stages if sticky else by_weight.values()) or (StageCounts(0.0),)
    weights = np.array([row.weight for row in rows])
    return Pooled(rows, weights, stages[-1].weight if stages else 0.0, sticky)


def weigh(guard: CountedGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    """The evidence on a guard, or in words why there is none; the arguments are those of `judge`."""
    match guard:
        case ErrorsGuard():
            return _test_errors(guard, pooled, past)
        case LatencyGuard():
            return _test_pairs(guard, pooled, past) if past.paired else _test_spans(guard, past)
        case ClientsGuard():
            return _test_clients(past)
        case AgreementGuard():
            return _test_agreement(guard, pooled, past)


# ------------------------------------------------------------------ one function for each kind of guard
def _test_errors(guard: ErrorsGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    """Failures, and clients that went away before they had an answer.

    With both limits, good means an error rate of at most the greater of the two.

    Harm is then worse than either, so the least of the two e-values; proof is being within either, so their
    mean: whichever null holds, each is an e-value.

    Whether an abandoned request would have failed nobody knows. The label test of failures leaves them out
    for harm, where clients that leave in bursts would be taken for many; the span test of them has a fifth of
    the stake. Proof of the ratio must hold with and without them as events, and `max` is tested on requests
    that came to an end. Where the split is sticky, proof must hold for the first request of each user too: of
    users that ask often enough, all have erred once, whoever serves them.
    """
    failed = np.array([float(row.canary.errors) for row in pooled.rows])
    failed_stable = np.array([float(row.stable.errors) for row in pooled.rows])
    gone = np.array([float(row.canary.abandoned) for row in pooled.rows])
    gone_stable = np.array([float(row.stable.abandoned) for row in pooled.rows])
    c, s = float(failed.sum()), float(failed_stable.sum())
    n = float(sum(row.canary.requests for row in pooled.rows))
    n_stable = float(sum(row.stable.requests for row in pooled.rows))
    if n == 0:
        return "no canary request was counted yet"
    tests = _Tests(past)
    found, tolerated = [], []
    if guard.max_ratio is not None:
        by_failures = pooled.ahead(failed, failed_stable, (n, n_stable))
        with_gone = pooled.ahead(failed + gone, failed_stable + gone_stable, (n, n_stable))
        events = [by_failures, with_gone]
        if pooled.sticky:
            first = [
                np.array([float(role.failures) for role in roles])
                for roles in zip(*((row.canary, row.stable) for row in pooled.rows), strict=True)
            ]
            events.append(pooled.ahead(first[0], first[1], (n, n_stable)))
        proofs = [label_test(*counts, guard.max_ratio).safe for counts in events]
        harm = tests.labels("errors/maxRatio", pooled, by_failures, guard.max_ratio)
        found.append(Evidence(harm, np.min(proofs, axis=0)))
        tolerated.append(f"at most {guard.max_ratio:g} times stable's rate")
    if guard.max is not None:
        units = past.units.get(guard.name)
        if units is not None:
            found.append(tests.units("errors/max/units", units, n))
        else:
            failures = float(sum(row.canary.failures for row in pooled.rows))
            ended = n - float(gone.sum())
            found.append(
                tests.limit(
                    "errors/max", failures + AHEAD * (failures / n), ended + AHEAD * (ended / n), guard.max
                )
            )
        tolerated.append(f"at most {share(guard.max)}")
    evidence = found[0] if len(found) == 1 else found[0].either(found[1])
    # Keys that erred may be told before the requests among which they are; what failed was asked.
    asked, asked_stable = max(n, c), max(n_stable, s)
    facts = (
        f"{c:,.0f} of {asked:,.0f} canary requests failed against {s:,.0f} of {asked_stable:,.0f} at stable"
    )
    if guard.max is not None and (units := past.units.get(guard.name)) is not None and units.units > 0:
        facts += (
            f"; {_mean(units)} of the canary's requests, as the mean over {units.units:,.0f}"
            f" {_words(guard, pooled)}"
        )
    leaving = (
        f"clients of {gone.sum():,.0f} of {n:,.0f} canary requests went away unanswered, against"
        f" {gone_stable.sum():,.0f} of {n_stable:,.0f} at stable"
    )
    if gone.sum() + gone_stable.sum() > 0:
        facts = f"{facts}; {leaving}"
    left = float(tests.log_e("errors/left", past.left[:, np.newaxis])[0])
    harm_facts = leaving if left + _LEAVING > float(evidence.harm[0]) + _FAILING else facts
    harm = np.logaddexp(evidence.harm + _FAILING, left + _LEAVING)
    return GuardEvidence(evidence._replace(harm=harm), harm_facts, facts, _greater(tolerated), tests.ratios)


class _Tests:
    """The tests of one guard: e-values for harm, and the ratios of now, which are to be remembered."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self.ratios: dict[str, Floats] = {}

    def log_e(self, name: str, ratios: Floats) -> Floats:
        """Of a test of harm, from its ratios (alternatives, now and ahead)."""
        self.ratios[name] = ratios[:, 0]
        return self._past.log_e(name, ratios)

    def labels(
        self, name: str, pooled: Pooled, events: tuple[Floats, Floats, Floats], ratio: float
    ) -> Floats:
        """Events at both roles against the draw.

        Over stages the ratios add up, since each request was drawn anew. Where the split is sticky the stages
        have their draws in common, so each is a test of its own, the j-th with 1 / (j (j + 1)) of the stake:
        the sum (and what is kept for later stages) is an e-value whatever their dependence.
        """
        if not pooled.sticky:
            return self.log_e(name, label_ratios(*events, ratio))
        last = len(pooled.rows) - 1
        stakes = [np.full(len(AHEAD), -np.log(last + 2.0))]
        for row in range(last + 1):
            columns = [row] if row < last else [row, last + 1]  # what is ahead belongs to the present stage
            weight, canary, stable = (counts[..., columns] for counts in events)
            found = self.log_e(f"{name}#{row + 1}", label_ratios(weight, canary, stable, ratio))
            stakes.append(found - np.log((row + 1.0) * (row + 2.0)))
        mixed: Floats = np.logaddexp.reduce(stakes, axis=0)
        return mixed

    def units(self, name: str, units: UnitBets, requests: float) -> Evidence:
        """The mean share of units against a limit, both ways; ahead, units as they came with requests."""
        ahead = 1.0 + AHEAD / max(requests, 1.0)
        harm = self.log_e(name, np.multiply.outer(units.harm, ahead))
        return Evidence(harm, bets_test(np.multiply.outer(units.safe, ahead)))

    def limit(self, name: str, events: Floats, trials: Floats, limit: float) -> Evidence:
        """A stream against a limit, both ways."""
        harm = self.log_e(name, limit_ratios(events, trials, limit))
        return Evidence(harm, limit_test(events, trials, limit).safe)


def _mean(units: UnitBets) -> str:
    return share(units.shares / units.units) if units.units else "0%"


def _words(guard: AgreementGuard | ErrorsGuard, pooled: Pooled) -> str:
    return units_of(guard, sticky=pooled.sticky)


def _greater(tolerated: list[str]) -> str:
    return tolerated[0] if len(tolerated) == 1 else " or ".join(tolerated) + ", whichever is more"


def _test_pairs(guard: LatencyGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    """Harm is being slower by any question of `latency_pairs`, proof being no slower by each."""
    pairs = sum((row.pairs for row in pooled.rows), NO_PAIRS)
    if pairs.pairs == 0:
        return past.pairing or f"no {UNIT_PAIRS} pairs of the canary's model and stable's were timed yet"
    tests = _Tests(past)
    harm = {
        question: tests.log_e(f"latency/{question}", ratios)
        for question, ratios in latency_pairs.harm_ratios(pairs, AHEAD).items()
    }
    safe = latency_pairs.proofs(pairs, AHEAD)
    worst = max(harm, key=lambda question: float(harm[question][0]))
    weakest = min(safe, key=lambda question: float(safe[question][0]))
    return GuardEvidence(
        Evidence(bets_test(list(harm.values())), np.min(list(safe.values()), axis=0)),
        latency_pairs.facts(pairs, worst, guard.max_ratio),
        "; ".join(filter(None, [latency_pairs.facts(pairs, weakest, guard.max_ratio), past.pairing])),
        f"at most {guard.max_ratio:g} times as slow",
        tests.ratios,
    )


def _test_spans(guard: LatencyGuard, past: Past) -> GuardEvidence | str:
    """Harm is being slower at any edge, so the mean; proof being no slower at each, so the least."""
    timed = past.timed
    if timed is None or timed.stable[0] == 0:
        return f"there is no baseline: stable has not told the compute time of {MIN_BASELINE} answers yet"
    if timed.canary[0] == 0:
        return "no canary answer that tells its compute time was counted yet"
    tests = _Tests(past)
    harm = [
        tests.log_e(f"latency/{at}", won[:, np.newaxis])
        for at, won in zip(timed.edges.harm, timed.harm, strict=True)
    ]
    safe = [bets_test(won[:, np.newaxis]) for won in timed.safe]
    worst = timed.edges.harm[int(np.argmax([found[0] for found in harm]))]
    weakest = timed.edges.quantiles[int(np.argmin([found[0] for found in safe]))]
    return GuardEvidence(
        Evidence(bets_test(harm), np.min(safe, axis=0)),
        timed.facts(worst, shift_up(guard.max_ratio)),
        timed.facts(weakest, shift_down(guard.max_ratio)),
        f"at most {guard.max_ratio:g} times as slow",
        tests.ratios,
    )


def _test_clients(past: Past) -> GuardEvidence | str:
    """Harm is waiting longer at either edge, so the mean over them; nothing is proven."""
    tested = [stage for stage in past.clients if stage.late.canary]
    if not tested:
        if any(stage.edges for stage in past.clients):
            return "no span with canary requests was complete yet"
        return f"there is no baseline: stable has not given {MIN_BASELINE} good answers in whole spans yet"
    tests, now = _Tests(past), tested[-1]
    won = sum((stage.all_won() for stage in tested), np.zeros_like(now.won))
    ahead = 1.0 + AHEAD / sum(stage.late.canary for stage in tested)
    harm = [
        tests.log_e(f"latency:clients/{name}", np.multiply.outer(of_edge, ahead))
        for name, of_edge in zip(client_waits.NAMES, won, strict=True)
    ]
    worst = int(np.argmax([found[0] for found in harm]))
    facts = f"clients {{}} longer at the canary ({now.facts(worst)})"
    return GuardEvidence(
        Evidence(bets_test(harm), np.full(len(AHEAD), -np.inf)),
        facts.format("waited"),
        facts.format("are not shown to wait"),
        "",
        tests.ratios,
    )


def _test_agreement(guard: AgreementGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    pairs = [row.agreement.get(guard.output, (0, 0)) for row in pooled.rows]
    n, differing = float(sum(pair[0] for pair in pairs)), float(sum(pair[1] for pair in pairs))
    if n == 0:
        return f"no answer was compared in {guard.output} yet"
    tests = _Tests(past)
    units = past.units.get(guard.name)
    tolerated = share(1.0 - guard.min)
    if units is None:
        evidence = tests.limit(guard.name, differing + AHEAD * (differing / n), n + AHEAD, 1.0 - guard.min)
        facts = f"{differing:,.0f} of {n:,.0f} comparisons of {guard.output} differed, tolerated {tolerated}"
    elif units.units == 0:
        return f"of {n:,.0f} comparisons of {guard.output} no unit ({_words(guard, pooled)}) has ended yet"
    else:
        evidence = tests.units(f"{guard.name}/units", units, n)
        facts = (
            f"{_mean(units)} of the comparisons of {guard.output} differed, as the mean over"
            f" {units.units:,.0f} {_words(guard, pooled)}, tolerated {tolerated}"
        )
    doubt = ""
    repeated = sum(row.repeated for row in pooled.rows)
    if guard.per == "key" and repeated > REPEATED_SHARE * n:
        doubt = (
            f"{repeated:,} of the compared requests repeat an earlier body, so they are not independent and"
            " the verdict may be wrong more often than alpha (`per: body` counts each body once)"
        )
        facts += f"; {doubt}"
    return GuardEvidence(
        evidence, facts, facts, f"at least {share(guard.min)} agreement", tests.ratios, doubt
    )
