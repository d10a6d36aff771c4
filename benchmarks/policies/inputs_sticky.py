"""Sticky users, whose requests hang together: over processes, over stages, and users who ask often."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.policies.aa import ALPHA
from benchmarks.policies.input_rows import row
from control.judging.evidence import bets_test, label_ratios, label_test
from control.judging.restarts import within_first_tick

LINE = float(np.log(1 / ALPHA))
WEIGHT = 0.1
RAMPS = ((1, 25, 50), (1, 2, 5, 10, 25, 50), tuple(range(5, 55, 5)))
"""Percentages of the stages."""


def sticky(rng: np.random.Generator, runs: int) -> Iterator[dict[str, Any]]:
    """Users whose requests always fail, equally good roles, tolerance 1.5; then users who ask often."""
    for processes in (1, 2, 4, 8, 24):
        for users in (1, 3, 10, 30, 100):
            yield from _processes(rng, runs, processes, users)
    for ramp in RAMPS:
        for users in (1, 3, 10):
            yield from _stages(rng, runs, ramp, users)
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


def _stages(rng: np.random.Generator, runs: int, ramp: Sequence[int], users: int) -> Iterator[dict[str, Any]]:
    weights, points = np.array(ramp) / 100, rng.random((runs, users))
    c = (points[:, None, :] < weights[None, :, None]).sum(axis=2)  # of each stage
    by_stage = np.stack(
        [
            label_ratios(weights[j : j + 1], c[:, j, None], users - c[:, j, None], 1.5)
            for j in range(len(ramp))
        ],
        axis=2,
    )  # (alternatives, runs, stages)
    number = np.arange(1.0, len(ramp) + 1.0)
    each = within_first_tick(bets_test(by_stage)) - np.log(number * (number + 1.0))
    mixed = np.logaddexp(np.logaddexp.accumulate(each, axis=1), -np.log(number + 1.0))
    case = f"{users} failing users, stages of {', '.join(map(str, ramp))}%"
    yield row(case, "a test for each stage", mixed >= LINE, None, null=True, unit="stages")
    product = bets_test(by_stage.cumsum(axis=2))
    yield row(case, "stages multiplied (not used)", product >= LINE, None, null=True, unit="stages")


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
