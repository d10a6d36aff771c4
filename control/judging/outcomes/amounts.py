"""Amounts without a bound (revenue): an asymptotic confidence sequence of the score's mean. Pure.

Law, asymptotic: the mean of psi is within `half` of its average at *all* looks at once with a chance that
tends to 1 - alpha as the first look is put off. It is **not** bounded by alpha at finite numbers of requests,
as everything else here is: amounts may have no bound, and then nothing exact is possible. So no verdict
before `LEAST_EVENTS` requests and `LEAST_NON_ZERO` amounts other than 0 at each role (where 5% of requests
bring something and without the latter, 13% of good canaries were called harmful at w = 10% and 40% at 1%;
`benchmarks.outcomes`), and amounts are cut at stable's p99.9, which the statement is then about.

Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, Time-uniform central limit theory and asymptotic
confidence sequences (2024), theorem 2.2, with rho tuned to a sample of `TUNED_FOR`; CUPED as in Deng, Xu,
Kohavi, Walker (2013), with a slope from before the canary.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from control.judging.evidence import Counts, Evidence, Floats
from control.judging.outcomes.scores import Answered, scores

LEAST_EVENTS = 500
LEAST_NON_ZERO = 50
TUNED_FOR = 5_000
CUT_QUANTILE = 0.999


@dataclass(frozen=True, slots=True)
class Baseline:
    """What stable's answers alone said, before the canary had any.

    Args:
        cut: amounts above count as this, stable's p99.9.
        mean: of amounts, once cut.
        slope: theta, what an amount goes up by with the champion's score for the request; 0 without scores.
        mean_score: of those scores.
    """

    cut: float
    mean: float
    slope: float = 0.0
    mean_score: float = 0.0

    @classmethod
    def of(cls, amounts: Counts, scored: Counts | None = None) -> "Baseline":
        """From stable's amounts, and the scores of their requests where there are any.

        Args:
            amounts: one or more; shape (requests,), zeros included. Where fewer than one in a thousand is
                above 0, the cut is 0 and there will be no verdict.
            scored: the champion's score of each request, known before its outcome; shape (requests,).
        """
        y = np.asarray(amounts, float)
        cut = float(np.quantile(y, CUT_QUANTILE))
        y = np.minimum(y, cut)
        if scored is None:
            return cls(cut, float(y.mean()))
        x = np.asarray(scored, float)
        spread = float(x.var())
        slope = float(np.mean((x - x.mean()) * (y - y.mean()))) / spread if spread > 0.0 else 0.0
        return cls(cut, float(y.mean()), slope, float(x.mean()))

    def expected(self, scored: Counts | None = None) -> Floats:
        """What is expected of requests with these scores (CUPED); the mean of all where there are none."""
        if scored is None:
            return np.asarray(self.mean)
        found: Floats = self.mean + self.slope * (np.asarray(scored, float) - self.mean_score)
        return found

    def to_json(self) -> dict[str, float]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Baseline":
        """What `to_json` made."""
        return cls(**{each.name: float(value[each.name]) for each in fields(cls)})


@dataclass(frozen=True, slots=True)
class AmountSums:
    """What is kept of scores; five numbers, which do not depend on the order of events.

    Args:
        events: requests.
        total: the sum of psi.
        squares: the sum of its square.
        non_zero_canary: amounts other than 0 at the canary.
        non_zero_stable: the same at stable.
    """

    events: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    non_zero_canary: float = 0.0
    non_zero_stable: float = 0.0

    def __add__(self, other: "AmountSums") -> "AmountSums":
        return AmountSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def enough(self) -> bool:
        """Whether the approximation may be relied on: enough of both roles, and not all alike.

        A canary that brings nothing never is enough. That is a conversion that stopped, which
        `control.judging.outcomes.conversions` sees: at w = 10% within 72 of stable's, where 5% are tolerated.
        """
        least = min(self.non_zero_canary, self.non_zero_stable)
        return self.events >= LEAST_EVENTS and least >= LEAST_NON_ZERO and self.variance > 0.0

    @property
    def mean(self) -> float:
        """Of psi; events must be above 0."""
        return self.total / self.events

    @property
    def variance(self) -> float:
        """Of psi; events must be above 0."""
        return max(self.squares / self.events - self.mean**2, 0.0)

    def to_json(self) -> dict[str, float]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "AmountSums":
        """What `to_json` made."""
        return cls(**{each.name: float(value[each.name]) for each in fields(cls)})


def amount_sums(answered: Answered, baseline: Baseline, max_drop: float = 0.0) -> AmountSums:
    """The sums of so many more events.

    Args:
        answered: the events, expectations from `Baseline.expected`.
        baseline: of which the cut is taken.
        max_drop: d, a share of stable's mean, at least 0 and below 1.
    """
    cut = answered._replace(value=np.minimum(np.asarray(answered.value, float), baseline.cut))
    psi, at_canary, units, value = np.broadcast_arrays(
        scores(cut, max_drop), np.asarray(cut.at_canary, bool), np.asarray(cut.units, float), cut.value
    )
    some = units * (value != 0.0)
    return AmountSums(
        float(units.sum()),
        float((units * psi).sum()),
        float((units * psi**2).sum()),
        float(some[at_canary].sum()),
        float(some[~at_canary].sum()),
    )


def asymptotic_test(sums: AmountSums, alpha: float, margin: float = 0.0, times: Counts = 1.0) -> Evidence:
    """Does the canary earn less than is tolerated? Asymptotic: its error tends to alpha, and may exceed it.

    The logarithm reaches log(1 / alpha) when the confidence sequence leaves -margin behind it: harm below it,
    proof above it. With S the sum of psi + margin, v its variance and z^2 = S^2 rho^2 / (v (n rho^2 + 1)),
    that is z^2 / 2 - log(n rho^2 + 1) / 2, on the side that S is on.

    Args:
        sums: of psi.
        alpha: the risk for which rho is tuned; the line of this guard, m included.
        margin: a drop in units of the amounts that is tolerated (beside `max_drop` of the scores).
        times: so many times as many of just these events; any shape.

    Returns:
        Two logarithms, of the shape of `times`; both 0, no evidence, before `AmountSums.enough`.
    """
    n = sums.events * np.asarray(times, float)
    if not sums.enough:
        return Evidence(np.zeros_like(n), np.zeros_like(n))
    rho2, excess = rho_squared(alpha), sums.mean + margin
    at_zero = -0.5 * np.log1p(n * rho2)
    grown = 0.5 * (n * excess) ** 2 * rho2 / (sums.variance * (n * rho2 + 1.0))
    return Evidence(
        np.asarray(at_zero + grown * (excess < 0.0)), np.asarray(at_zero + grown * (excess > 0.0))
    )


def asymptotic_interval(sums: AmountSums, alpha: float) -> tuple[float, float]:
    """The confidence sequence of the mean of psi, now; everything before `AmountSums.enough`.

    Half of its width is `sqrt(2 v (n rho^2 + 1) / (n^2 rho^2) log(sqrt(n rho^2 + 1) / alpha))`.
    """
    if not sums.enough:
        return -np.inf, np.inf
    n, rho2 = sums.events, rho_squared(alpha)
    grown = n * rho2 + 1.0
    half = float(np.sqrt(2.0 * sums.variance * grown / (n**2 * rho2) * np.log(np.sqrt(grown) / alpha)))
    return sums.mean - half, sums.mean + half


def rho_squared(alpha: float) -> float:
    """What makes the interval narrowest at `TUNED_FOR` events, at this alpha."""
    depth = -2.0 * np.log(alpha)
    return float((depth + np.log1p(depth)) / TUNED_FOR)
