"""Figures for a person, or as JSON for a program."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from understudy.bench.patterns import Drift, Spike
from understudy.bench.plot import plot_ramp, plot_windows
from understudy.bench.steps import Objective, Step, Window
from understudy.output import emit_json, table


@dataclass(frozen=True, slots=True)
class Show:
    """Where figures go.

    Args:
        title: what was loaded.
        picture: a PNG is written here; None for none.
        as_json: print JSON only.
    """

    title: str
    picture: Path | None
    as_json: bool

    def ramp(
        self, steps: Sequence[Step], knee: Step | None, objective: Objective, advice: Sequence[str]
    ) -> None:
        """The knee, the steps by rate, and what they suggest."""
        ordered = sorted(steps, key=lambda step: step.offered)
        if self.picture is not None:
            plot_ramp(self.picture, self.title, ordered, knee, objective)
        if self.as_json:
            rows = [_step_json(step, objective) for step in ordered]
            found = None if knee is None else _step_json(knee, objective)
            emit_json({"model": self.title, "knee": found, "steps": rows, "advice": list(advice)})
            return
        p99 = "" if objective.p99_seconds is None else f"p99 <= {objective.p99_seconds * 1e3:g} ms, "
        kept = f"p95 <= {objective.p95_seconds * 1e3:g} ms, {p99}errors <= {objective.errors:.2%}"
        columns = ["offered/s", "good/s", "p50 ms", "p95 ms", "p99 ms", "errors", "cores", "memory", ""]
        table(f"{self.title}: {kept}", columns, [_step_row(step, knee, objective) for step in ordered])
        for sentence in advice:
            typer.echo(f"- {sentence}")

    def manifests(self, text: str, file: Path | None) -> None:
        """YAML, to a file or printed."""
        if file is None:
            typer.echo(text, nl=False)
            return
        file.write_text(text, encoding="utf-8")
        typer.echo(f"{file}: written", err=self.as_json)

    def spike(self, found: Spike, windows: Sequence[Window]) -> None:
        """Before, during and after, and how long it took to recover."""
        stretches = {"before": found.before, "burst": found.during, "after": found.after}
        self._windows(stretches, windows, {"recovery_seconds": found.recovery_seconds})
        if not self.as_json:
            recovered = found.recovery_seconds
            typer.echo(
                "- did not recover" if recovered is None else f"- recovered within {recovered + 1:.0f} s"
            )

    def soak(self, found: Drift, windows: Sequence[Window]) -> None:
        """The first quarter against the last, and how memory grew."""
        growth = found.memory_bytes_an_hour
        self._windows(
            {"first quarter": found.first, "last quarter": found.last},
            windows,
            {"memory_bytes_an_hour": growth},
        )
        if not self.as_json and growth is not None:
            typer.echo(f"- memory of the server: {growth / 1e6:+.1f} MB an hour")

    def _windows(
        self, stretches: dict[str, Window], windows: Sequence[Window], further: dict[str, Any]
    ) -> None:
        if self.picture is not None:
            plot_windows(self.picture, self.title, windows)
        if self.as_json:
            shown = {name.replace(" ", "_"): _window_json(window) for name, window in stretches.items()}
            emit_json({"model": self.title, **shown, **further})
            return
        columns = ["", "good/s", "p50 ms", "p95 ms", "p99 ms", "errors", "statuses"]
        table(self.title, columns, [_window_row(name, window) for name, window in stretches.items()])


def _step_row(step: Step, knee: Step | None, objective: Objective) -> list[str]:
    usage = step.usage
    remark = "<- knee" if step is knee else step.shortfall(objective)
    if step.generator_limited:
        remark = "the generator was the limit"
    return [
        f"{step.offered:,.0f}",
        f"{step.achieved:,.0f}",
        *(f"{step.seen.percentile(percent) * 1e3:.3g}" for percent in (50, 95, 99)),
        f"{step.error_share:.2%}",
        "-" if usage is None else f"{usage.cpu:.2f}",
        "-" if usage is None else f"{usage.memory_bytes / 1e6:,.0f} MB",
        remark,
    ]


def _step_json(step: Step, objective: Objective) -> dict[str, Any]:
    usage = step.usage
    return {
        "offered": step.offered,
        **_window_json(step.seen),
        "cpu_cores": None if usage is None else usage.cpu,
        "memory_bytes": None if usage is None else usage.memory_bytes,
        "machine_busy": step.machine,
        "generator_limited": step.generator_limited,
        "shortfall": step.shortfall(objective),
    }


def _window_row(name: str, window: Window) -> list[str]:
    good = (window.requests - window.errors) / max(window.seconds, 1e-9)
    return [
        name,
        f"{good:,.0f}",
        *(f"{window.percentile(percent) * 1e3:.3g}" for percent in (50, 95, 99)),
        f"{window.errors / max(window.requests, 1):.2%}",
        ", ".join(f"{status or 'none'}: {count:,}" for status, count in sorted(window.statuses.items())),
    ]


def _window_json(window: Window) -> dict[str, Any]:
    return {
        "seconds": window.seconds,
        "answered_per_second": (window.requests - window.errors) / max(window.seconds, 1e-9),
        **{f"p{percent}_seconds": window.percentile(percent) for percent in (50, 95, 99)},
        "requests": window.requests,
        "errors": window.errors,
        "statuses": {str(status): count for status, count in sorted(window.statuses.items())},
    }
