"""What benchmarks.evidence.aa runs, and what its runs come to. Pure.

Law: the order is fixed by the seed, so a run that is resumed knows which runs are left; a run is false when
a copy of stable was taken off; how often that can be is told by Clopper and Pearson's exact interval.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, NamedTuple

ALPHA = 0.01
CONNECTIONS = (1, 4, 32)
WEIGHTS = (1, 10, 50, 90)
WORKERS = (1, 4)
RARE_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Placement:
    """Which model is served, and how it is asked.

    Args:
        name: as the page has it.
        model: its name in the repository.
        pause_seconds: of each connection, after an answer and before the next request.
    """

    name: str
    model: str
    pause_seconds: float = 0.0


PLACEMENTS = (
    Placement("inline", "small"),
    Placement("pooled", "mlp"),
    Placement("rarely used", "small", RARE_PAUSE_SECONDS),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to serve a copy of stable, or a slower model, beside stable.

    Args:
        workers: processes behind the public door.
        placement: name of one of `PLACEMENTS`.
        connections: clients, each with one request under way at most.
        weight: the canary's share, percent.
        slower: whether the canary takes 1.5 times as long; else it is a copy.
    """

    workers: int
    placement: str
    connections: int
    weight: int
    slower: bool = False


class Job(NamedTuple):
    """One run: the cell, and the how-many-th time it is."""

    cell: Cell
    number: int

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from every other run."""
        return (*asdict(self.cell).values(), self.number)


def cells() -> list[Cell]:
    """All cells with a copy."""
    names = [placement.name for placement in PLACEMENTS]
    return [Cell(*each) for each in product(WORKERS, names, CONNECTIONS, WEIGHTS)]


def slower_cells() -> list[Cell]:
    """Where the canary is slower: all at 10%, and with four connections and one worker every weight."""
    return [
        Cell(cell.workers, cell.placement, cell.connections, cell.weight, slower=True)
        for cell in cells()
        if cell.weight == 10 or (cell.connections == 4 and cell.workers == 1)
    ]


def jobs(workers: int, rounds: int, seed: int = 12) -> list[Job]:
    """The runs at so many workers: slower ones among the first round, each round in an order of its own."""
    draw = random.Random(seed + workers)
    ordered: list[Job] = []
    for number in range(rounds):
        chosen = [*cells(), *(slower_cells() if number == 0 else ())]
        of_round = [Job(cell, number) for cell in chosen if cell.workers == workers]
        draw.shuffle(of_round)
        ordered += of_round
    return ordered


def interval(events: int, runs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's for a chance, by so many events in so many runs; (0, 1) without a run."""
    from scipy.stats import beta  # noqa: PLC0415  (a second of CPU time, for those who only plan the runs)

    rest = (1.0 - confidence) / 2.0
    low = float(beta.ppf(rest, events, runs - events + 1)) if events else 0.0
    high = float(beta.ppf(1.0 - rest, events + 1, runs - events)) if events < runs else 1.0
    return low, high


class Tally(NamedTuple):
    """Runs of one value of a dimension, by what became of them."""

    runs: int
    harmful: int
    proven: int

    @property
    def undecided(self) -> int:
        """Neither."""
        return self.runs - self.harmful - self.proven

    @property
    def within(self) -> bool:
        """Whether alpha is not excluded from below: the interval begins at alpha or under it."""
        return interval(self.harmful, self.runs)[0] <= ALPHA


def tally(runs: Iterable[Mapping[str, Any]]) -> Tally:
    """All of these."""
    verdicts = [run["verdict"] for run in runs]
    return Tally(len(verdicts), verdicts.count("harmful"), verdicts.count("proven"))


def by(runs: Sequence[Mapping[str, Any]], dimension: Callable[[Mapping[str, Any]], Any]) -> dict[Any, Tally]:
    """A tally for each value of a dimension, in their order."""
    values = sorted({dimension(run) for run in runs})
    return {value: tally(run for run in runs if dimension(run) == value) for value in values}
