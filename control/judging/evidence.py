"""E-processes: how strongly counts speak for harm, and for being no worse.

Law: under its null hypothesis an e-value's expectation is at most 1 at every stopping time, so the chance
that it ever reaches 1/alpha is at most alpha (Ville's inequality), however often one looks. All e-values
here are natural logarithms. Every function is a pure function of counts, vectorised with numpy's rules.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.ArrayLike

GRID = np.array([1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0])
"""Alternatives of the label test, as multiples of the tolerated ratio; its inverse for the other side."""

PRIOR_STRENGTH = 100.0
"""Pseudo-counts of the sample ratio test's prior: deviations of about a tenth are what it is quickest at."""

BETS = (0.98, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015)
"""Shares of its stake that each bet of the span test puts on the next span."""

_A = _B = 0.5  # Jeffreys' prior, the mixing distribution of the limit test
_TINY = 1e-200  # below this an incomplete beta function is taken from its continued fraction, in logarithms


class Evidence(NamedTuple):
    """Logarithms of two e-values, of the shape of the counts.

    Args:
        harm: against "the tolerance is kept"; large when the canary is worse than tolerated.
        safe: against "the tolerance is exceeded"; large when the canary is no worse than tolerated.
    """

    harm: Floats
    safe: Floats

    def either(self, other: "Evidence") -> "Evidence":
        """For "at least one of two tolerances is kept".

        Harm is against both, so the least e-value; that either is kept is shown by the mean, an e-value
        whatever their dependence.
        """
        return Evidence(np.minimum(self.harm, other.harm), np.logaddexp(self.safe, other.safe) + np.log(0.5))


def label_test(weight: Counts, canary: Counts, stable: Counts, ratio: float, grid: Floats = GRID) -> Evidence:
    """Given that an event happened, was it at the canary more often than the weight explains?

    Per event, with L = 1 at the canary and theta(r) = w r / (w r + 1 - w), the likelihood ratio of theta(rho)
    against theta(ratio); over the events of all stages the product; over rho = ratio x `grid` the mean.
    `safe` is the same over ratio / `grid`. With g = rho / ratio a stage contributes
    `c log g - (c + s) log(1 + w ratio (g - 1) / (1 + w (ratio - 1)))`.

    Null of `harm`: at each request the canary's chance of an event is at most `ratio` times stable's.
    Null of `safe`: it is at least that. Chances may change from request to request in any way.
    Assumes: each request's target was drawn with probability w, independently of the request; outcomes
    are counted in order of arrival. A stage with weight 0 or 1 made no draw and contributes nothing.

    Source: Grunwald, de Heide, Koolen, Safe testing (2024); Turner, Ly, Grunwald, Two-sample tests that are
    safe under optional stopping (2021); the conditioning on labels as in Lindon and Malek (NeurIPS 2022).

    Args:
        weight: w, a fraction; shape (..., stages).
        canary: events at the canary per stage; shape (..., stages). Need not be whole.
        stable: events at stable per stage; shape (..., stages).
        ratio: the tolerated ratio of event rates, above 0.
        grid: the alternatives, multiples of `ratio` above 1.

    Returns:
        Log e-values of shape (...); 0 (no evidence) without events.
    """
    return Evidence(
        bets_test(label_ratios(weight, canary, stable, ratio, grid)),
        bets_test(label_ratios(weight, canary, stable, ratio, 1.0 / grid)),
    )


def label_ratios(
    weight: Counts, canary: Counts, stable: Counts, ratio: float | Floats, grid: Floats = GRID
) -> Floats:
    """The log likelihood ratios whose mean `label_test` is, by alternative; shape (`grid`, ...).

    The ratio may be an array, of a shape that fits those of the counts.
    """
    w, at_canary, at_stable = np.broadcast_arrays(*(np.asarray(x, float) for x in (weight, canary, stable)))
    drawn = (w > 0.0) & (w < 1.0)
    at_canary = np.where(drawn, at_canary, 0.0)
    total = np.where(drawn, at_canary + at_stable, 0.0)
    return np.array(
        [
            (at_canary * np.log(g) - total * np.log1p(w * ratio * (g - 1.0) / (1.0 + w * (ratio - 1.0)))).sum(
                axis=-1
            )
            for g in grid
        ]
    )


def limit_test(events: Counts, trials: Counts, limit: Counts) -> Evidence:
    """Is the rate of events in one stream above or below an absolute limit?

    With S events in n trials, a = b = 1/2 and tau the limit, the Beta(a, b) mixture truncated to p > tau:
    `B(a+S, b+n-S) (1 - I_tau(a+S, b+n-S)) / (B(a, b) (1 - I_tau(a, b)) tau^S (1-tau)^(n-S))`; `safe` is
    truncated to p < tau, with I in place of 1 - I (I: regularised incomplete beta, B: beta function).

    Null of `harm`: given the past, each trial's chance of an event is at most `limit`.
    Null of `safe`: it is at least that.

    Source: Robbins' method of mixtures, as in Howard, Ramdas, McAuliffe, Sekhon, Time-uniform, nonparametric,
    nonasymptotic confidence sequences (2021), proposition 7 (one-sided beta-binomial).

    Args:
        events: S, any shape. Need not be whole.
        trials: n, at least S; same shape.
        limit: tau, strictly between 0 and 1; one number, or of a shape that fits.

    Returns:
        Log e-values of that shape; 0 without trials.
    """
    s, n, tau = np.broadcast_arrays(*(np.asarray(x, float) for x in (events, trials, limit)))
    likelihood = s * np.log(tau) + (n - s) * np.log1p(-tau)
    low = _log_lower_beta(_A + s, _B + n - s, tau) - likelihood
    high = _log_lower_beta(_B + n - s, _A + s, 1.0 - tau) - likelihood
    return Evidence(
        high - _log_lower_beta(_B, _A, 1.0 - tau),
        low - _log_lower_beta(_A, _B, tau),
    )


def span_bets(canary: Counts, events: Counts, stable: Counts, events_stable: Counts) -> Floats:
    """What each bet of `BETS` won in a span of time in which both roles were at work.

    With D the share of the canary's requests with an event less that of stable's (0 when one had no
    request), a bet f multiplies its stake by 1 + f D.

    Null: given the past, E[D] <= 0: a request of the span has the event no likelier at the canary. Within a
    span outcomes may depend on each other in any way, so a pause or a queue of a process, which the label
    test takes for many events, is one here; spans are to be longer than pauses. No weight is needed.

    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (2024).

    Args:
        canary: requests of the canary in the span, any shape.
        events: those with the event; same shape.
        stable: requests of stable; same shape.
        events_stable: those with the event; same shape.

    Returns:
        Log of the factor of each bet; shape (`BETS`, ...). Sums over spans go into `bets_test`.
    """
    n, k, m, j = (np.asarray(x, float) for x in (canary, events, stable, events_stable))
    both = (n > 0) & (m > 0)
    difference = np.where(both, k / np.maximum(n, 1.0) - j / np.maximum(m, 1.0), 0.0)
    found: Floats = np.log1p(np.multiply.outer(np.array(BETS), difference))
    return found


def bets_test(sums: npt.ArrayLike) -> Floats:
    """The log e-value of bets of equal stakes: the mean over the first axis, of log e-values."""
    sums = np.asarray(sums, float)
    mean: Floats = np.logaddexp.reduce(sums, axis=0) - np.log(len(sums))
    return mean


def limit_ratios(events: Counts, trials: Counts, limit: float) -> Floats:
    """Likelihood ratios against "each trial's chance of an event is at most `limit`", by alternative.

    With p = `limit` x `GRID`, at most 0.99: `S log(p / tau) + (n - S) log((1 - p) / (1 - tau))`, whose
    expectation is at most 1 under the null of `limit_test`'s harm. A grid of nine where the Beta mixture has
    all rates, since a change that comes late needs a sum over events (`control.judging.restarts`).

    Args:
        events: S, any shape.
        trials: n, at least S; same shape.
        limit: tau, strictly between 0 and 1.

    Returns:
        Logarithms; shape (`GRID`, ...).
    """
    s, n = np.broadcast_arrays(np.asarray(events, float), np.asarray(trials, float))
    rates = np.maximum(np.minimum(limit * GRID, 0.99), limit)
    with_event, without = np.log(rates / limit), np.log1p(-rates) - np.log1p(-limit)
    found: Floats = np.multiply.outer(with_event, s) + np.multiply.outer(without, n - s)
    return found


def sample_ratio_test(weight: Counts, canary: Counts, stable: Counts) -> Floats:
    """Did the draws fall as the weight says?

    `B(prior + c) / (B(prior) prod theta_j^c_j)` with theta = (w, 1 - w) and prior 100 theta, per stage.

    Null: each request was assigned to the canary with probability w, independently.
    Source: Lindon and Malek, Anytime-valid inference for multinomial count data (NeurIPS 2022).

    Args:
        weight: w, a fraction; any shape.
        canary: requests assigned to the canary; same shape.
        stable: requests assigned to stable; same shape.

    Returns:
        Log e-value per element; 0 where the weight is 0 or 1.
    """
    from scipy import special  # noqa: PLC0415  (a tenth of control's start)

    w, c, s = np.broadcast_arrays(*(np.asarray(x, float) for x in (weight, canary, stable)))
    drawn = (w > 0.0) & (w < 1.0)
    theta = np.where(drawn, w, 0.5)
    a, b = PRIOR_STRENGTH * theta, PRIOR_STRENGTH * (1.0 - theta)
    log_e = special.betaln(a + c, b + s) - special.betaln(a, b) - c * np.log(theta) - s * np.log1p(-theta)
    return np.where(drawn, log_e, 0.0)


def mismatch(weight: Counts, canary: Counts, stable: Counts, alpha: float) -> tuple[int, float, float] | None:
    """Which of several stages' draws did not fall as its weight says.

    The j-th stage is held to `j (j + 1) / alpha`, so that however many there are, one is called by chance
    with a probability of at most alpha.

    Args:
        weight: w of each stage, in order; shape (stages,).
        canary: draws that fell on the canary, or any part of them that is chosen alike for both roles.
        stable: the same for stable.
        alpha: above 0 and below 1.

    Returns:
        The index of the worst, its log e-value and the line that it crossed; None when none did.
    """
    log_e = np.atleast_1d(sample_ratio_test(weight, canary, stable))
    number = np.arange(1.0, len(log_e) + 1.0)
    line = np.log(number * (number + 1.0) / alpha)
    worst = int(np.argmax(log_e - line))
    return (worst, float(log_e[worst]), float(line[worst])) if log_e[worst] >= line[worst] else None


def _log_lower_beta(a: npt.ArrayLike, b: npt.ArrayLike, x: npt.ArrayLike) -> Floats:
    """Logarithm of the integral of t^(a-1) (1-t)^(b-1) over 0 to x; exact where the integral underflows."""
    from scipy import special  # noqa: PLC0415  (as above)

    a, b, x = np.broadcast_arrays(*(np.asarray(each, float) for each in (a, b, x)))
    share = np.asarray(special.betainc(a, b, x))
    deep = np.asarray(share < _TINY)
    log_beta: Floats = np.asarray(special.betaln(a, b) + np.log(np.where(deep, 1.0, share)))
    if np.any(deep):
        tail_a, tail_b, upto = a[deep], b[deep], x[deep]
        log_beta[deep] = (
            tail_a * np.log(upto)
            + tail_b * np.log1p(-upto)
            - np.log(tail_a)
            + np.log(_continued_fraction(tail_a, tail_b, upto))
        )
    return log_beta


def _continued_fraction(a: Floats, b: Floats, x: Floats) -> Floats:
    """The continued fraction of I_x(a, b) (DLMF 8.17.22), by Steed's forward recurrence.

    Called far below the mean only, where all its convergents are positive and few are needed.
    """
    fraction, step, denominator = np.ones_like(a), np.ones_like(a), np.ones_like(a)
    for index in range(1, 20_000):
        m = index // 2
        if index % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1.0 / (1.0 + d * denominator)
        step = step * (denominator - 1.0)
        fraction = fraction + step
        if np.all(np.abs(step) <= 1e-15 * np.abs(fraction)):
            break
    return fraction
