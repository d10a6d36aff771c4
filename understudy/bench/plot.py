"""The figures as a picture (PNG); needs the extra `bench`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.errors import InvalidInput
from understudy.bench.steps import Objective, Step, Window


def need_matplotlib() -> Any:
    """The library's pyplot.

    Raises:
        InvalidInput: it is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise InvalidInput("--plot needs matplotlib: pip install 'understudy[bench]'") from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def plot_ramp(path: Path, title: str, steps: Sequence[Step], knee: Step | None, objective: Objective) -> None:
    """Latency and CPU against the rate, with the objective and the knee."""
    pyplot = need_matplotlib()
    ordered = sorted(steps, key=lambda step: step.offered)
    rates = [step.offered for step in ordered]
    figure, (latency, usage) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 7), layout="constrained")
    for percent in (50, 95, 99):
        values = [step.seen.percentile(percent) * 1e3 for step in ordered]
        latency.plot(rates, values, marker="o", markersize=3, label=f"p{percent}")
    latency.axhline(objective.p95_seconds * 1e3, color="grey", linestyle="--", label="objective (p95)")
    latency.set(yscale="log", xscale="log", ylabel="latency, ms", title=title)
    usage.plot(rates, [step.achieved for step in ordered], marker="o", markersize=3, label="good answers/s")
    usage.set(xlabel="offered, requests/s", ylabel="good answers/s", yscale="log")
    known = [step for step in ordered if step.usage is not None]
    if known:
        cores = usage.twinx()
        points = [step.usage.cpu for step in known if step.usage is not None]
        cores.plot([step.offered for step in known], points, color="tab:red", label="CPU, cores")
        cores.set(ylabel="CPU of the server, cores", ylim=(0, None))
    for axis in (latency, usage):
        if knee is not None:
            axis.axvline(knee.offered, color="tab:green", label=f"knee {knee.achieved:,.0f}/s")
        axis.legend(loc="upper left")
        axis.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def plot_windows(path: Path, title: str, windows: Sequence[Window]) -> None:
    """Latency and answers second by second."""
    pyplot = need_matplotlib()
    figure, (latency, rate) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 6), layout="constrained")
    seconds = range(len(windows))
    for percent in (50, 95, 99):
        values = [window.percentile(percent) * 1e3 for window in windows]
        latency.plot(seconds, values, label=f"p{percent}")
    latency.set(yscale="log", ylabel="latency, ms", title=title)
    good = [(window.requests - window.errors) / max(window.seconds, 1e-9) for window in windows]
    rate.plot(seconds, good, label="good answers/s")
    rate.plot(seconds, [window.errors / max(window.seconds, 1e-9) for window in windows], label="errors/s")
    rate.set(xlabel="seconds", ylim=(0, None))
    for axis in (latency, rate):
        axis.legend()
        axis.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
