"""Sticky users, whose requests hang together: over processes, over stages, and users who ask often."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.policies.aa import ALPHA
from benchmarks.policies.input_rows import row
from control.judging.evidence import Floats, bets_test, label_ratios, label_test
from control.judging.restarts import within_first_tick
from router.counting.split import fresh_weight

LINE = float(np.log(1 / ALPHA))
WEIGHT = 0.1
RAMPS = ((1, 25, 50), (1, 2, 5, 10, 25, 50), tuple(range(5, 55, 5)))
"""Percentages of the stages."""
PROCESSES = (1, 2, 4, 8, 24)
RATIO = 1.5


def sticky(rng: np.random.Generator, runs: int) -> Iterator[dict[str, Any]]:
    """Users whose requests always fail, equally good roles, tolerance 1.5; then users who ask often."""
    for processes in PROCESSES:
        for users in (1, 3, 10, 30, 100):
            yield from _processes(rng, runs, processes, users)
    for ramp in RAMPS:
        for users in (1, 3, 10):
            for processes in PROCESSES:
                yield from _stages(rng, runs, ramp, users, processes)
        yield from _bad(rng, runs, ramp)
    for rate, ratio in ((0.02, 1.5), (0.02, 2.0), (0.02, 3.0), (0.05, 3.0)):
        for requests in (1, 10, 100):
            yield from _saturated(rng, min(runs, 200), rate, ratio, requests)


def _processes(rng: np.random.Generator, runs: int, processes: int, users: int) -> Iterator[dict[str, Any]]:
    at_canary = rng.random((runs, users)) < WEIGHT
    for name, times in (("keys count once", 1), ("once in each process (not used)", processes)):
        order = rng.permuted(np.tile(np.arange(users), (runs, times)), axis=1)
        labels = np.take_along_axis(at_canary, order, axis=1)
        c, s = labels.cumsum(axis=1)[..., None], (~labels).cumsum(axis=1)[..., None]
        harm = within_first_tick(label_test(WEIGHT, c, s, 1.5).harm) >= LINE
        case = f"{users} failing users, {processes} processes"
        yield row(case, name, harm, None, null=True, unit="errors")


def _stages(
    rng: np.random.Generator, runs: int, ramp: Sequence[int], users: int, processes: int
) -> Iterator[dict[str, Any]]:
    """Users who fail in every stage, in each process, in any order; a look after each error that is told."""
    points = rng.random((runs, users))
    case = f"{users} failing users, stages of {', '.join(map(str, ramp))}%, {processes} processes"
    order = np.tile(np.arange(users), (len(ramp), runs, processes))
    order = rng.permuted(order, axis=2)  # who is told next, of each stage
    told = np.take_along_axis(np.broadcast_to(points, (len(ramp), runs, users)), order, axis=2)
    first = _first_told(order, users)
    harm = _over_stages(ramp, told, first, fresh=True) >= LINE
    yield row(case, "users drawn anew", harm, None, null=True, unit="errors")
    if processes in (PROCESSES[0], PROCESSES[-1]):
        harm = _over_stages(ramp, told, np.ones_like(first), fresh=False) >= LINE
        test = "stages multiplied, in each process (not used)"
        yield row(case, test, harm, None, null=True, unit="errors")


def _first_told(order: npt.NDArray[np.int64], users: int) -> npt.NDArray[np.bool_]:
    """Where a user is told for the first time in a stage."""
    found = np.zeros(order.shape, dtype=bool)
    for user in range(users):
        np.put_along_axis(found, (order == user).argmax(axis=2)[..., None], values=True, axis=2)
    return found


def _over_stages(ramp: Sequence[int], points: Floats, told: npt.NDArray[np.bool_], *, fresh: bool) -> Floats:
    """The log e-value after each error.

    Args:
        ramp: percentages of the stages.
        points: of the users who err, in order; shape (stages, runs, errors).
        told: whether the error counts; same shape.
        fresh: whether those only count whom no stage before had drawn.
    """
    before: Floats = np.zeros((1, points.shape[1], 1))
    found, used = [], 0
    for at, counts, percent in zip(points, told, ramp, strict=True):
        drawn = counts & (at >= used / 100)
        c = (drawn & (at < percent / 100)).cumsum(axis=1)[..., None]
        s = (drawn & (at >= percent / 100)).cumsum(axis=1)[..., None]
        ratios = before + label_ratios(fresh_weight(percent, used) / 100, c, s, RATIO)
        found.append(within_first_tick(bets_test(ratios)))
        before, used = ratios[..., -1:], percent if fresh else 0
    return np.concatenate(found, axis=1)


def _bad(rng: np.random.Generator, runs: int, ramp: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A thousand users a stage, of whom 1% meet an error at stable and 5% at the canary."""
    users, stages = 1000, len(ramp)
    points = np.broadcast_to(rng.random((runs, users)), (stages, runs, users))
    weights = np.array(ramp)[:, None, None] / 100
    erred = rng.random((stages, runs, users)) < np.where(points < weights, 0.05, 0.01)
    case = f"5% of users fail against 1%, stages of {', '.join(map(str, ramp))}%"
    harm = _over_stages(ramp, points, erred, fresh=True) >= LINE
    yield row(case, "users drawn anew", harm, None, unit="users asked")


def _saturated(
    rng: np.random.Generator, runs: int, base: float, ratio: float, requests: int
) -> Iterator[dict[str, Any]]:
    """Stable fails `base` and the canary `ratio` times that; is at most 1.5 times proven?"""
    users = 20_000
    at_canary = rng.random((runs, users)) < WEIGHT
    rate = np.where(at_canary, ratio * base, base)
    looks, proofs = slice(99, None, 100), []
    for chance in (1 - (1 - rate) ** requests, rate):
        erred = rng.random((runs, users)) < chance
        c, s = (erred & at_canary).cumsum(axis=1), (erred & ~at_canary).cumsum(axis=1)
        proofs.append(label_test(WEIGHT, c[:, looks, None], s[:, looks, None], 1.5).safe)
    case, unit = f"{base:.0%} errors, {ratio:g} times that, {requests} requests a user", "hundreds of users"
    both = np.minimum(*proofs) >= LINE
    yield row(case, "first requests and first errors", None, both, null=True, unit=unit)
    yield row(case, "first errors (not used)", None, proofs[0] >= LINE, null=True, unit=unit)
