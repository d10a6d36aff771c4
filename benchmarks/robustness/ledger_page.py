"""docs/benchmarks/ledger.md from the figures of `python -m benchmarks.robustness.ledger`. Pure."""

from collections.abc import Mapping
from statistics import median
from typing import Any

Figures = Mapping[str, Any]

HEAD = """# The ledger of the prediction log

`python -m benchmarks.robustness.ledger` wrote this page and `ledger.json`; `--part` takes one part anew.
"""
REASONS = ("full", "too_large", "store_away", "writer_gone", "worker_gone")


def page(found: Mapping[str, Figures]) -> str:
    """The whole page.

    Args:
        found: by part, its `figures`, the `date` and the `machine` of them.
    """
    parts = (("kills", kills), ("s3", store_away), ("latency", latencies))
    return "\n".join([HEAD, *(_part(found[name], written) for name, written in parts if name in found)])


def _part(found: Figures, written: Any) -> str:
    load = f"; load of the machine when it began: {found['load']:.1f}" if "load" in found else ""
    return f"{written(found['figures'])}\n{found['date']}, {found['machine']}{load}.\n"


def kills(ledger: Figures) -> str:
    """Under kills and on a full disk."""
    rows = [f"| {name.replace('_', ' ')} | {count:,} |" for name, count in ledger["outcomes"].items()]
    killed = ", ".join(f"{kind.rpartition('.')[2]} {count} times" for kind, count in ledger["killed"].items())
    disk = f"; its disk was full for {ledger['full_seconds']:.0f} s" if ledger["full_seconds"] else ""
    lines = [
        "## Every answer is accounted for",
        f"Two workers and wrk on two cores for {ledger['seconds']:.0f} s. Killed without a warning:",
        f"{killed}{disk}.",
        f"`understudy records check` {_verdict(ledger)}.",
        "",
        "| accounts | answers |",
        "|---|---|",
        *rows,
        "",
        f"Clients saw {ledger['clients']:,} good answers; `understudy_requests_total`: {ledger['metric']:,};",
        "what is under way in a worker that is killed may be counted and never arrive.",
        *[f"- {difference}" for difference in ledger["differences"]],
        "",
    ]
    return "\n".join(lines)


def store_away(runs: list[Figures]) -> str:
    """An object store that is away."""
    away = runs[0]["plan"]["away_seconds"]
    titles = [f"{each['plan']['rate']:g} requests/s, tensors of {_row_bytes(each):,} bytes" for each in runs]
    counts = {
        "good answers that clients saw": [each["clients"] for each in runs],
        "failed": [each["failed"] for each in runs],
        "`requests` of the accounts": [each["outcomes"]["requests"] for each in runs],
        "rows that waited when the store was started again": [each["waiting"] for each in runs],
        "written": [each["outcomes"]["written"] for each in runs],
        "rows in the bucket": [each["outcomes"]["rows"] for each in runs],
        **{f"dropped: `{reason}`": [each["outcomes"][reason] for each in runs] for reason in REASONS},
    }
    rows = [_line(name, [f"{count:,}" for count in each]) for name, each in counts.items()]
    for phase in ("before", "away", "after"):
        told = [f"{each['p50_us'][phase]:,.0f} / {each['p99_us'][phase]:,.0f} us" for each in runs]
        rows.append(_line(f"p50 / p99, {WHEN[phase]}", told))
    for phase in ("before", "away", "after") if "worker_us" in runs[0] else ():
        told = [f"{each['worker_us'][phase]:,.0f} us" for each in runs]
        rows.append(_line(f"CPU of the worker a request, {WHEN[phase]}", told))
    return "\n".join(
        [
            f"## An object store that is away for {away:.0f} s",
            "SeaweedFS by its S3 door, killed and started again on its data, while requests come at a steady",
            "rate, whatever the answers do. The node, its log writer with it, on core 0; the sender and the",
            "store on core 1. 256 MiB of rows may wait.",
            "",
            _line("", titles),
            _line("---", ["---"] * len(runs)),
            *rows,
            _line("`understudy records check`", [_verdict(each) for each in runs]),
            *[f"- {difference}" for each in runs for difference in each["differences"]],
            "",
        ]
    )


WHEN = {"before": "store there", "away": "store away", "after": "store coming back, and rows written"}


def _row_bytes(run: Figures) -> int:
    """Of inputs and outputs: four floats, an integer of 64 bits and three floats each."""
    return int(run["plan"]["flowers"]) * (16 + 8 + 12)


def latencies(found: Figures) -> str:
    """With the log and without."""
    rounds = {name: ", ".join(f"{p99:,.0f}" for p99 in each) for name, each in found["p99_us"].items()}
    return "\n".join(
        [
            "## Latency at 2,000 requests/s",
            f"32 connections that think for 10 to 20 ms, {found['rounds']} rounds of {found['seconds']:g} s",
            "in turns; the node, its log writer with it, on core 0, wrk on core 1.",
            "",
            "| | p99, median of the rounds | rounds |",
            "|---|---|---|",
            *[
                f"| {name} `record` | {median(each):,.0f} us | {rounds[name]} |"
                for name, each in found["p99_us"].items()
            ],
            "",
        ]
    )


def _verdict(ledger: Figures) -> str:
    return "adds up to the row" if ledger["check"] == 0 else "does NOT add up"


def _line(title: str, cells: list[str]) -> str:
    return f"| {' | '.join([title, *cells])} |"
