"""`python -m benchmarks.outcomes`: simulate what `control.judging.outcomes` decides by.

Writes docs/benchmarks/outcomes.json and, from it, outcomes.md. A part can be run again by itself; seeds are
fixed, so the same command gives the same figures on any machine.
"""

import argparse
import importlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.outcomes import report

PARTS = ("labels", "conversions", "amounts", "segments", "arms")
JSON = Path(__file__).parents[2] / "docs" / "benchmarks" / "outcomes.json"


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outcomes", description=__doc__)
    parser.add_argument("--part", choices=(*PARTS, "all", "report"), default="all")
    parser.add_argument("--runs", type=int, default=1000, help="of a cell; expensive ones take a part of it")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    found = json.loads(JSON.read_text(encoding="utf-8")) if JSON.exists() else {}
    for number, part in enumerate(PARTS):
        if arguments.part in (part, "all"):
            found[part] = simulate(part, np.random.default_rng([arguments.seed, number]), arguments.runs)
            JSON.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    missing = [part for part in PARTS if part not in found]
    if missing:
        print(f"no page yet: {', '.join(missing)} did not run", file=sys.stderr)
        return
    JSON.with_suffix(".md").write_text(report.page(found), encoding="utf-8")


def simulate(part: str, rng: np.random.Generator, runs: int) -> list[dict[str, object]]:
    """The cells of one part, as JSON values."""
    started, cells = time.monotonic(), []
    for cell in importlib.import_module(f"benchmarks.outcomes.{part}").cells(rng, runs):
        cells.append(asdict(cell))
        done = f"{part}: {len(cells)} cells, {time.monotonic() - started:.0f} s"
        print(f"\r{done}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return cells


if __name__ == "__main__":
    main()
