"""Outcomes told to a node: what is taken and what is left out; on disk before the answer, and never lost."""

import contextlib
import gzip
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor

import httpx
import orjson
import pytest

from harness.pilot import Pilot, piloted
from harness.rows import body
from harness.system import ROOT, alive, children, eventually, running, stopped
from router.counting.split import point, salt_of

RECEIPT = "x-understudy-receipt"
DOOR = "/v1/outcomes"
SHOP = {
    "stable": "digits/1",
    "sticky": {"header": "x-user"},
    "outcomes": {
        "conversion": {"kind": "binary", "within": "1h"},
        "label": {"output": "label", "within": "7d"},
    },
}
SPOOL_BYTES = 1 << 20
KINDS = ("router.worker", "router.outcomes.taker")
OFF = """
import asyncio, sys
from pathlib import Path
import orjson
from router.rollout.snapshot import ServedRollout, Snapshot
from router.rollout.values import Rollout, Target
from router.settings import WorkerSettings
from router.sync import save
from router.wire.snapshot import to_wire
from router.worker import Worker
from serving.telemetry.cells import Metrics

async def main():
    settings = WorkerSettings(control="http://127.0.0.1:1", models=Path("models"))
    rollout = Rollout("digits", Target("digits/1"))
    snapshot = Snapshot(1, {"digits": ServedRollout(rollout, 1, Target("digits/1"))})
    save(settings.state_dir / "snapshots" / "worker-0.json", orjson.dumps(to_wire(snapshot)))
    worker = Worker(settings, Metrics(settings.state_dir / "metrics", "w"))
    await worker.start()
    ready = worker.ready()
    tasks = sorted(task.get_name() for task in asyncio.all_tasks())
    await worker.stop()
    imported = sorted(name for name in sys.modules if name.startswith("router.outcomes"))
    print(orjson.dumps([ready, tasks, imported]).decode())

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A node with two workers and room for 1 MiB of outcomes."""
    options = ("--workers", "2", "--outcomes-spool-bytes", str(SPOOL_BYTES))
    folder = tmp_path_factory.mktemp("small-spool")
    with running(folder, "digits: {stable: digits/1}\n", options=options) as up:
        yield up


@contextlib.contextmanager
def open_shop(up, model: str, weight: float = 50):
    """A rollout under this name, whose canary is ready."""
    with piloted(up, model, shop(weight)) as pilot:
        eventually(pilot.ready, "the canary is ready")
        yield pilot


def shop(weight: float) -> dict:
    return {**SHOP, "canary": {"model": "digits/2", "weight": weight}}


def receipts(pilot, count: int) -> list[str]:
    """Of so many answers, each to a user of its own."""

    def ask(number: int) -> str:
        headers = {"x-user": f"u{number}"}
        answer = pilot.up.client.post(pilot.infer, content=body(number), headers=headers)
        return answer.raise_for_status().headers[RECEIPT]

    with ThreadPoolExecutor(4) as many:
        return list(many.map(ask, range(count)))


def lines(told) -> bytes:
    return b"\n".join(map(orjson.dumps, told))


def of(receipt: str, value=1, name: str = "conversion") -> dict:
    return {"receipt": receipt, "name": name, "value": value}


def altered(receipt: str) -> str:
    return receipt[:40] + ("A" if receipt[40] != "A" else "B") + receipt[41:]


def tell(up, content: bytes, **headers: str):
    return up.client.post(DOOR, content=content, headers=headers)


def kept(up, model: str) -> list[dict]:
    """What control's database has of a model."""
    with contextlib.closing(sqlite3.connect(up.folder / "state" / "state.db")) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM outcomes WHERE model = ?", (model,))]


def spooled(up) -> list:
    return list((up.folder / "state" / "outcomes").glob("*"))


def all_arrived(up, model: str, count: int) -> None:
    eventually(lambda: len(kept(up, model)) == count, f"{count} outcomes at control")
    eventually(lambda: not spooled(up), "nothing waits on disk")
    assert len(kept(up, model)) == count


def test_outcomes_are_told_as_an_object_an_array_or_lines_plain_and_compressed(small):
    with open_shop(small, "forms") as pilot:
        given = receipts(pilot, 6)
        bodies = [
            (orjson.dumps(of(given[0])), {"content-type": "application/json"}),
            (orjson.dumps([of(given[1]), of(given[2], value=True)]), {}),
            (
                lines([of(given[3], value=0), of(given[3], "7", "label")]),
                {"content-type": "application/x-ndjson"},
            ),
            (gzip.compress(lines([of(given[4])])), {"content-encoding": "gzip"}),
            (orjson.dumps(of(given[5]), option=orjson.OPT_INDENT_2), {}),
        ]
        for content, headers in bodies:
            answer = tell(small, content, **headers)
            assert answer.status_code == 200, answer.text
            assert answer.json()["left_out"] == {}
        assert DOOR in small.client.get("/openapi.json").json()["paths"]
        all_arrived(small, "forms", 7)
        values = [row["value"] for row in kept(small, "forms") if row["name"] == "conversion"]
        assert sorted(values) == [0, 1, 1, 1, 1, 1]


def test_what_is_not_taken_is_counted_by_reason_and_named(small):
    with open_shop(small, "reasons") as pilot:
        good, other = receipts(pilot, 2)
        forced = small.client.post(pilot.infer, content=body(0), headers={"x-understudy-target": "stable"})
        now = time.time()
        user = {"model": "reasons", "key": "u1", "name": "conversion", "value": 1}
        told = [
            of(good),
            of(altered(other)),
            of(other, name="revenue"),
            of(other, value="yes"),
            of(forced.headers[RECEIPT]),
            {**user, "time": now - 7200},
            {**user, "time": now + 7200},
            {**user, "model": "nobody", "time": now},
            {**user, "name": "label", "time": now},
        ]
        expected = {
            "receipt": 2, "outcome": 1, "value": 1, "not_drawn": 1, "late": 1, "early": 1, "rollout": 1,
        }  # fmt: skip
        answer = tell(small, lines(told)).json()
        assert answer["accepted"] == 1
        assert answer["left_out"] == expected
        reasons = ["receipt", "outcome", "value", "not_drawn", "late", "early", "rollout", "receipt"]
        assert answer["examples"] == [
            {"line": line, "reason": reason} for line, reason in enumerate(reasons, 2)
        ]
        counted = pilot.metric("outcomes_received_total", outcome="conversion", result="accepted")
        assert counted == 1
        assert small.metric("understudy_outcomes_received_total", result="receipt") >= 2
        all_arrived(small, "reasons", 1)


def test_a_request_that_is_not_understood_is_refused_whole(small):
    with open_shop(small, "whole") as pilot:
        [good] = receipts(pilot, 1)
        for content, status, words in (
            (b"", 400, "no outcome"),
            (lines([of(good), {"receipt": good}]), 400, "outcome 2: value"),
            (lines([of(good)] * 10_001), 400, "10,001 outcomes"),
            (gzip.compress(lines([of(good)]))[:-9], 400, ""),
        ):
            coding = {"content-encoding": "gzip"} if content[:1] == b"\x1f" else {}
            answer = tell(small, content, **coding)
            assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
        bomb = gzip.compress(b" " * (65 << 20))
        assert tell(small, bomb, **{"content-encoding": "gzip"}).status_code == 413
        assert tell(small, b"x", **{"content-encoding": "br"}).status_code == 501
        assert small.client.get(DOOR).status_code == 405
        assert kept(small, "whole") == []


def test_a_draw_of_an_earlier_stage_is_not_counted_again(small):
    """Of a user whom the canary had at 10%, the draw at 40% says nothing new."""
    users, at = [f"u{number}" for number in range(100)], salt_of("anew", "digits/2", 0)

    with open_shop(small, "anew", 10) as pilot:
        tell(small, lines(map(of, receipts(pilot, len(users))))).raise_for_status()
        pilot.put(shop(40))
        eventually(lambda: pilot.view["in_force_everywhere"], "40% in force")
        tell(small, lines(map(of, receipts(pilot, len(users))))).raise_for_status()
        all_arrived(small, "anew", 2 * len(users))
        stages = sorted({row["stage"] for row in kept(small, "anew")})
        assert len(stages) == 2
        for stage, weight, used in zip(stages, (0.10, 0.40), (0.0, 0.10), strict=True):
            rows = [row for row in kept(small, "anew") if row["stage"] == stage]
            points = [point(at, user.encode()) for user in users]
            assert sum(row["arm"] for row in rows) == sum(place < weight for place in points)
            assert sum(row["anew"] for row in rows) == sum(place >= used for place in points)
            assert sum(row["arm"] and row["anew"] for row in rows) == sum(used <= p < weight for p in points)


def test_processes_that_are_killed_after_their_answer_lose_nothing(small):
    with open_shop(small, "killed") as pilot:
        given = receipts(pilot, 100)
        [control] = children(small.process.popen.pid, "control")
        with stopped(control):
            for first in range(0, 100, 25):
                answer = tell(small, gzip.compress(lines(map(of, given[first : first + 25]))),
                              **{"content-encoding": "gzip"})  # fmt: skip
                assert answer.json()["accepted"] == 25
            workers, takers = (children(small.process.popen.pid, kind) for kind in KINDS)
            assert (len(workers), len(takers)) == (2, 1)
            for process in (*workers, *takers):
                os.kill(process, signal.SIGKILL)
            eventually(lambda: not any(map(alive, (*workers, *takers))), "they are gone")
            assert sum(file.read_bytes().count(b"\n") for file in spooled(small)) == 100
        all_arrived(small, "killed", 100)
        again = tell(small, lines(map(of, given)))
        assert again.json()["accepted"] == 100, "what is told again is kept again, and counts once"
        all_arrived(small, "killed", 100)
        eventually(lambda: small.metric("understudy_outcomes_spooled") == 0, "no outcome waits")


def test_outcomes_of_a_key_that_has_just_begun_to_sign_are_taken_by_the_other_worker_too(small):
    with open_shop(small, "rotated") as pilot, contextlib.ExitStack() as open_:
        killed, other = children(small.process.popen.pid, "router.worker")
        os.kill(killed, signal.SIGKILL)  # so that the two do not hear from control at the same moments

        def two_again():
            serving = {int(instance.rpartition("/")[2]) for instance in pilot.view["applied"]}
            return len(serving) == 2 and other in serving and killed not in serving

        eventually(two_again, "there are two workers again")
        clients = [httpx.Client(base_url=small.url, trust_env=False, timeout=30.0) for _ in range(8)]
        for client in clients:  # each has a connection of its own; the kernel spreads them
            open_.enter_context(client)
            client.post(pilot.infer, content=body(0)).raise_for_status()
        for _ in range(3):
            key = small.admin.post("/v1/receipt-keys").raise_for_status().json()["id"]
            answers = (client.post(pilot.infer, content=body(0)) for client in itertools.cycle(clients))
            new = next(one for one in (a.headers[RECEIPT] for a in answers) if _key_of(one) == key)
            told = [client.post(DOOR, json=of(new)).raise_for_status().json() for client in clients]
            assert [answer["left_out"] for answer in told] == [{}] * len(clients)


def _key_of(receipt: str) -> int:
    """The id of the key that signed it."""
    return int.from_bytes(urlsafe_b64decode(receipt)[:2]) & 0xFFF


def test_a_full_spool_says_so_and_takes_nothing_of_that_request(small):
    with open_shop(small, "full") as pilot:
        given = receipts(pilot, 240)
        long = "\x01" * 1000  # six bytes each, on disk
        batches = [lines(of(one, long, "label") for one in given[at : at + 20]) for at in range(0, 240, 20)]
        [control] = children(small.process.popen.pid, "control")
        refused = []
        with stopped(control):
            for batch in batches:
                answer = tell(small, batch)
                if answer.status_code == 503:
                    assert int(answer.headers["retry-after"]) > 1
                    assert "full" in answer.json()["error"]
                    refused.append(batch)
                else:
                    assert answer.json()["accepted"] == 20
            used = sum(file.stat().st_size for file in spooled(small))
            assert SPOOL_BYTES - 200_000 < used <= SPOOL_BYTES
            answer = small.client.post(pilot.infer, content=body(0))
            assert answer.status_code == 200
        assert 0 < len(refused) < len(batches)
        all_arrived(small, "full", 20 * (len(batches) - len(refused)))
        assert pilot.metric("outcomes_received_total", result="refused") == 20 * len(refused)
        for batch in refused:
            assert tell(small, batch).json()["accepted"] == 20
        all_arrived(small, "full", 240)


def test_a_node_that_ends_sends_what_it_has_first(tmp_path):
    document = "{stable: digits/1, outcomes: {conversion: {kind: binary, within: 1h}}}"
    old = tmp_path / "state" / "outcomes" / "worker-0-1-1.lines"
    old.parent.mkdir(parents=True, mode=0o700)
    user = {"model": "ending", "key": "u", "name": "conversion", "value": 1, "time": 1.0, "at": 2.0}
    old.write_bytes(lines([user]) + b"\n")
    with running(tmp_path, f"ending: {document}\n") as up:
        eventually(lambda: not old.exists(), "what a worker of an earlier release left has been sent")
        told = lines(map(of, receipts(Pilot(up, "ending"), 100)))
        assert tell(up, told).json()["accepted"] == 100
        assert up.process.end() == 0
        assert len(kept(up, "ending")) == 100
        assert not spooled(up)


def test_a_worker_to_which_no_outcomes_are_told_has_no_file_no_task_and_imports_nothing(tmp_path):
    environment = {**os.environ, "UNDERSTUDY_STATE_DIR": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
    environment["UNDERSTUDY_RUN_DIR"] = str(tmp_path / "run")
    told = subprocess.run(
        [sys.executable, "-c", OFF], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    ready, tasks, imported = orjson.loads(told.stdout.splitlines()[-1])
    assert ready
    assert not [name for name in tasks if "outcomes" in name]
    assert imported == [f"router.outcomes{module}" for module in ("", ".described", ".endpoint", ".passing")]
    assert not (tmp_path / "state" / "outcomes").exists()
