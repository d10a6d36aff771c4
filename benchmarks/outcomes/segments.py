"""One harmed segment of many (`segments`, and the guard made of it), and groups apart (`fairness`)."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.outcomes.cells import ALPHA, LINE, Bools, Cell, Floats, by_chunks, cell, first_look
from control.judging.evidence import Evidence, label_test
from control.judging.guard_evidence import Past, Segmented
from control.judging.judge import judge
from control.judging.outcomes.fairness import mean_intervals
from control.judging.outcomes.segments import discoveries, no_group_harmed
from control.judging.verdicts import Judgement
from router.counting.segments import Places, SegmentErrors
from router.counting.stage_counts import RoleCounts, StageCounts
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.segments import SegmentsGuard

GROUPS, ERRORS, WEIGHT, RATIO, Q = 20, 3_000, 0.1, 1.5, 0.05
POOLED, MEAN, NAMED = "all traffic together", "mean over segments", "a segment named by e-BH, q 5%"
OF_ALL, OF_SEGMENTS = "the guard `errors`", "the guard `segments`"
GUARDS = ErrorsGuard(max_ratio=RATIO, mode="observe"), SegmentsGuard()
"""One observes, so that both are held to 1 / alpha."""
ERRORS_A_LOOK = 20
ERROR_RATE = 0.01  # of stable: what guards are told of requests, on which no test here rests
LOOKS = 60
CASES = [
    (case, np.array([first] + [rest] * (GROUPS - 1)), specified, first <= RATIO)
    for case, first, rest, specified in (
        ("one of 20 segments fails 5 times as often", 5.0, 1.0, ("never", "934 (99.8%)", "740")),
        ("one of 20 segments fails 10 times as often", 10.0, 1.0, ("", "242", "198")),
        ("all at their tolerance of 1.5", 1.5, 1.5, ("", "0 to .5%", "")),
        ("all equal", 1.0, 1.0, ("", "0%", "")),
    )
]
VALUES = 3_000
EVERY_LOOK, ONE_LOOK = "intervals at every look", "intervals of one look (Wald, 1%)"


def cells(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """All of them."""
    few = max(runs // 2, 1)
    for case, rates, specified, null in CASES:
        found = by_chunks(few, lambda size, r=rates: _errors(rng, size, r))
        for test, words in zip(found, specified, strict=True):
            used, alpha = test != POOLED, Q if test == NAMED else ALPHA
            yield cell(found[test], case, test, "errors", null=null, specified=words, used=used, alpha=alpha)
    yield from _apart(rng, few)
    yield from judged(rng.spawn(1)[0], max(runs // 10, 1))


def judged(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """What the guards themselves say."""
    for case, rates, _, null in CASES:
        found = [_judged(rng, rates) for _ in range(runs)]
        for test in (OF_ALL, OF_SEGMENTS):
            first = np.array([each[test] for each in found])
            yield cell(first, case, f"{test}, as judged", "errors", null=null)


def _errors(rng: np.random.Generator, runs: int, rates: Floats) -> dict[str, Floats]:
    """After every error; segments of equal traffic, `rates` are those of the canary over those of stable."""
    chances = np.concatenate([WEIGHT * rates, (1.0 - WEIGHT) * np.ones(GROUPS)])
    kinds = rng.choice(2 * GROUPS, size=(ERRORS, runs), p=chances / chances.sum())
    counts = np.zeros((2, GROUPS, runs))
    harm = np.zeros((GROUPS, runs))
    found: dict[str, Floats] = {name: np.full(runs, np.inf) for name in (POOLED, MEAN, NAMED)}
    every = np.arange(runs)
    for error in range(ERRORS):
        side, group = np.divmod(kinds[error], GROUPS)
        counts[side, group, every] += 1.0
        c, s = counts[:, group, every]
        harm[group, every] = label_test(WEIGHT, c[:, None], s[:, None], RATIO).harm
        pooled = label_test(WEIGHT, *counts.sum(axis=1)[..., None], RATIO).harm
        mean = no_group_harmed(Evidence(harm, harm)).harm
        near = harm.max(axis=0) >= np.log(1.0 / Q)  # less can name none
        named = np.zeros(runs, bool)
        for run in np.flatnonzero(near & ~np.isfinite(found[NAMED])):
            named[run] = discoveries(harm[:, run], Q).any()
        for name, over in zip(found, (pooled >= LINE, mean >= LINE, named), strict=True):
            found[name] = np.where(over & ~np.isfinite(found[name]), error + 1.0, found[name])
    return found


def _judged(rng: np.random.Generator, rates: Floats) -> dict[str, float]:
    """After how many errors each guard first says harm, by the judge of a rollout; infinity where never."""
    chances = np.concatenate([WEIGHT * rates, (1.0 - WEIGHT) * np.ones(GROUPS)])
    kinds = rng.choice(2 * GROUPS, size=ERRORS, p=chances / chances.sum())
    found, places = dict.fromkeys((OF_ALL, OF_SEGMENTS), np.inf), Places(GROUPS)
    for errors in range(ERRORS_A_LOOK, ERRORS + 1, ERRORS_A_LOOK):
        counts = counts_of(np.bincount(kinds[:errors], minlength=2 * GROUPS).reshape(2, GROUPS))
        places = places.seen([counts.segments])
        for name, guard in zip(found, _look(counts, places).guards, strict=True):
            if guard.verdict == "harmful":
                found[name] = min(found[name], float(errors))
        if np.isfinite(found[OF_SEGMENTS]):
            break  # the canary is off
    return found


def counts_of(errors: npt.NDArray[np.int64]) -> StageCounts:
    """A stage with these errors, of the canary and of stable by segment; shape (2, segments)."""
    segments = {
        f"country {number}": SegmentErrors(int(canary), int(stable), 1)
        for number, (canary, stable) in enumerate(errors.T)
        if canary + stable
    }
    failed = [int(each) for each in errors.sum(axis=1)]
    asked = int(errors.sum() / ERROR_RATE)
    canary, stable = (
        RoleCounts(requests, requests, errors_of_role, errors_of_role)
        for requests, errors_of_role in zip((asked // 10, asked - asked // 10), failed, strict=True)
    )
    return StageCounts(WEIGHT, stable, canary, segments=segments)


def _look(counts: StageCounts, places: Places) -> Judgement:
    past = Past(segmented=Segmented("x-country", places, RATIO))
    return judge(GUARDS, [counts], ALPHA, None, past)


def _apart(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Four groups; does any interval of the shares of right answers ever miss, at looks 50 values apart?"""
    rates = np.array([0.05, 0.05, 0.9, 0.9])
    right = (rng.random((runs, 4, VALUES)) < rates[:, None]).cumsum(axis=2)
    over: dict[str, list[Bools]] = {
        "intervals at every look": [],
        "intervals of one look (Wald, 1%)": [],
    }
    for look in range(49, VALUES, VALUES // LOOKS):
        n = look + 1
        counted = right[:, :, look]
        of = [mean_intervals([0, 1], np.stack([n - each, each], axis=1), ALPHA) for each in counted]
        missed = [np.any((each.least > rates) | (each.most < rates)) for each in of]
        over[EVERY_LOOK].append(np.array(missed))
        share = counted / n
        half = 2.5758 * np.sqrt(np.maximum(share * (1.0 - share), 1e-9) / n)
        over[ONE_LOOK].append(np.any(np.abs(share - rates) > half, axis=1))
    for name, looks in over.items():
        first = first_look(np.stack(looks, axis=1), VALUES // LOOKS)
        case = "four groups: any interval ever misses"
        yield cell(first, case, name, "values a group", null=True, used=name == EVERY_LOOK)
