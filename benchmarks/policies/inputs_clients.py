"""What clients wait: pauses of either process, and canaries whose clients wait longer; slice by slice."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.policies.aa import ALPHA
from benchmarks.policies.input_rows import row
from control.judging.client_waits import QUANTILES
from control.judging.evidence import bets_test, label_test, span_bets
from control.judging.restarts import within_first_tick
from router.counting.stage_counts import SPAN_SECONDS

Floats = npt.NDArray[np.float64]
LINE = float(np.log(1 / ALPHA))
REQUESTS = 100 * SPAN_SECONDS
WEIGHT = 0.1
SPANS = 720  # an hour
PAUSES_A_MINUTE = 1.0


def clients(rng: np.random.Generator, runs: int) -> Iterator[dict[str, Any]]:
    """Equal processes that pause by themselves, then canaries with more of their clients late."""
    runs = min(runs, 400)
    for pause_seconds, spans in ((0.0, 1), (0.5, 1), (3.0, 1), (10.0, 1), (10.0, 6)):
        case = "equal, no pauses" if not pause_seconds else f"equal, a pause of {pause_seconds:g} s a minute"
        counts = _counts(rng, runs, pause_seconds)
        length = int(spans * SPAN_SECONDS)
        test = f"slices of {length} s" + (" (too short: an assumption)" if pause_seconds > length else "")
        yield row(case, test, _sliced(counts, spans), None, null=True, unit=test)
        if spans == 1:
            yield row(case, "label test (not used)", _labels(counts), None, null=True, unit=test)
    for case, more in (
        ("all clients of the canary wait longer", (0.5, 0.9)),
        ("30 of 100 more wait longer", (0.3, 0.3)),
        ("10 of 100 more wait longer", (0.1, 0.1)),
    ):
        counts = _counts(rng, runs, 0.5, more)
        yield row(case, "slices of 5 s", _sliced(counts, 1), None, unit="slices of 5 s")


def _counts(
    rng: np.random.Generator, runs: int, pause_seconds: float, more: tuple[float, float] = (0.0, 0.0)
) -> tuple[npt.NDArray[np.int64], ...]:
    """Requests and late ones of the canary, then of stable; shape (runs, spans), late ones (edges, ...)."""
    found = []
    for share, later in ((WEIGHT, more), (1.0 - WEIGHT, (0.0, 0.0))):
        requests = rng.poisson(REQUESTS * share, (runs, SPANS))
        paused = rng.binomial(requests, _paused(rng, runs, pause_seconds))
        late = [
            paused + rng.binomial(requests - paused, min(1.0 - quantile + add, 1.0))
            for quantile, add in zip(QUANTILES, later, strict=True)
        ]
        found += [requests, np.stack(late)]
    return tuple(found)


def _paused(rng: np.random.Generator, runs: int, pause_seconds: float) -> Floats:
    """Which share of each span a process was away, in pauses that begin whenever they like."""
    tick = 0.5
    ticks = int(SPANS * SPAN_SECONDS / tick)
    began = rng.random((runs, ticks)) < PAUSES_A_MINUTE * tick / 60.0
    length = round(pause_seconds / tick)
    if not length:
        return np.zeros((runs, SPANS))
    sums = np.cumsum(np.pad(began, ((0, 0), (length, 0))), axis=1)
    away = (sums[:, length:] - sums[:, :-length]) > 0
    share: Floats = away.reshape(runs, SPANS, -1).mean(axis=2)
    return share


def _sliced(counts: tuple[npt.NDArray[np.int64], ...], spans: int) -> npt.NDArray[np.bool_]:
    merged = [each.reshape(*each.shape[:-1], -1, spans).sum(axis=-1) for each in counts]
    requests, late, stable, late_stable = merged
    won = np.cumsum(span_bets(requests, late, stable, late_stable), axis=-1)  # (bets, edges, runs, slices)
    over: npt.NDArray[np.bool_] = bets_test(within_first_tick(bets_test(won))) >= LINE
    return over


def _labels(counts: tuple[npt.NDArray[np.int64], ...]) -> npt.NDArray[np.bool_]:
    c, s = (late.cumsum(axis=-1)[..., None] for late in (counts[1], counts[3]))
    over: npt.NDArray[np.bool_] = bets_test(label_test(WEIGHT, c, s, 1.0).harm) >= LINE
    return over
