"""`python -m benchmarks.speed.edits`: edits, promotions and ways back, into docs/benchmarks/edits.md.

A real `understudy up` with two workers. An edit moves all traffic from stable to the canary or back. It is
in effect when both workers have answered a request by the new rule; the time is from before the edit was
sent (or the file replaced) to the sending of the first such request of the later worker.
"""

import http.client
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
import orjson

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from benchmarks.tools.bench import machine  # noqa: E402
from harness.load import Load  # noqa: E402
from harness.rows import DIGITS, body, plain  # noqa: E402
from harness.system import Up, eventually, running  # noqa: E402

EDITS = 100
WORKERS = 2
RATE = 200
SWITCHES = 5
PAGE = ROOT / "docs" / "benchmarks" / "edits.md"


def document(weight: int) -> dict[str, object]:
    """All to stable (0) or all to the canary (100)."""
    return {"stable": "digits/1", "canary": {"model": "digits/2", "weight": weight}}


class Line:
    """One kept connection, which is one worker's."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def target(self) -> str:
        """Who answers a request now."""
        self._connection.request("POST", DIGITS, body(0), {"content-type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        return str(answer.headers["x-understudy-target"])


def requests_by_worker(up: Up) -> dict[str, int]:
    """What each worker has counted."""
    rows = [row for row in up.admin.get("/v1/nodes").json() if row["kind"] == "worker"]
    return {
        row["instance"]: sum(
            counts[role]["requests"] for counts in row["counts"] for role in ("stable", "canary")
        )
        for row in rows
    }


def line_to_each_worker(up: Up) -> list[Line]:
    """Connections, one to each worker, told apart by the counts that grow."""
    found: dict[str, Line] = {}
    while len(found) < WORKERS:
        before, line = requests_by_worker(up), Line(up.port)
        for _ in range(5):
            line.target()

        def grown(before: dict[str, int] = before) -> list[str]:
            now = requests_by_worker(up)
            return [worker for worker, count in now.items() if count >= before.get(worker, 0) + 5]

        found.setdefault(eventually(grown, "the requests are counted")[0], line)
    return list(found.values())


def seconds_to_effect(lines: list[Line], target: str, began: float) -> float:
    """Ask the workers in turn until the last one follows."""
    waiting = list(lines)
    while waiting:
        sent = time.perf_counter()
        waiting = [line for line in waiting if line.target() != target]
    return sent - began


def by_api(up: Up, weight: int) -> None:
    """One PUT."""
    up.admin.put("/v1/rollouts/digits", content=orjson.dumps(document(weight))).raise_for_status()


def by_file(up: Up, weight: int) -> None:
    """One replacement of the rollout file."""
    up.edit(orjson.dumps({"digits": document(weight)}).decode())


def measure(up: Up, lines: list[Line], edit: object) -> list[float]:
    """Seconds of each edit."""
    assert callable(edit)
    seconds = []
    chance = random.Random(1)
    for number in range(EDITS):
        weight, target = ((100, "digits/2"), (0, "digits/1"))[number % 2]
        time.sleep(chance.uniform(0.05, 0.15))  # no edit is in step with any timer
        began = time.perf_counter()
        edit(up, weight)
        seconds.append(seconds_to_effect(lines, target, began))
    return seconds


def switches(up: Up) -> tuple[list[str], int, int]:
    """Promote and go back under load; rows of latencies, and how many requests were sent and failed."""
    before: list[float] = []
    during: dict[str, list[float]] = {"promote": [], "abort": []}
    with Load(up.url + DIGITS, RATE, plain) as load:
        seconds = load.ledger.seconds
        for _ in range(SWITCHES):
            for action, phase in (("promote", "promoted"), ("abort", "rolled_back")):
                start = len(seconds)
                time.sleep(3)
                switch = len(seconds)
                up.admin.post(f"/v1/rollouts/digits/{action}").raise_for_status()
                eventually(lambda phase=phase: up.view("digits")["status"]["phase"] == phase, phase)
                eventually(up.all_targets_ready, "in force")
                time.sleep(1)  # until those under way are answered
                before += seconds[start:switch]
                during[action] += seconds[switch:]
            up.admin.post("/v1/rollouts/digits/resume").raise_for_status()
            eventually(up.all_targets_ready, "the canary is back")
    failed = load.ledger.sent - load.ledger.statuses[200]
    rows = [row("before", before), *(row(f"during `{action}`", found) for action, found in during.items())]
    return rows, load.ledger.sent, failed


def row(way: str, seconds: list[float]) -> str:
    """One line of the table."""
    cuts = statistics.quantiles(seconds, n=100)
    worst = max(seconds)
    return f"| {way} | {cuts[49] * 1e3:.1f} ms | {cuts[98] * 1e3:.1f} ms | {worst * 1e3:.1f} ms |"


def main() -> None:
    """Measure both ways and write the page."""
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        text = orjson.dumps({"digits": document(0)}).decode()
        with running(Path(folder), text, options=("--workers", str(WORKERS))) as up:
            lines = line_to_each_worker(up)
            rows = [row("by API", measure(up, lines, by_api)), row("by file", measure(up, lines, by_file))]
            switched, sent, failed = switches(up)
    assert __doc__ is not None
    paragraphs = __doc__.split("\n\n", 1)
    page = [
        "# From an edit to its effect", "", paragraphs[1].strip(), "",
        f"{EDITS} edits each, `python -m benchmarks.speed.edits`, {machine()}.",
        f"Load average before: {busy:.1f}.", "",
        "| way | median | p99 | worst |", "|---|---|---|---|", *rows, "",
        "By file, the end of a burst of file events is waited for first.", "",
        "## Promotion, and the way back while the old stable is warm", "",
        f"{SWITCHES} of each at {RATE} requests a second: {sent} requests, {failed} failed.",
        "Latency seen by the client, in the 3 s before a switch, and from its command until 1 s after it was",
        "in force everywhere:", "",
        "| when | median | p99 | worst |", "|---|---|---|---|", *switched, "",
    ]  # fmt: skip
    PAGE.write_text("\n".join(page))
    print("\n".join(page))


if __name__ == "__main__":
    try:
        main()
    except httpx.HTTPError as error:
        sys.exit(f"error: {error}")
