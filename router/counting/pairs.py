"""Pairs of compute times: the candidate and stable, on the same request, in one process. Pure.

Law: both models run twice on the request as if timed, then both are timed, in random order; so what one finds
in the caches, the other finds too, and load, time of day and the size of the request are the same for both.
The first pairs of a process do not count. Edges are quantiles of stable's times in pairs before, which do not
count for the tails. Counts are cumulative, of one tolerance, and those of several processes add up, each of
which has edges of its own.
"""

import statistics
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any

from serving.clock import clock
from serving.errors import InvalidInput

PAIR_SECONDS = 0.1
"""At least so long from one pair to the next, and from one request that a worker offers to the next."""
WARM_PAIRS = 20
WARM_RUNS = 2
"""Of each model before it is timed, as if it were timed."""
BASELINE_PAIRS = 500
UNIT_PAIRS = 10
"""Pairs that ran one after the other are one observation: the noise of a process comes in stretches."""
QUANTILES = (0.90, 0.95, 0.99)
TICK_SHARE = 0.01
"""Of a timing: a tick of the clock is at most so long; else the run is repeated within the timing."""
MAX_REPEATS = 1000
RATIO_EDGES = tuple(1.25 ** (step / 10) for step in range(-60, 61))
"""Of the buckets of the candidate's time as a multiple of stable's: 2.3% apart, from a quarter to four."""

Tail = tuple[int, int]
"""Pairs in which only the candidate was beyond (r times the edge), and in which only stable was."""


@dataclass(frozen=True, slots=True)
class PairCounts:
    """What pairs of one stage came to.

    Args:
        units: by number of pairs of a unit in which the candidate took longer than r times stable, 0 to
            `UNIT_PAIRS`: how many units there were.
        tails: for each of `QUANTILES`.
        tail_pairs: pairs that count for the tails.
        baseline: pairs that count for the edges only.
        ratios: pairs by how many times as long as stable the candidate took: below the first of
            `RATIO_EDGES`, from each of them to the next, from the last on.
        lagging: by number of pairs of a unit in which the candidate was not as many times as fast as stable
            as a guard asks: how many units there were; none where no guard asks.
    """

    units: tuple[int, ...] = (0,) * (UNIT_PAIRS + 1)
    tails: tuple[Tail, ...] = ((0, 0),) * len(QUANTILES)
    tail_pairs: int = 0
    baseline: int = 0
    ratios: tuple[int, ...] = (0,) * (len(RATIO_EDGES) + 1)
    lagging: tuple[int, ...] = (0,) * (UNIT_PAIRS + 1)

    @property
    def pairs(self) -> int:
        """Pairs in whole units."""
        return UNIT_PAIRS * sum(self.units)

    @property
    def slower(self) -> int:
        """Those in which the candidate took longer than r times stable."""
        return sum(number * units for number, units in enumerate(self.units))

    def __add__(self, other: "PairCounts") -> "PairCounts":
        return self._with(other, 1)

    def since(self, before: "PairCounts") -> "PairCounts":
        """What was counted after `before`."""
        return self._with(before, -1)

    def _with(self, other: "PairCounts", sign: int) -> "PairCounts":
        return PairCounts(
            tuple(max(a + sign * b, 0) for a, b in zip(self.units, other.units, strict=True)),
            tuple(
                (max(a + sign * c, 0), max(b + sign * d, 0))
                for (a, b), (c, d) in zip(self.tails, other.tails, strict=True)
            ),
            max(self.tail_pairs + sign * other.tail_pairs, 0),
            max(self.baseline + sign * other.baseline, 0),
            tuple(max(a + sign * b, 0) for a, b in zip(self.ratios, other.ratios, strict=True)),
            tuple(max(a + sign * b, 0) for a, b in zip(self.lagging, other.lagging, strict=True)),
        )


NO_PAIRS = PairCounts()


class StagePairs:
    """The pairs of one stage in this process."""

    def __init__(self) -> None:
        self._units, self._lagging = [0] * (UNIT_PAIRS + 1), [0] * (UNIT_PAIRS + 1)
        self._under_way = self._slower = self._not_as_fast = 0
        self._tails = [[0, 0] for _ in QUANTILES]
        self._tail_pairs = self._baseline = 0
        self._ratios = [0] * len(NO_PAIRS.ratios)

    @property
    def counts(self) -> PairCounts:
        """All that may be judged; a unit counts when it is whole."""
        tails = tuple((worse, better) for worse, better in self._tails)
        units, ratios, lagging = tuple(self._units), tuple(self._ratios), tuple(self._lagging)
        return PairCounts(units, tails, self._tail_pairs, self._baseline, ratios, lagging)

    def add(
        self,
        candidate: float,
        stable: float,
        ratio: float,
        edges: tuple[float, ...] | None,
        speed: float = 0.0,
    ) -> None:
        """Count a pair of times, in seconds.

        Args:
            candidate: of one run.
            stable: of one run.
            ratio: how many times as long as stable the candidate may take.
            edges: of stable's times; without any yet, the pair counts for them and not for the tails.
            speed: how many times as fast as stable it must be; 0 where no guard asks.
        """
        self._under_way += 1
        self._slower += candidate > ratio * stable
        self._not_as_fast += speed * candidate > stable
        if stable > 0.0:
            self._ratios[bisect_right(RATIO_EDGES, candidate / stable)] += 1
        if self._under_way == UNIT_PAIRS:
            self._units[self._slower] += 1
            if speed:
                self._lagging[self._not_as_fast] += 1
            self._under_way = self._slower = self._not_as_fast = 0
        if edges is None:
            self._baseline += 1
            return
        self._tail_pairs += 1
        for tail, edge in zip(self._tails, edges, strict=True):
            worse, better = candidate > ratio * edge, stable > edge
            if worse != better:
                tail[1 if better else 0] += 1


@dataclass(slots=True)
class PairLog:
    """What is known of one candidate beside one stable in this process, over stages.

    Args:
        tick_seconds: of the clock.
    """

    tick_seconds: float
    edges: tuple[float, ...] | None = None
    repeats: tuple[int, int] = (1, 1)
    """Runs within one timing of the candidate and of stable, fixed by the pairs that do not count."""
    _seen: int = 0
    _candidate: list[float] = field(default_factory=list)
    _stable: list[float] = field(default_factory=list)

    def add(
        self, counts: StagePairs, candidate: float, stable: float, ratio: float, speed: float = 0.0
    ) -> None:
        """Take in a pair of times, in seconds; for the rest as `StagePairs.add`."""
        self._seen += 1
        if self._seen <= WARM_PAIRS:
            self._candidate.append(candidate)
            self._stable.append(stable)
            if self._seen == WARM_PAIRS:
                own, its = statistics.median(self._candidate), statistics.median(self._stable)
                self.repeats = repeats(own, self.tick_seconds), repeats(its, self.tick_seconds)
                self._candidate.clear()
                self._stable.clear()
            return
        counts.add(candidate, stable, ratio, self.edges, speed)
        if self.edges is None:
            self._stable.append(stable)
            if len(self._stable) == BASELINE_PAIRS:
                self.edges = edges_of(self._stable)
                self._stable.clear()


def pairs_to_json(pairs: PairCounts) -> dict[str, Any] | None:
    """The counts as JSON values; None for none."""
    return None if pairs == NO_PAIRS else asdict(pairs)


def pairs_from_json(value: Any, count: Callable[[object, str], int]) -> PairCounts:
    """Counts as a sandbox sent them.

    Args:
        value: JSON values.
        count: reads a number, of a named place.

    Raises:
        InvalidInput: a key is missing, or a number is impossible; the message names the place.
    """
    if value is None:
        return NO_PAIRS
    place = "counts.pairs"
    if not isinstance(value, dict) or not value.keys() >= {"units", "tails", "tail_pairs", "baseline"}:
        raise InvalidInput(f"{place}: expected the keys units, tails, tail_pairs, baseline")
    tails = value["tails"]
    units, ratios, lagging = (
        _row(value.get(key, default), len(default), f"{place}.{key}", count)
        for key, default in (
            ("units", NO_PAIRS.units),
            ("ratios", NO_PAIRS.ratios),
            ("lagging", NO_PAIRS.lagging),
        )
    )
    if not isinstance(tails, list | tuple) or len(tails) != len(NO_PAIRS.tails):
        raise InvalidInput(f"{place}.tails: expected a list of {len(NO_PAIRS.tails)} tails")
    if not all(isinstance(tail, list | tuple) and len(tail) == 2 for tail in tails):
        raise InvalidInput(f"{place}.tails: expected [the candidate alone, stable alone]")
    found = PairCounts(
        units,
        tuple((count(a, f"{place}.tails"), count(b, f"{place}.tails")) for a, b in tails),
        count(value["tail_pairs"], f"{place}.tail_pairs"),
        count(value["baseline"], f"{place}.baseline"),
        ratios,
        lagging,
    )
    if any(sum(tail) > found.tail_pairs for tail in found.tails):
        raise InvalidInput(f"{place}.tails: more than {found.tail_pairs} pairs")
    return found


def _row(value: Any, length: int, place: str, count: Callable[[object, str], int]) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or len(value) != length:
        raise InvalidInput(f"{place}: expected a list of {length} counts")
    return tuple(count(each, place) for each in value)


def edges_of(seconds: list[float]) -> tuple[float, ...]:
    """The `QUANTILES` of some times: of each the greatest that as many are above as it says."""
    ordered = sorted(seconds)
    return tuple(ordered[round(quantile * len(ordered)) - 1] for quantile in QUANTILES)


def repeats(run_seconds: float, tick_seconds: float) -> int:
    """How often a run is repeated within its timing, so that the tick is a small part of it."""
    least = max(run_seconds, tick_seconds / MAX_REPEATS)
    return min(max(ceil(tick_seconds / (TICK_SHARE * least)), 1), MAX_REPEATS)


def time_pair(
    candidate: Callable[[], object],
    stable: Callable[[], object],
    runs: tuple[int, int],
    *,
    stable_first: bool,
) -> tuple[float, float]:
    """Seconds of one run of the candidate and of stable, each timed over so many runs.

    Before, they run in the order in which they are timed: so each is timed after the other one. They do as if
    timed, since what times them is cold too, which made a run of 10 us half as long again for whoever came
    first.
    """
    order = (
        ((stable, runs[1]), (candidate, runs[0]))
        if stable_first
        else ((candidate, runs[0]), (stable, runs[1]))
    )
    for run, _ in order * WARM_RUNS:
        _seconds(run, 1)
    first, second = (_seconds(run, times) for run, times in order)
    return (second, first) if stable_first else (first, second)


def _seconds(run: Callable[[], object], runs: int) -> float:
    began = clock()
    for _ in range(runs):
        run()
    return (clock() - began) / runs


def clock_tick() -> float:
    """The shortest step of the clock, in seconds, that is seen between two calls."""
    steps = []
    for _ in range(100):
        began = now = clock()
        while now == began:
            now = clock()
        steps.append(now - began)
    return min(steps)
