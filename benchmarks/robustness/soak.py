"""`make soak`: hours of light load with a reload each 10 s and a rollout each minute; does anything grow?

A real `understudy up` with two workers, a shadow and a target behind a URL answers a constant open-loop load.
The rollout file is replaced every 10 s, every other time by one that must be refused; once a minute it
starts a rollout, in turn of a good model, which must be promoted, and of a bad one, which must be rolled
back. Every 10 s each process is looked at from outside (`harness.resources`) and, through `probe`, from
inside. At the end the clients' record, the counts and the target's own record must agree.

SOAK_SECONDS (3600), SOAK_FILE (docs/benchmarks/soak.json; written anew at every look, so that a run that
is cut short leaves what it has).
"""

import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from benchmarks.tools.bench import DOCS, machine  # noqa: E402
from benchmarks.tools.pages import write  # noqa: E402
from harness.hostile import Hostile, hostile  # noqa: E402
from harness.load import Load  # noqa: E402
from harness.resources import folder_size, held  # noqa: E402
from harness.rows import plain  # noqa: E402
from harness.system import Up, eventually, running  # noqa: E402

SECONDS = float(os.environ.get("SOAK_SECONDS", "3600"))
FILE = Path(os.environ.get("SOAK_FILE", ROOT / "docs" / "benchmarks" / "soak.json"))
LOOK_SECONDS = 10.0
LOOKS_PER_ROLLOUT = 6
DIGITS_RATE, REMOTE_RATE = 80, 20
REFUSED = (
    "digits: {stable: digits/1}\ndigits: {stable: digits/2}\n",
    "digits:\n  stable: digits/1\n  canary: {model: digits/2, weight: 200}\n",
    "digits: {stable: digits/404}\n",
    "digits:\n  stable: digi",
    "digits: &a {stable: digits/1}\nremote: *a\n",
)
DOCUMENT = """\
digits:
  stable: digits/1
  canary:
    model: {canary}
    steps: [{{setWeight: 20}}, {{prove: {{max: 40s, onTimeout: rollback}}}}]
    mirror: 100
  shadows: [{{model: digits/4, sample: 20}}]
  compare: {{label: exact}}
  guards: {{agreement: {{output: label, min: {least}}}}}
  alpha: 5%
remote:
  stable: digits/1
  canary: {{model: digits/2, url: '{url}', weight: {weight}}}
"""


class Soak:
    """One run.

    Attributes:
        looks: one row per look: seconds since the start, what each kind of process holds, and more.
        ended: how many rollouts ended how.
        edits: files written, by whether they had to be refused.
        wrong: what should not have been, in words.
    """

    def __init__(self, up: Up, server: Hostile, probe: Path) -> None:
        self._up, self._server, self._probe = up, server, probe
        self._began = time.monotonic()
        self._good = False
        self._revision = 0
        self.looks: list[dict[str, Any]] = []
        self.ended: Counter[str] = Counter()
        self.edits: Counter[str] = Counter()
        self.wrong: list[str] = []

    def step(self, number: int) -> None:
        """One edit, what must follow from it, and one look, in `LOOK_SECONDS`."""
        if number % 2:
            self._refused(number)
        elif number % LOOKS_PER_ROLLOUT == 0:
            self._rollout(number)
        else:
            self._edit(number)
        until = self._began + (number + 1) * LOOK_SECONDS
        time.sleep(max(0.0, until - time.monotonic()))
        if number % LOOKS_PER_ROLLOUT == LOOKS_PER_ROLLOUT - 1:
            self._see_the_end()
        self.looks.append(self._look())

    def _text(self, number: int) -> str:
        canary, least = ("digits/2", "90%") if self._good else ("digits/3", "98%")
        return DOCUMENT.format(canary=canary, least=least, url=self._server.url, weight=weight(number))

    def _rollout(self, number: int) -> None:
        self._good = not self._good
        self._edit(number)
        self.edits["rollout"] += 1

    def _edit(self, number: int) -> None:
        self._up.edit(self._text(number))
        self.edits["accepted"] += 1
        eventually(
            lambda: self._up.view("remote")["serving"]["weight"] == weight(number),
            f"edit {number} in force",
        )

    def _refused(self, number: int) -> None:
        before = self._up.metric("understudy_config_rejected_total")
        self._up.edit(REFUSED[number // 2 % len(REFUSED)])
        self.edits["refused"] += 1
        eventually(
            lambda: self._up.metric("understudy_config_rejected_total") > before, f"edit {number} is refused"
        )

    def _see_the_end(self) -> None:
        phase = self._up.view("digits")["status"]["phase"]
        self.ended[phase] += 1
        wanted = "promoted" if self._good else "rolled_back"
        if phase != wanted:
            self.wrong.append(f"after {time.monotonic() - self._began:.0f} s: {phase}, should be {wanted}")

    def _look(self) -> dict[str, Any]:
        began = time.perf_counter()
        text = self._up.admin.get("/metrics").text
        scrape = time.perf_counter() - began
        files, size = folder_size(self._up.folder / "state")
        return {
            "seconds": round(time.monotonic() - self._began, 1),
            "processes": [asdict(row) | self._told(row.pid) for row in held(self._up.process.popen.pid)],
            "scrape_seconds": round(scrape, 4),
            "scrape_bytes": len(text),
            "state_files": files,
            "state_bytes": size,
        }

    def _told(self, pid: int) -> dict[str, int]:
        """What a process says of itself; nothing in its first seconds."""
        try:
            tasks, blocks = (self._probe / str(pid)).read_text().split()
        except OSError:
            return {}
        return {"tasks": int(tasks), "blocks": int(blocks)}


def weight(number: int) -> int:
    """What an edit sets, and the one before did not."""
    return 50 + number % 20


def ledgers(up: Up, loads: Mapping[str, Load], server: Hostile) -> list[dict[str, Any]]:
    """Per public name and target: answers that clients saw, requests counted, requests a URL received."""
    rows = []
    for model, load in loads.items():
        for target, seen in sorted(load.ledger.targets.items()):
            counted = up.metric("understudy_requests_total", model=model, target=target, code="200")
            received = server.asked if server.url in target else None
            failed = sum(
                up.metric("understudy_failover_total", model=model, target=target, reason=reason)
                for reason in ("failed", "timeout", "refused")
            )
            rows.append(
                {
                    "model": model,
                    "target": target,
                    "clients": seen,
                    "counts": int(counted),
                    "failed over": int(failed),
                    "target's own": received,
                }
            )
    return rows


def equal(row: Mapping[str, Any]) -> bool:
    """Whether they agree; what failed at a target, and stable answered, may have reached it or not."""
    received = row["target's own"]
    reached = received is None or row["counts"] <= received <= row["counts"] + row["failed over"]
    return bool(row["clients"] == row["counts"] and reached)


def run(folder: Path) -> dict[str, Any]:
    """Soak, and the result so far after every look."""
    probe = folder / "probe"
    probe.mkdir()
    path = [
        str(ROOT / "benchmarks" / "robustness" / "probe"),
        *os.environ.get("PYTHONPATH", "").split(os.pathsep),
    ]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, path)), "SOAK_PROBE": str(probe)}
    with hostile() as server:
        first = DOCUMENT.format(canary="digits/3", least="98%", url=server.url, weight=40)
        with running(folder, first, options=("--workers", "2"), environment=environment) as up:
            loads = {
                "digits": Load(f"{up.url}/v2/models/digits/infer", DIGITS_RATE, plain, connections=8),
                "remote": Load(f"{up.url}/v2/models/remote/infer", REMOTE_RATE, plain, connections=8),
            }
            soak = Soak(up, server, probe)
            for load in loads.values():
                load.__enter__()
            for number in range(max(LOOKS_PER_ROLLOUT, round(SECONDS / LOOK_SECONDS))):
                soak.step(number)
                save(result(soak, loads, []))
            for load in loads.values():
                load.stop()
            rows = ledgers(up, loads, server)
            done = result(soak, loads, rows)
    return done


def result(soak: Soak, loads: Mapping[str, Load], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything, as JSON has it."""
    statuses = sum((load.ledger.statuses for load in loads.values()), Counter[int]())
    return {
        "machine": machine(),
        "seconds": soak.looks[-1]["seconds"],
        "requests": sum(statuses.values()),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "errors": list(itertools.chain(*(load.ledger.errors for load in loads.values()))),
        "p99_seconds": {model: round(load.ledger.percentile(99), 5) for model, load in loads.items()},
        "rollouts": dict(soak.ended),
        "edits": dict(soak.edits),
        "wrong": soak.wrong,
        "ledgers": [row | {"equal": equal(row)} for row in rows],
        "looks": soak.looks,
    }


def save(found: Mapping[str, Any]) -> None:
    """Replace the file as a whole."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    new = FILE.with_suffix(".new")
    new.write_bytes(orjson.dumps(found))
    new.replace(FILE)


def main() -> None:
    """Soak, write the figures and the page, and fail when a request or a ledger did."""
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder))
    save(found | {"looks": found["looks"][LOOKS_PER_ROLLOUT - 1 :: LOOKS_PER_ROLLOUT]})
    write(ROOT / "docs" / "reliability.md", DOCS)
    print({name: found[name] for name in found if name != "looks"})
    good = (
        set(found["statuses"]) == {"200"} and not found["wrong"] and all(r["equal"] for r in found["ledgers"])
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
