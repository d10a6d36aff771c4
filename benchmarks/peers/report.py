"""The raw figures and the page of benchmarks.peers."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers import catalogue
from benchmarks.peers import ours as own
from benchmarks.peers.environments import pinned
from benchmarks.peers.load import Closed
from benchmarks.peers.measure import MANY, RATES, USERS, Row
from benchmarks.tools.bench import LOAD_CORE, SERVER_CORE, machine

GOALS = {"triton": 2.4, "mosec": 5.0, "mlserver": 10.0}
"""By environment: how many times its requests/s at c=32 ours should reach."""

OURS = (own.OURS.name, own.LAST.name)
"""Two rows of the same server; ratios are to their mean."""


PREFACE = """\
Written by `make bench PARTS=peers`, with the raw figures in [peers.json](peers.json). Every server runs the
same ONNX model (iris: 4 floats in, label and 3 probabilities out) in onnxruntime with one thread, and is
asked one row a request: Open Inference Protocol JSON where it speaks that, else its own with the same four
numbers. Before and after the load it had to answer the held-out rows, 16 at once, as onnxruntime does. CPU is
user and system time of all the server's processes; ours with supervisor, control and sandboxes."""

HEAD = (
    "| server | c=1 requests/s | p50 | p99 | CPU a request | c=32 requests/s | p50 | p99 | CPU a request "
    "| errors | c=1 ours/it | c=32 ours/it | c=32 CPU it/ours |"
)


def facts(seconds: float) -> dict[str, str]:
    """What every table must name, as it is before the run."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{machine()}; load average before: {os.getloadavg()[0]:.1f}",
        "pinning": f"server and all its processes on core {SERVER_CORE}, load generators on core {LOAD_CORE}",
        "load": f"wrk 1 thread, keep-alive, {seconds:g} s a measurement; perf_analyzer of tritonclient"
        f" {pinned('client', 'tritonclient')}; Locust {version('locust')}",
    }


def write(folder: Path, rows: Sequence[Row], told: Mapping[str, str]) -> None:
    """peers.json and peers.md into a folder."""
    raw = {**told, "servers": {row.peer.name: _raw(row) for row in rows}}
    (folder / "peers.json").write_text(json.dumps(raw, indent=1) + "\n")
    (folder / "peers.md").write_text(page(rows, told))


def _raw(row: Row) -> dict[str, Any]:
    return {
        "title": row.peer.title,
        "version": catalogue.version(row.peer),
        "configuration": row.peer.configuration,
        "failure": row.failure,
        "start_seconds": round(row.start_seconds, 2),
        "closed_loop": {f"c={connections}": asdict(run) for connections, run in row.closed.items()},
        "open_loop": {
            str(rate): run if isinstance(run, str) else asdict(run) for rate, run in row.open.items()
        },
        "locust": row.users if isinstance(row.users, str) else asdict(row.users),
    }


def page(rows: Sequence[Row], told: Mapping[str, str]) -> str:
    """The page, as Markdown."""
    lines = [
        "# Other servers, the same work",
        "",
        *PREFACE.splitlines(),
        "",
        *(f"- {name}: {text}" for name, text in told.items()),
        "",
        "## Closed loop (wrk)",
        "",
        *_closed(rows),
        "",
        *_drift(rows),
        "",
        "## Goals",
        "",
        *_goals(rows),
        "",
        "## Open loop (perf_analyzer, Poisson arrivals, JSON)",
        "",
        *_open(rows),
        "",
        "## What users see (Locust)",
        "",
        *_users(rows),
        "",
        "## Configurations",
        "",
        "| server | configuration | start to first answer |",
        "|---|---|---|",
        *(f"| {_name(row)} | {row.peer.configuration} | {_start(row)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _name(row: Row) -> str:
    told = catalogue.version(row.peer)
    return f"{row.peer.title} ({told})" if told else row.peer.title


def _cell(text: str) -> str:
    """A message from elsewhere, on one line of a table."""
    return " ".join(text.split()).replace("|", "/")[:200]


def _start(row: Row) -> str:
    return f"{row.start_seconds:.1f} s" if row.start_seconds else "-"


def ours(rows: Sequence[Row], connections: int, figure: Callable[[Closed], float]) -> float | None:
    """The mean of a figure over our first and last row; None where one of them failed."""
    found = [row for row in rows if row.peer.name in OURS]
    if not found or any(row.failure for row in found):
        return None
    return sum(figure(row.closed[connections]) for row in found) / len(found)


def ratio(one: float | None, other: float | None) -> str:
    """`one` by `other` as `2.4x`; a dash where there is none."""
    return f"{one / other:.2f}x" if one is not None and other else "-"


def duration(microseconds: float) -> str:
    """In us, ms or s, with three digits."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} us"


def _closed(rows: Sequence[Row]) -> list[str]:
    lines = [
        "ours/it: our requests/s by the server's. CPU it/ours: its CPU time a request by ours.",
        "",
        HEAD,
        "|---" * 13 + "|",
    ]
    rate, cpu = (lambda run: run.requests_per_second), (lambda run: run.cpu_us)
    for row in rows:
        if row.failure:
            lines.append(f"| {_name(row)} | no figures: {_cell(row.failure)} |" + " |" * 11)
            continue
        one, many = row.closed[1], row.closed.get(MANY)
        lines.append(
            f"| {_name(row)} | {_run(one)} | {_run(many)} "
            f"| {one.errors + (many.errors if many else 0)} "
            f"| {ratio(ours(rows, 1, rate), one.requests_per_second)} "
            f"| {ratio(ours(rows, MANY, rate), many.requests_per_second if many else None)} "
            f"| {ratio(many.cpu_us if many else None, ours(rows, MANY, cpu))} |"
        )
    return lines


def _run(run: Closed | None) -> str:
    if run is None:
        return "- | - | - | -"
    return (
        f"{run.requests_per_second:,.0f} | {duration(run.p50_us)} | {duration(run.p99_us)} "
        f"| {duration(run.cpu_us)}"
    )


def _drift(rows: Sequence[Row]) -> list[str]:
    mine = [row for row in rows if row.peer.name in OURS and not row.failure]
    if len(mine) < len(OURS):
        return ["Ours has no first and last figures, so there are no ratios."]
    first, last = (row.closed[MANY].requests_per_second for row in mine)
    drift = abs(last - first) / first
    told = (
        f"Ours came first and last, {first:,.0f} and {last:,.0f} requests/s at c=32: a drift of {drift:.0%}."
    )
    return [told, "Ratios are to the mean of both."]


def _goals(rows: Sequence[Row]) -> list[str]:
    """Each goal against the peer's fastest configuration."""
    lines = ["| requests/s at c=32 against | goal | stable | canary at 10% | met |", "|---|---|---|---|---|"]
    mean = ours(rows, MANY, lambda run: run.requests_per_second)
    canary = next((row for row in rows if row.peer is own.CANARY and not row.failure), None)
    for pins, goal in GOALS.items():
        rivals = [row for row in rows if row.peer.pins == pins and not row.failure]
        if not rivals:
            continue
        best = max(rivals, key=lambda row: row.closed[MANY].requests_per_second)
        theirs = best.closed[MANY].requests_per_second
        also = ratio(canary.closed[MANY].requests_per_second if canary else None, theirs)
        met = "-" if mean is None else "yes" if mean / theirs >= goal else "no"
        lines.append(f"| {_name(best)} | {goal:g}x | {ratio(mean, theirs)} | {also} | {met} |")
    return lines


def _open(rows: Sequence[Row]) -> list[str]:
    lines = [
        "Delayed: what the generator, on its one core, sent later than it should have. Where that is much,",
        "or fewer were answered than asked, generator or server was at its limit, and latency says little.",
        "",
        "| server | asked | answered | delayed | p50 | p99 |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for rate in RATES:
            run = row.open.get(rate)
            if isinstance(run, str):
                lines.append(f"| {_name(row)} | {rate:,} | {_cell(run)} | | | |")
            elif run is not None:
                answered = f"{run.answered_per_second:,.0f}"
                cells = [answered, f"{run.delayed:.0%}", duration(run.p50_us), duration(run.p99_us)]
                lines.append(f"| {_name(row)} | {rate:,} | {' | '.join(cells)} |")
    return lines


def _users(rows: Sequence[Row]) -> list[str]:
    lines = [
        f"{USERS} users, each about 10 held-out rows a second. Locust's own work is part of what it reports.",
        "",
        "| server | requests/s | p50 | p99 | failed | accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if isinstance(row.users, str):
            lines += [f"| {_name(row)} | {_cell(row.users)} | | | | |"] if row.users else []
        else:
            lines.append(
                f"| {_name(row)} | {row.users.requests_per_second:,.0f} | {duration(row.users.p50_us)} "
                f"| {duration(row.users.p99_us)} | {row.users.failed} | {row.users.accuracy:.1%} |"
            )
    return lines
