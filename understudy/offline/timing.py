"""Base and candidate timed side by side, in pairs, as the sandbox of a live canary does it.

The same `router.counting.pairs` times and counts; nobody is served meanwhile, so pairs follow each other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np
import numpy.typing as npt

from router.counting.pairs import PairCounts, PairLog, StagePairs, clock_tick, time_pair
from router.rollout.guards.speed import Paired
from serving.clock import clock
from serving.errors import ServingError
from serving.wire.tensors import Array
from understudy.offline.running import Opened

Floats = npt.NDArray[np.float64]

BETWEEN_LOOKS = 100
"""Pairs; the e-values may be looked at after each, and looking costs more than a pair of short ones."""
LEAST_PAIRS = 1000
"""So many are timed even where nothing has to be decided, as far as the time allows."""
MOST_PAIRS = 50_000


@dataclass(frozen=True, slots=True)
class Timed:
    """What timing came to.

    Args:
        pairs: as the guards on latency and speed weigh them.
        base: seconds of a run of the base, pair by pair.
        candidate: seconds of a run of the candidate, pair by pair.
    """

    pairs: PairCounts
    base: Floats
    candidate: Floats


def time_both(
    base: Opened,
    candidate: Opened,
    rows: Sequence[Mapping[str, Array]],
    asked: Paired,
    seconds: float,
    decided: Callable[[PairCounts], bool],
    note: Callable[[], None],
) -> Timed:
    """Time pairs on rows in turn until it is decided, or time is up.

    Args:
        base: one model.
        candidate: the other.
        rows: those that both answer; none gives no pairs.
        asked: what guards ask of the candidate's times.
        seconds: how long at most.
        decided: whether more pairs would change nothing; asked now and then.
        note: called now and then.
    """
    log, counts, coin = PairLog(clock_tick()), StagePairs(), Random()  # noqa: S311  (a coin, not a secret)
    times: list[tuple[float, float]] = []
    until = clock() + seconds
    while rows and len(times) < MOST_PAIRS and clock() < until:
        feeds = rows[len(times) % len(rows)]
        try:
            found = time_pair(
                partial(candidate.model.run, feeds, candidate.output_names),
                partial(base.model.run, feeds, base.output_names),
                log.repeats,
                stable_first=coin.random() < 0.5,
            )
        except ServingError:  # it answered before
            rows = [row for row in rows if row is not feeds]
            continue
        times.append(found)
        log.add(counts, *found, asked.max_ratio, asked.min_speed)
        if len(times) % BETWEEN_LOOKS == 0:
            note()
            if len(times) >= LEAST_PAIRS and decided(counts.counts):
                break
    by_role = np.array(times).reshape(-1, 2)
    return Timed(counts.counts, by_role[:, 1], by_role[:, 0])
