"""`python -m docs.gen.plots`: the figures of docs/how-decisions-are-made.md, by the code that decides.

Every e-value here is `control.judging.evidence`'s. Seeds are fixed; the SVG is the same wherever matplotlib is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from control.judging.evidence import Evidence, label_test, limit_test
from docs.gen.pages import DOCS

Floats = npt.NDArray[np.float64]

ALPHA = 0.01
LINE = float(np.log(1 / ALPHA))
"""Logarithm of the line of one guard; with m guards it is log(m) higher."""
WEIGHT = 0.1
STABLE_FAILS = 0.005
MAX_RATIO = 1.5
MIN_AGREEMENT = 0.95
REQUESTS = 20_000
RUNS = 200
SEED = 7
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "understudy",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_GOOD, _BAD, _LINE = "#1b7f4d", "#c2410c", "#555555"


def error_paths(canary_fails: float, runs: int, requests: int = REQUESTS, seed: int = SEED) -> Evidence:
    """E-values of `errors: {maxRatio: 1.5}` after each request of a rollout at a weight of 10%.

    Args:
        canary_fails: share of the canary's requests that fail; stable's is `STABLE_FAILS`.
        runs: rollouts.
        requests: of both arms, in each.
        seed: of the random numbers.

    Returns:
        Logarithms of shape (runs, requests).
    """
    random = np.random.default_rng(seed)
    at_canary = random.random((runs, requests)) < WEIGHT
    failed = random.random((runs, requests)) < np.where(at_canary, canary_fails, STABLE_FAILS)
    canary = np.cumsum(at_canary & failed, axis=1, dtype=np.float64)
    stable = np.cumsum(~at_canary & failed, axis=1, dtype=np.float64)
    return label_test(np.array([WEIGHT]), canary[..., np.newaxis], stable[..., np.newaxis], MAX_RATIO)


def agreement_paths(agrees: float, runs: int, comparisons: int, seed: int = SEED) -> Evidence:
    """E-values of `agreement: {min: 95%}` after each comparison; shape (runs, comparisons)."""
    random = np.random.default_rng(seed)
    differing = np.cumsum(random.random((runs, comparisons)) > agrees, axis=1, dtype=np.float64)
    return limit_test(differing, np.arange(1, comparisons + 1), 1 - MIN_AGREEMENT)


def crossing(log_e: Floats, line: float = LINE) -> Floats:
    """How many observations until each run first reaches the line; infinity where it does not."""
    reached = log_e >= line
    return np.where(reached.any(axis=-1), reached.argmax(axis=-1) + 1.0, np.inf)


def quantile(values: Floats, q: float) -> float:
    """The q-quantile, where infinity is the greatest value."""
    return float(np.sort(values)[min(int(q * len(values)), len(values) - 1)])


def _draw_paths(axes: Any, evidence: Floats, colour: str, title: str) -> None:
    at = np.unique(np.linspace(0, evidence.shape[-1] - 1, 250, dtype=int))
    for path in evidence:
        axes.plot(at + 1, path[at] / np.log(10), color=colour, linewidth=0.7, alpha=0.7)
    axes.axhline(LINE / np.log(10), color=_LINE, linestyle="--", linewidth=0.8)
    axes.annotate("1/alpha", (0, LINE / np.log(10)), (3, 3), textcoords="offset points", color=_LINE)
    axes.set_ylim(-4, 6)
    axes.set_title(title, fontsize=9)
    axes.set_yticks([-4, -2, 0, 2, 4, 6], [f"$10^{{{power}}}$" for power in (-4, -2, 0, 2, 4, 6)])


def paths_figure(plt: Any) -> Any:
    """E-value paths of harm and of no harm, of good and of bad canaries."""
    figure, grid = plt.subplots(2, 2, figsize=(7.2, 4.6), sharey=True, layout="constrained")
    good, bad = error_paths(STABLE_FAILS, 20, 20_000), error_paths(0.02, 20, 20_000)
    _draw_paths(grid[0, 0], good.harm, _GOOD, "errors, as good as stable: e-value of harm")
    _draw_paths(grid[0, 1], bad.harm, _BAD, "errors, four times stable's: e-value of harm")
    fine, poor = agreement_paths(0.98, 20, 1500), agreement_paths(0.90, 20, 1500)
    _draw_paths(grid[1, 0], fine.safe, _GOOD, "98% agreement, 95% asked: e-value of no worse")
    _draw_paths(grid[1, 1], poor.harm, _BAD, "90% agreement, 95% asked: e-value of harm")
    for axes in grid[0]:
        axes.set_xlabel("requests (10% to the canary)")
    for axes in grid[1]:
        axes.set_xlabel("comparisons")
    return figure


def delay_figure(plt: Any) -> Any:
    """How long it takes against how bad it is: the median and the 95% of runs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
    ratios = np.array([4.0, 5, 7, 10, 20, 50])
    found = [crossing(error_paths(STABLE_FAILS * ratio, RUNS).harm) for ratio in ratios]
    _draw_delay(left, ratios, [times * WEIGHT for times in found], _BAD)
    left.set(xscale="log", xlabel="the canary's error rate, times stable's 0.5%", ylabel="canary requests")
    left.minorticks_off()
    left.set_xticks([4, 7, 10, 20, 50], ["4", "7", "10", "20", "50"])
    left.set_yticks([10, 100, 1000], ["10", "100", "1000"])
    left.set_title("errors: {maxRatio: 1.5}, until taken off", fontsize=9)
    rates = np.array([0.5, 0.7, 0.8, 0.85, 0.88, 0.9, 0.92])
    slow = [crossing(agreement_paths(rate, RUNS, 6000).harm) for rate in rates]
    _draw_delay(right, rates * 100, slow, _BAD, "harmful")
    better = np.array([0.97, 0.975, 0.98, 0.985, 0.99, 0.995, 1.0])
    proven = [crossing(agreement_paths(rate, RUNS, 6000).safe) for rate in better]
    _draw_delay(right, better * 100, proven, _GOOD, "proven")
    right.axvline(MIN_AGREEMENT * 100, color=_LINE, linestyle="--", linewidth=0.8)
    right.set(xlabel="agreement, %", ylabel="comparisons")
    right.set_title("agreement: {min: 95%}, until a verdict", fontsize=9)
    right.legend(frameon=False, loc="upper left")
    return figure


def _draw_delay(axes: Any, at: Floats, times: Sequence[Floats], colour: str, label: str = "median") -> None:
    for q, style in ((0.5, "-"), (0.95, ":")):
        shown = [quantile(each, q) for each in times]
        name = label if q == 0.5 else None
        axes.plot(at, shown, color=colour, linestyle=style, marker=".", label=name)
    axes.set_yscale("log")


def main() -> None:
    """Write the figures."""
    import matplotlib as mpl  # noqa: PLC0415  (of the extra `bench`, not needed to make the pages)

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  (after the choice of what draws)

    for name, figure in (("evidence-paths", paths_figure), ("evidence-delay", delay_figure)):
        with mpl.rc_context(_STYLE):
            figure(plt).savefig(DOCS / "images" / f"{name}.svg", metadata={"Date": None})
        print(f"docs/images/{name}.svg: written")


if __name__ == "__main__":
    main()
