"""`latency`, what the model computes and how long clients wait: weighed, simulated, in words. Pure."""

from collections.abc import Sequence
from math import comb, log

import numpy as np
import numpy.typing as npt

from control.judging import client_waits, latency_pairs
from control.judging.betting import SAFE_BETS, harm_bets, safe_bets
from control.judging.evidence import Evidence, Floats, bets_test, limit_ratios, limit_test
from control.judging.guard_evidence import AHEAD, GuardEvidence, Past, Pooled, Tests
from control.judging.guards.judged import Judged
from control.judging.guards.simulation import Behaviour, Ints, Least, Runs, SimulatedGuard, Traffic
from control.judging.latency_edges import MIN_BASELINE, slower_than
from control.judging.latency_pairs import PROVES, SHARES
from control.judging.restarts import within_first_tick
from control.judging.verdicts import GuardVerdict
from router.counting.latency import BUCKETS, GROWTH, shift_down, shift_up
from router.counting.pairs import (
    BASELINE_PAIRS,
    NO_PAIRS,
    PAIR_SECONDS,
    QUANTILES,
    UNIT_PAIRS,
    WARM_PAIRS,
)
from router.rollout.guards.latency import ClientsGuard, LatencyGuard

_PROVING_TAILS = range(len(PROVES) - 1)


def _weigh(guard: LatencyGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    return _weigh_pairs(guard, pooled, past) if past.paired else _weigh_spans(guard, past)


def _weigh_pairs(guard: LatencyGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    """Harm is being slower by any question of `latency_pairs`, proof being no slower by each."""
    pairs = sum((row.pairs for row in pooled.rows), NO_PAIRS)
    if pairs.pairs == 0:
        return past.pairing or f"no {UNIT_PAIRS} pairs of the canary's model and stable's were timed yet"
    tests = Tests(past)
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


def _weigh_spans(guard: LatencyGuard, past: Past) -> GuardEvidence | str:
    """Harm is being slower at any edge, so the mean; proof being no slower at each, so the least."""
    timed = past.timed
    if timed is None or timed.stable[0] == 0:
        return f"there is no baseline: stable has not told the compute time of {MIN_BASELINE} answers yet"
    if timed.canary[0] == 0:
        return "no canary answer that tells its compute time was counted yet"
    tests = Tests(past)
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


def _weigh_clients(_guard: ClientsGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    """Harm is waiting longer at either edge, so the mean over them; nothing is proven."""
    tested = [stage for stage in past.clients if stage.late.canary]
    if not tested:
        if pooled.nobody_new:
            return pooled.nobody_new
        if any(stage.edges for stage in past.clients):
            return "no span with canary requests was complete yet"
        return f"there is no baseline: stable has not given {MIN_BASELINE} good answers in whole spans yet"
    tests, now = Tests(past), tested[-1]
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
        "; ".join(filter(None, [facts.format("are not shown to wait"), pooled.nobody_new])),
        "",
        tests.ratios,
        pooled.nobody_new,
    )


def _model_beside(_found: GuardVerdict, others: Sequence[GuardVerdict]) -> str:
    """Where clients wait longer, what is known of the model itself."""
    verdicts = [found.verdict for found in others if found.guard == LatencyGuard.name]
    if verdicts == ["proven"]:
        return "the model itself computes no slower: queue or placement"
    return "whether the model itself computes slower is undecided" if verdicts == ["undecided"] else ""


class _Simulated:
    """Pairs, of which both times are drawn by themselves from stable's histogram, and each tail by itself.

    Times of one request have much in common, which a histogram cannot tell: real pairs decide sooner.
    """

    def __init__(self, guard: LatencyGuard, of: Runs) -> None:
        traffic, runs, slower = of.traffic, of.number, of.canary.slower
        self.weights, self.rate = of.weights, traffic.requests_per_second
        above = slower_than(traffic.latency) / sum(traffic.latency.values())
        places = np.arange(BUCKETS + 1)
        shift = log(guard.max_ratio) / log(GROWTH)

        def candidate_above(at: npt.ArrayLike) -> Floats:
            found: Floats = np.interp(np.asarray(at) + shift - log(slower) / log(GROWTH), places, above)
            return found

        typical = float((-np.diff(above) * candidate_above(places[:-1] + 0.5)).sum())
        chance, number = min(max(typical, 0.0), 1.0), np.arange(UNIT_PAIRS + 1)
        ways = np.array([comb(UNIT_PAIRS, some) for some in number], float)
        self.units_of = ways * chance**number * (1 - chance) ** (UNIT_PAIRS - number)
        edges = np.interp(
            np.log(1 - np.array(QUANTILES)), np.log(np.maximum(above, 1e-12))[::-1], places[::-1]
        )
        worse, stable = candidate_above(edges), 1.0 - np.array(QUANTILES)
        self.alone = np.stack([worse * (1 - stable), (1 - worse) * stable], axis=1)
        self.units = np.zeros((runs, len(of.weights), UNIT_PAIRS + 1), dtype=np.int64)
        self.tails = np.zeros((runs, len(of.weights), len(QUANTILES), 2), dtype=np.int64)
        self.pairs = np.full(runs, -WARM_PAIRS)

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, _canary: Ints, stable: Ints, /) -> None:
        rate = self.rate * (1.0 - self.weights[stage])
        pairs = rng.binomial(stable, min(1.0, 1.0 / (PAIR_SECONDS * rate)) if rate > 0.0 else 1.0)
        before, after = self.pairs[runs], self.pairs[runs] + pairs
        self.pairs[runs] = after
        whole = np.maximum(after, 0) // UNIT_PAIRS - np.maximum(before, 0) // UNIT_PAIRS
        self.units[runs, stage] += rng.multinomial(whole, self.units_of)
        beyond = np.maximum(after - BASELINE_PAIRS, 0) - np.maximum(before - BASELINE_PAIRS, 0)
        rest = 1.0 - self.alone.sum(axis=1, keepdims=True)
        shares = np.concatenate([self.alone, rest], axis=1)
        self.tails[runs, stage] += rng.multinomial(beyond[:, None], shares)[..., :2]

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        units = self.units[runs, stages].sum(axis=1)
        worse, better = np.moveaxis(self.tails[runs, stages].sum(axis=1), -1, 0)
        tails = limit_test(worse, worse + better, 0.5)
        harm = [within_first_tick(bets_test(harm_bets(SHARES, units, 0.5, SAFE_BETS)))]
        for tail in range(len(QUANTILES)):
            ratios = limit_ratios(worse[:, tail], (worse + better)[:, tail], 0.5)
            harm.append(within_first_tick(bets_test(ratios)))
        safe = [bets_test(safe_bets(SHARES, units, 0.5)), *(tails.safe[:, tail] for tail in _PROVING_TAILS)]
        return Evidence(bets_test(harm), np.min(safe, axis=0))


def _simulate(guard: LatencyGuard, of: Runs) -> SimulatedGuard | None:
    return None if _untold(guard, of.traffic) else _Simulated(guard, of)


def _untold(_guard: LatencyGuard, traffic: Traffic) -> str:
    known = sum(traffic.latency.values()) >= MIN_BASELINE
    return "" if known else "no compute time of stable is known"


def _clients_untold(_guard: ClientsGuard, _traffic: Traffic) -> str:
    return "queues and placement show only while it serves; it delays no proof"


def _harm(least: Least, traffic: Traffic) -> tuple[str, Behaviour]:
    return f"{least.slower:g} times as slow", Behaviour(traffic.error_rate, slower=least.slower)


JUDGED: dict[type, Judged] = {
    LatencyGuard: Judged(_weigh, _simulate, _untold, _harm, offline=True),
    ClientsGuard: Judged(_weigh_clients, lambda *_: None, _clients_untold, beside=_model_beside, part=0.5),
}
