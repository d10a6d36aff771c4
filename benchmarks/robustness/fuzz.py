"""`make fuzz`: tests/harness/oip_fuzz.py against a real `understudy up`, into docs/benchmarks/fuzz.json.

FUZZ_SECONDS (60), FUZZ_SEED (0; each round counts it up), FUZZ_FILE.
"""

import os
import sys
import tempfile
from pathlib import Path

import orjson

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from benchmarks.tools.bench import DOCS, machine  # noqa: E402
from benchmarks.tools.pages import write  # noqa: E402
from harness.oip_fuzz import fuzz  # noqa: E402
from harness.recorder import recording  # noqa: E402
from harness.resources import held  # noqa: E402
from harness.system import Up, running  # noqa: E402

SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
FILE = Path(os.environ.get("FUZZ_FILE", DOCS / "fuzz.json"))
ROLLOUTS = """
digits: {{stable: digits/1}}
iris: {{stable: iris/1}}
behind: {{stable: {{model: digits/1, url: '{url}'}}, timeout: 5s}}
"""


def processes(up: Up) -> dict[int, int]:
    """Process id -> resident bytes."""
    return {process.pid: process.rss_bytes for process in held(up.process.popen.pid)}


def main() -> None:
    """Fuzz, write down what came of it, and fail on anything that may not be."""
    with (
        tempfile.TemporaryDirectory() as folder,
        recording() as server,
        running(Path(folder), ROLLOUTS.format(url=server.url)) as up,
    ):
        fuzz(up.port, 0.0, examples=50, first_seed=SEED)  # what is made at the first use of anything
        before = processes(up)
        report = fuzz(up.port, SECONDS, examples=500, first_seed=SEED + 1)
        after = processes(up)
        log = up.process.log.read_text()
    found = {
        "machine": machine(),
        "inputs": report.inputs,
        "seconds": round(report.seconds, 1),
        "statuses": {str(status): count for status, count in sorted(report.statuses.items())},
        "slowest_seconds": round(report.slowest, 3),
        "wrong": report.wrong,
        "ended_processes": len(before.keys() - after.keys()),
        "errors_logged": log.count("[error") + log.count("Traceback"),
        "rss_before": sum(before.values()),
        "rss_after": sum(after.values()),
        "broken_behind": len(server.broken),
    }
    FILE.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    write(ROOT / "docs" / "reliability.md", DOCS)
    print(found)
    bad = report.wrong or found["ended_processes"] or found["errors_logged"] or found["broken_behind"]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
