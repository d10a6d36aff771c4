"""The cases of benchmarks.evidence.detection, and its page."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmarks.policies.words import Row, count, read, share, table

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks"
RAW = DOCS / "detection.json"


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of bad canary, and where its simulated figures stand.

    Attributes:
        errors: share of its requests that fail.
        slower: its compute times as a multiple of stable's.
        disagreement: share of its answers that are unlike stable's.
        mirror: percentage of stable's requests that it runs too.
        simulated: file of docs/benchmarks/policies.
        cell: what singles out a row there, apart from the policy.
        rivals: the policy's name there, for Understudy, Flagger and Argo Rollouts.
        patience: seconds until it counts as not taken off.
    """

    name: str
    errors: float = 0.005
    slower: float = 1.0
    disagreement: float = 0.0
    mirror: float = 0.0
    simulated: str = "power"
    cell: Mapping[str, str] = field(default_factory=dict)
    rivals: tuple[str, ...] = ("understudy", "flagger", "argo")
    patience: float = 180.0


def _power(rate: str) -> dict[str, str]:
    return {"rps": "100.0", "weight": "0.1", "stable_errors": "0.005", "canary_errors": rate}


_SLOW = {"spread": "0.3", "weight": "0.1", "canary": "x1.50"}
CASES = (
    Case("dead", errors=1.0, cell=_power("1.0")),
    Case("20% errors", errors=0.2, cell=_power("0.2")),
    Case("5% errors", errors=0.05, cell=_power("0.05")),
    Case("+50% latency", slower=1.5, simulated="latency", cell=_SLOW,
         rivals=("understudy", "flagger p99", "argo p95"), patience=600.0),
    Case("95% agreement", disagreement=0.05, mirror=100.0, simulated="agreement",
         cell={"min": "0.98", "disagreement": "0.05"}, rivals=("alpha 1%, three guards",)),
)  # fmt: skip


def write(raw: bytes | None) -> None:
    """The page, from new raw figures (which are kept) or from those of last time."""
    if raw is not None:
        RAW.write_bytes(raw + b"\n")
    found = orjson.loads(RAW.read_bytes())
    (DOCS / "detection.md").write_text(_page(found), encoding="utf-8")


def _page(found: Mapping[str, Any]) -> str:
    by_case = {case.name: [run for run in found["runs"] if run["case"] == case.name] for case in CASES}
    answers = found["client_statuses"]
    failed = sum(number for status, number in answers.items() if status != "200")
    note = f" {found['note']}" if found["note"] else ""
    return (Path(__file__).parent / "detection_page.md").read_text(encoding="utf-8").format(
        runs=found["runs_each"], lanes=found["lanes"], minutes=f"{found['seconds'] / 60:.0f}", note=note,
        asked=table(
            ["canary", "taken off", "measured: requests", "seconds", "simulated", "Flagger", "Argo Rollouts"],
            [_asked(case, by_case[case.name]) for case in CASES if by_case[case.name]],
        ),
        bad=table(
            ["canary", "measured", "simulated", "Flagger", "Argo Rollouts"],
            [_bad(case, by_case[case.name]) for case in CASES if by_case[case.name]],
        ),
        answers=f"{sum(answers.values()):,}", failed=f"{failed:,}", stable=f"{found['stable_failures']:,}",
        reasons="\n".join(f"- {case.name}: {by_case[case.name][0]['reason']}" for case in CASES
                          if by_case[case.name]),
    )  # fmt: skip


def _asked(case: Case, runs: list[dict[str, Any]]) -> list[str]:
    off = sum(run["rolled_back"] for run in runs)
    measured = [_both([run[key] for run in runs], digits) for key, digits in (("asked", 0), ("seconds", 1))]
    prefix = "harmful" if case.simulated == "agreement" else "canary"
    return [case.name, f"{off} of {len(runs)}", *measured, *_simulated(case, prefix)]


def _bad(case: Case, runs: list[dict[str, Any]]) -> list[str]:
    if case.simulated == "latency":
        return [case.name, *["-"] * 4]
    figures = (
        _simulated(case, "failed")
        if case.simulated == "power"
        else ["-", "sees no answers", "sees no answers"]
    )
    return [case.name, _both([run["bad"] for run in runs], 0), *figures]


def _simulated(case: Case, prefix: str) -> list[str]:
    rows = read(DOCS / "policies" / f"{case.simulated}.csv")
    chosen = [_row(rows, case, policy) for policy in case.rivals]
    cells = [_cell(row, prefix) for row in chosen]
    return cells + ["sees no answers"] * (3 - len(cells))


def _row(rows: list[Row], case: Case, policy: str) -> Row:
    [row] = [row for row in rows if row["policy"] == policy and case.cell.items() <= row.items()]
    return row


def _cell(row: Row, prefix: str) -> str:
    off = float(row["rolled_back" if "rolled_back" in row else "harmful"])
    if not off:
        return "never"
    figures = f"{count(row[f'{prefix}_median'])} / {count(row[f'{prefix}_p95'])}"
    return figures if off >= 0.995 else f"{figures} ({share(off)})"


def _both(values: list[float], digits: int) -> str:
    ordered = sorted(values)
    high = ordered[min(round(0.95 * (len(ordered) - 1)), len(ordered) - 1)]
    return f"{statistics.median(ordered):,.{digits}f} / {high:,.{digits}f}"
