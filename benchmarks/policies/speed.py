"""Variants that pay and that do not: the guard on speed, looked at after each ten pairs, for five minutes.

Times are those of `benchmarks.policies.pairs`: what both runs of a request have in common, and noise of each.
At `min` itself both verdicts are false, so there it is attacked: with little noise and much, runs of which
some take five times as long, a unit's ten pairs that all fall alike, and noise that lasts from pair to pair.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from benchmarks.policies.pairs import COMMON, OWN, Canary, Floats, first_at, times
from control.judging.evidence import bets_test
from control.judging.guards.speed import log_bets
from control.judging.restarts import within_first_tick
from router.counting.pairs import UNIT_PAIRS

LEAST, PAIRS, ALPHA, CHUNK = 1.3, 3000, 0.01, 250
AT_LEAST = 10
"""So many times as many runs where both verdicts are false, which are rare there."""


class Case(NamedTuple):
    """How fast the canary's model is.

    Args:
        name: for people.
        speed: how many times as fast as stable's, in the median.
        least: `min` of the guard.
        own: noise of each run, sigma of the logarithm.
        slow: share of the canary's runs that take five times as long; the median stays.
        lasting: autocorrelation of the noise from pair to pair, which is assumed not to be.
        alike: the ten pairs of a unit all fall as its first does.
    """

    name: str
    speed: float
    least: float = LEAST
    own: float = OWN
    slow: float = 0.0
    lasting: float = 0.0
    alike: bool = False

    @property
    def null(self) -> bool:
        """Whether either verdict is false."""
        return self.speed == self.least


CASES = (
    Case("as asked", LEAST),
    Case("as asked, of 1.1", 1.1, least=1.1),
    Case("as asked, of 4", 4.0, least=4.0),
    Case("as asked, noise .01", LEAST, own=0.01),
    Case("as asked, noise .5", LEAST, own=0.5),
    Case("as asked, 10% of its runs take five times as long", LEAST, slow=0.1),
    Case("as asked, a unit's pairs all alike", LEAST, alike=True),
    Case("as asked, noise that lasts (.5; assumed not to)", LEAST, lasting=0.5),
    Case("as asked, noise that lasts (.9; assumed not to)", LEAST, lasting=0.9),
    Case("a copy of stable", 1.0),
    *(Case(f"{speed:g} times as fast", speed) for speed in (1.1, 1.2, 1.25, 1.35, 1.4, 1.6, 2.0)),
    Case("1.25 times, a unit's pairs all alike", 1.25, alike=True),
    Case("1.35 times, a unit's pairs all alike", 1.35, alike=True),
)


def rows(seed: int, runs: int) -> Iterator[dict[str, Any]]:
    """All cells."""
    line = float(np.log(1.0 / ALPHA))
    for index, case in enumerate(CASES):
        rng = np.random.default_rng([seed, 6, index])
        number = AT_LEAST * runs if case.null else runs
        ends = [_ends(rng, min(CHUNK, number - start), case, line) for start in range(0, number, CHUNK)]
        harm, proof = np.concatenate(ends, axis=1)
        yield {
            "case": case.name,
            "min": case.least,
            "speed": case.speed,
            "runs": number,
            "harm_crossed": float((harm > 0).mean()),
            "proof_crossed": float((proof > 0).mean()),
            "tolerated": ALPHA + 3.0 * (ALPHA * (1.0 - ALPHA) / number) ** 0.5 if case.null else None,
            "harm_median": _median(harm),
            "proof_median": _median(proof),
        }


def _ends(rng: np.random.Generator, runs: int, case: Case, line: float) -> Floats:
    """Pairs until harm and until proof, -1 where it never came; shape (2, runs)."""
    one_hot = np.eye(UNIT_PAIRS + 1)
    harm_of, safe_of = log_bets(one_hot)
    lags = _lags(rng, runs, case)
    harm = within_first_tick(bets_test(harm_of[:, lags].cumsum(axis=2)))
    return np.stack([first_at(log_e, line) for log_e in (harm, bets_test(safe_of[:, lags].cumsum(axis=2)))])


def _lags(rng: np.random.Generator, runs: int, case: Case) -> Any:
    """Pairs of each unit in which the canary's model was not as fast as asked; shape (runs, units)."""
    canary = Canary(_factor(case), case.slow, 5.0 * _factor(case), case.lasting)
    candidate, stable = times(rng, (runs, PAIRS), canary, COMMON, case.own)
    units = (case.least * candidate > stable).reshape(runs, -1, UNIT_PAIRS)
    return UNIT_PAIRS * units[:, :, 0] if case.alike else units.sum(axis=2)


def _factor(case: Case) -> float:
    """How many times as long as stable its other runs take, so that the median of the ratio is `speed`.

    At `speed` itself a run that takes five times as long lags for certain, so that of the others as many
    fewer than a half may.
    """
    lagging = (0.5 - case.slow) / (1.0 - case.slow)
    return float(np.exp(2.0**0.5 * case.own * special.ndtri(lagging)) / case.speed)


def _median(at: Floats) -> float | None:
    """Over those that got there, where at least half did."""
    reached = at[at > 0]
    return float(np.median(reached)) if 2 * len(reached) >= len(at) else None
