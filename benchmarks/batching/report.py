"""The page of the benchmark of batching: medians over its rounds, and the ratios that the goals speak of."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from benchmarks.peers.load import Closed
from benchmarks.tools.bench import DOCS, machine


@dataclass(frozen=True, slots=True)
class Measured:
    """One round at one number of connections; `batch` is the mean of the batches that were run."""

    run: Closed
    batch: float


Loads = Mapping[int, Sequence[Measured]]
"""Rounds by the number of connections."""
Floors = Sequence[Mapping[int, float]]
"""For each round the seconds of a run of onnxruntime alone, by batch."""


def write(
    results: Mapping[str, Loads], floors: Mapping[str, Floors], notes: Sequence[str], how: Sequence[str]
) -> None:
    """Write docs/benchmarks/batching.md and the raw figures.

    Args:
        results: by server, the first being ours.
        floors: by server, taken while it idled.
        notes: what is to be said of each server.
        how: what was done.
    """
    raw = {
        title: {
            "alone": list(floors.get(title, ())),
            **{f"c={c}": [asdict(one) for one in rounds] for c, rounds in loads.items()},
        }
        for title, loads in results.items()
    }
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "batching.json").write_text(json.dumps(raw, indent=1) + "\n")
    lines = ["# Batching", "", *how, f"Taken on {datetime.now(UTC):%Y-%m-%d}. Machine: {machine()}.", ""]
    if floors:
        lines += [*_alone(median_floor([one for rounds in floors.values() for one in rounds])), ""]
        lines += [*_servers(results, floors), ""]
    lines += [*_goals(results, floors), "", "Configurations:", "", *(f"- {note}." for note in notes)]
    (DOCS / "batching.md").write_text("\n".join(lines) + "\n")


def median_floor(floors: Floors) -> dict[int, float]:
    """Batch by batch, over the rounds."""
    return {batch: statistics.median(one[batch] for one in floors) for batch in floors[0]}


def best_rate(floor: Mapping[int, float]) -> float:
    """Rows per second of the batch that gives the most."""
    return max(batch / seconds for batch, seconds in floor.items())


def rate(rounds: Sequence[Measured]) -> float:
    """Rows per second; a request has one."""
    return _median(rounds, lambda one: one.run.requests_per_second)


def _median(rounds: Sequence[Measured], figure: Callable[[Measured], float]) -> float:
    return statistics.median(map(figure, rounds))


def _alone(floor: Mapping[int, float]) -> list[str]:
    return [
        "## onnxruntime alone, one thread, in a loop",
        "",
        "| batch | a run | rows/s |",
        "|---|---|---|",
        *(f"| {batch} | {run * 1e3:.2f} ms | {batch / run:,.0f} |" for batch, run in floor.items()),
    ]


def _servers(results: Mapping[str, Loads], floors: Mapping[str, Floors]) -> list[str]:
    lines = [
        "## Servers",
        "",
        "Of alone: rows/s against onnxruntime alone at its best batch, measured in the same rounds.",
        "",
        "| server | connections | rows/s | of alone | p50 | p99 | CPU a row | mean batch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, loads in results.items():
        best = best_rate(median_floor(floors[title]))
        for connections, rounds in loads.items():
            p50 = _median(rounds, lambda one: one.run.p50_us) / 1e3
            p99 = _median(rounds, lambda one: one.run.p99_us) / 1e3
            cpu = _median(rounds, lambda one: one.run.cpu_us)
            batch = _median(rounds, lambda one: one.batch)
            lines.append(
                f"| {title} | {connections} | {rate(rounds):,.0f} | {rate(rounds) / best:.0%} "
                f"| {p50:.2f} ms | {p99:.2f} ms | {cpu:.0f} us | {batch:.1f} |"
            )
    return lines


def _goals(results: Mapping[str, Loads], floors: Mapping[str, Floors]) -> list[str]:
    ours, *others = results
    loads = results[ours]
    if 1 not in loads or 32 not in loads:
        return ["Goals: not measured."]
    floor = median_floor(floors[ours])
    share = rate(loads[32]) / best_rate(floor)
    p50 = _median(loads[1], lambda one: one.run.p50_us)
    limit = 1.1 * floor[1] * 1e6 + 120
    lines = [
        f"- Goal: at c=32 at least 85% of onnxruntime alone at its best batch; measured {share:.1%}.",
        f"- Goal: at c=1 a p50 of at most {limit:,.0f} us (1.1x of alone + 120 us); measured {p50:,.0f} us.",
    ]
    for title in others:
        if 32 in results[title]:
            ahead = rate(loads[32]) / rate(results[title][32])
            alike = share * best_rate(median_floor(floors[title])) / rate(results[title][32])
            lines.append(
                f"- Goal: at c=32 ahead of {title}; measured {ahead:.2f}x its rows/s ({alike:.2f}x when each"
                " is held against onnxruntime alone in its own rounds)."
            )
    return lines
