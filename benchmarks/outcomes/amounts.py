"""What answered requests bring: bounded values, amounts, and what scores spare (`scores`, `amounts`)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.outcomes.cells import (
    ALPHA,
    LINE,
    QUESTIONS,
    Cell,
    Floats,
    by_chunks,
    cell,
    first_look,
    mean_over_bets,
)
from control.judging.outcomes.amounts import AmountSums, Baseline, amount_sums, asymptotic_test
from control.judging.outcomes.mean_bets import BETS
from control.judging.outcomes.scores import Answered, score_bounds, scores

REQUESTS = 40_000
LOOKS = 500  # at amounts: every 80 requests at w = 10%
SIGMA = 0.93  # of the logarithm of amounts and scores
CORRELATION = 0.8  # of an amount with its score
LOG_CORRELATION = float(np.log1p(CORRELATION * np.expm1(SIGMA**2))) / SIGMA**2
BASELINE = 20_000


def cells(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """All of them."""
    yield from _bounded(rng, max(runs // 4, 1))
    yield from _rare(rng, max(runs // 2, 1))
    yield from _cuped(rng, max(runs // 4, 1))


def _bounded(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Values in [0, 1]: 0 for half of the requests, else uniform; `maxDrop: 20%` of stable's mean."""
    for w in (0.5, 0.1):
        for drop, questions in ((0.2, ("harm", "safe")), (0.0, ("safe",)), (0.5, ("harm",))):
            for expected in (False, True):
                found = by_chunks(
                    runs, lambda size, w=w, d=drop, e=expected: _bets(rng, size, w, d, scored=e)
                )
                for question in questions:
                    case = f"{100 * drop:g}% less, values in [0, 1], maxDrop 20%, w = {100 * w:g}%"
                    test = QUESTIONS[question] + _with(expected)
                    yield cell(found[question], case, test, "requests", null=drop == 0.2)


def _bets(rng: np.random.Generator, runs: int, w: float, drop: float, *, scored: bool) -> dict[str, Floats]:
    """A score tells whether a request will bring anything, four times in five."""
    shape = (runs, REQUESTS)
    brings = rng.random(shape) < 0.5
    at_canary = rng.random(shape) < w
    value = brings * rng.random(shape) * np.where(at_canary, 1.0 - drop, 1.0)
    told = np.where(rng.random(shape) < 0.8, brings, ~brings)
    expected = np.where(told, 0.4, 0.1) if scored else np.zeros(shape)
    psi = scores(Answered(value, at_canary, w, expected), 0.2)
    least, most = score_bounds(w, expected, 1.0, 0.2)
    bets = {"harm": -psi / most, "safe": psi / -least}
    return {
        side: first_look(mean_over_bets([np.log1p(f * z) for f in BETS]) >= LINE) for side, z in bets.items()
    }


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run of amounts is.

    Args:
        weight: w.
        bring: the share of requests that bring an amount.
        drop: by how much less it is at the canary, a share.
        max_drop: what is tolerated.
        scored: whether the champion's scores are used.
        waits: whether no verdict comes before enough amounts.
    """

    weight: float = 0.1
    bring: float = 1.0
    drop: float = 0.0
    max_drop: float = 0.0
    scored: bool = False
    waits: bool = True


def _rare(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """5% of requests bring an amount, alike at both roles; with and without waiting for 50 of each."""
    for w, specified, gated in ((0.1, "11.5%", ".25%"), (0.01, "25%", "")):
        for waits in (True, False):
            found = _paths(rng, runs, Setting(w, bring=0.05, waits=waits))
            for question in ("less", "more"):
                yield cell(
                    found["harm" if question == "less" else "safe"],
                    f"5% bring an amount, equal, w = {100 * w:g}%",
                    f"earns {question}{'' if waits else ', from 500 requests on'}",
                    "requests",
                    null=True,
                    specified=gated if waits else specified,
                    used=waits,
                )


def _cuped(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """All requests bring an amount, log-normal; with and without the champion's score."""
    for drop, figures in ((0.2, ("2,540", "1,277")), (0.1, ("11,393", "4,747"))):
        for scored, specified in zip((False, True), figures, strict=True):
            found = _paths(rng, runs, Setting(drop=drop, scored=scored))
            case = f"{100 * drop:g}% less, log-normal, w = 10%"
            yield cell(found["harm"], case, f"earns less{_with(scored)}", "requests", specified=specified)
    for scored, specified in ((False, "2.0%"), (True, ".8%")):
        found = _paths(rng, 2 * runs, Setting(scored=scored))
        either, test = np.minimum(found["harm"], found["safe"]), f"interval misses{_with(scored)}"
        yield cell(either, "equal, log-normal, w = 10%", test, "requests", null=True, specified=specified)
    for drop, question in ((0.2, "harm"), (0.2, "safe"), (0.4, "harm"), (0.0, "safe")):
        found = _paths(rng, 2 * runs if drop == 0.2 else runs, Setting(drop=drop, scored=True, max_drop=0.2))
        case, test = (
            f"{100 * drop:g}% less, log-normal, maxDrop 20%, w = 10%",
            QUESTIONS[question] + _with(True),
        )
        yield cell(found[question], case, test, "requests", null=drop == 0.2)


def _with(scored: bool) -> str:  # noqa: FBT001
    return ", with scores" if scored else ""


def _paths(rng: np.random.Generator, runs: int, of: Setting) -> dict[str, Floats]:
    """First crossings of runs, each with a baseline of its own, looked at `LOOKS` times."""
    firsts = [_path(rng, of) for _ in range(runs)]
    return {side: np.array([first[side] for first in firsts]) for side in QUESTIONS}


def _path(rng: np.random.Generator, of: Setting) -> dict[str, float]:
    amount, score = _drawn(rng, BASELINE, of.bring)
    baseline = Baseline.of(amount, score if of.scored else None)
    requests = int(REQUESTS * 0.1 / of.weight)
    amount, score = _drawn(rng, requests, of.bring)
    at_canary = rng.random(requests) < of.weight
    amount = amount * np.where(at_canary, 1.0 - of.drop, 1.0)
    expected = np.broadcast_to(baseline.expected(score if of.scored else None), amount.shape)
    first = dict.fromkeys(QUESTIONS, np.inf)
    sums = AmountSums() if of.waits else AmountSums(0.0, 0.0, 0.0, np.inf, np.inf)
    look = requests // LOOKS
    for start in range(0, requests, look):
        part = slice(start, start + look)
        answered = Answered(amount[part], at_canary[part], of.weight, expected[part])
        sums += amount_sums(answered, baseline, of.max_drop)
        for side, log_e in asymptotic_test(sums, ALPHA)._asdict().items():
            if log_e >= LINE:
                first[side] = min(first[side], start + look)
    return first


def _drawn(rng: np.random.Generator, requests: int, bring: float) -> tuple[Floats, Floats]:
    own = rng.standard_normal(requests)
    common = LOG_CORRELATION * own + np.sqrt(1.0 - LOG_CORRELATION**2) * rng.standard_normal(requests)
    amount = np.exp(SIGMA * own - SIGMA**2 / 2.0) * (rng.random(requests) < bring)
    return amount, np.exp(SIGMA * common - SIGMA**2 / 2.0)
