"""A cell of the simulations: how often a line was ever crossed, and after how many looks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ALPHA = 0.01
LINE = float(np.log(1.0 / ALPHA))
QUESTIONS = {"harm": "harm", "safe": "no worse"}
CHUNK = 50  # runs at once: the cache and not the memory decides


@dataclass(frozen=True, slots=True)
class Cell:
    """What runs of one situation did.

    Args:
        case: the situation, in words.
        test: which test, and for what.
        unit: what is counted until the verdict.
        null: whether each crossing is an error.
        runs: how many.
        crossed: the share that ever crossed.
        median: units until the first crossing, of those that crossed; None where none did.
        p95: the same, 95%; None where fewer than 95% of all runs crossed.
        specified: the figure of the specification, in words; or empty.
        used: whether the product does so; others are shown for comparison.
        alpha: the risk that the test is asked to keep.
    """

    case: str
    test: str
    unit: str
    null: bool
    runs: int
    crossed: float
    median: float | None
    p95: float | None
    specified: str = ""
    used: bool = True
    alpha: float = ALPHA

    @property
    def allowed(self) -> float:
        """The share of runs that may cross where each is an error: alpha and three standard errors."""
        return self.alpha + 3.0 * float(np.sqrt(self.alpha * (1.0 - self.alpha) / self.runs))

    @property
    def holds(self) -> bool:
        """Whether errors are as rare as they have to be; of no matter where the test is not used."""
        return not (self.null and self.used) or self.crossed <= self.allowed


def cell(
    first: Floats,
    case: str,
    test: str,
    unit: str,
    *,
    null: bool = False,
    specified: str = "",
    used: bool = True,
    alpha: float = ALPHA,
) -> Cell:
    """From the units after which each run first crossed; infinity where it never did; shape (runs,)."""
    crossed = np.isfinite(first)
    share = float(crossed.mean())
    return Cell(
        case,
        test,
        unit,
        null,
        len(first),
        share,
        float(np.median(first[crossed])) if share else None,
        float(np.quantile(first, 0.95, method="inverted_cdf")) if share >= 0.95 else None,
        specified,
        used,
        alpha,
    )


def first_look(over: Bools, units: Floats | int = 1) -> Floats:
    """After how many units each run (rows) was first over the line at a look (columns).

    Args:
        over: shape (runs, looks).
        units: how many a look is, or up to each look; shape (looks,) or (runs, looks).
    """
    at = np.broadcast_to(
        np.arange(1, over.shape[1] + 1) * units if np.ndim(units) == 0 else np.asarray(units), over.shape
    )
    index = over.argmax(axis=1)
    found: Floats = np.where(over.any(axis=1), at[np.arange(len(over)), index], np.inf)
    return found


def mean_over_bets(steps: Sequence[Floats]) -> Floats:
    """The log e-value after each event, from what each bet won at each; bet by bet, to spare memory.

    Args:
        steps: of each bet the logarithms, shape (runs, events).
    """
    total = None
    for step in steps:
        grown = step.cumsum(axis=1)
        total = grown if total is None else np.logaddexp(total, grown)
    assert total is not None
    mean: Floats = total - np.log(len(steps))
    return mean


def by_chunks(runs: int, simulate: Callable[[int], dict[str, Floats]]) -> dict[str, Floats]:
    """First crossings by test of so many runs, simulated a few at a time."""
    parts = [simulate(size) for size in _sizes(runs)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _sizes(runs: int) -> Iterator[int]:
    for start in range(0, runs, CHUNK):
        yield min(CHUNK, runs - start)
