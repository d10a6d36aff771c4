"""docs/benchmarks/outcomes-live.md from its raw figures."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import orjson

from benchmarks.policies.words import table

RAW = Path(__file__).parents[2] / "docs" / "benchmarks" / "outcomes-live.json"

HEAD = ["candidate", "runs", "ended", "by", "labels told", "of pairs", "accuracy decided after", "seconds"]


def write(raw: bytes | None) -> None:
    """The page, from new raw figures (which are kept) or from those of last time."""
    if raw is not None:
        RAW.write_bytes(raw + b"\n")
    RAW.with_suffix(".md").write_text(page(orjson.loads(RAW.read_bytes())), encoding="utf-8")


def page(found: Mapping[str, Any]) -> str:
    """The page."""
    rows = [_row(case, [run for run in found["runs"] if run["case"] == case]) for case in found["cases"]]
    told = found["told"]
    left_out = sum(number for reason, number in told.items() if reason != "accepted")
    template = Template((Path(__file__).parent / "live_page.md").read_text(encoding="utf-8"))
    return template.substitute(
        table=table(HEAD, rows),
        accepted=f"{told.get('accepted', 0):,}",
        left_out=f"{left_out:,}",
        statuses=", ".join(f"{number:,} of {status}" for status, number in found["client_statuses"].items()),
        rate=f"{found['rate']:g}",
        lanes=found["lanes"],
        note=found["note"] or "a machine that other work shared",
    )


def _row(case: str, runs: Sequence[Mapping[str, Any]]) -> list[object]:
    ends = Counter(run["end"] for run in runs)
    guards = Counter(run["guard"] for run in runs if run["guard"])
    return [
        case,
        len(runs),
        ", ".join(f"{end} {number}" for end, number in ends.most_common()),
        ", ".join(f"{guard} {number}" for guard, number in guards.most_common()) or "-",
        *(_spread([run[what] for run in runs]) for what in ("told", "pairs")),
        _spread([run["decided"] for run in runs if run["decided"]]),
        _spread([run["seconds"] for run in runs]),
    ]


def _spread(values: Sequence[float]) -> str:
    """Median / greatest."""
    if not values:
        return "-"
    return f"{statistics.median(values):,.0f} / {max(values):,.0f}"
