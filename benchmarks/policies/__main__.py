"""`python -m benchmarks.policies --part all`: simulate, then write docs/benchmarks/policies.md.

Each part leaves a CSV in docs/benchmarks/policies/; the page and its plots are made from those, so a part can
be run again by itself. Seeds are fixed: the same command gives the same figures.
"""

import argparse
import csv
import importlib
import sys
import time
from pathlib import Path

PARTS = ("aa", "power", "latency", "agreement", "speed", "inputs")
DOCS = Path(__file__).parents[2] / "docs" / "benchmarks"
RAW = DOCS / "policies"


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies", description=__doc__)
    parser.add_argument("--part", choices=(*PARTS, "all", "report"), default="all")
    parser.add_argument(
        "--runs", type=int, default=10_000, help="runs a cell of A/A; the others take a tenth"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    RAW.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        if arguments.part in (part, "all"):
            simulate(part, arguments.seed, arguments.runs if part == "aa" else max(arguments.runs // 10, 1))
    importlib.import_module("benchmarks.policies.report").write(DOCS, RAW)


def simulate(part: str, seed: int, runs: int) -> None:
    """Run one part and write its CSV."""
    started = time.monotonic()
    rows = []
    for row in importlib.import_module(f"benchmarks.policies.{part}").rows(seed, runs):
        rows.append(row)
        done = f"{part}: {len(rows)} cells, {time.monotonic() - started:.0f} s"
        print(f"\r{done}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    with (RAW / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
