"""`make reliability`: every scene under load, then docs/reliability.md from this, the soak and the fuzzer.

RELIABILITY_CALM (500 requests before each fault, at 100 a second); `python -m
benchmarks.robustness.reliability page` writes the page anew from the figures there are.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from benchmarks.tools.bench import DOCS, machine  # noqa: E402
from benchmarks.tools.pages import write  # noqa: E402
from harness.incident import Incident  # noqa: E402
from harness.scene_list import SCENES  # noqa: E402
from harness.scenes import Scene, place, play  # noqa: E402

CALM = int(os.environ.get("RELIABILITY_CALM", "500"))
FILE = Path(os.environ.get("RELIABILITY_FILE", DOCS / "reliability.json"))


def row(scene: Scene, incident: Incident) -> dict[str, Any]:
    """One fault as JSON has it; seconds."""
    return {
        "fault": incident.fault,
        "rate": incident.rate,
        "requests": incident.requests,
        "errors": {str(status): count for status, count in incident.errors.items()},
        "allowed": sorted(scene.allowed),
        "p99_before": incident.p99_before,
        "p99_during": incident.p99_during,
        "recovery": incident.recovery_seconds,
        "problems": list(incident.problems),
    }


def run() -> list[dict[str, Any]]:
    """Play every scene on one system."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, place(Path(folder)) as at:
        for scene in SCENES:
            rows.append(row(scene, play(scene, at, CALM)))
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure unless only the page is wanted; fail when a row of the table does not hold."""
    bad: list[str] = []
    if sys.argv[1:] != ["page"]:
        rows = run()
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_bytes(orjson.dumps({"machine": machine(), "rows": rows}, option=orjson.OPT_INDENT_2))
        bad = [r["fault"] for r in rows if r["problems"] or {int(s) for s in r["errors"]} - set(r["allowed"])]
    write(ROOT / "docs" / "reliability.md", DOCS)
    if bad:
        sys.exit(f"more than the table allows: {', '.join(bad)}")


if __name__ == "__main__":
    main()
