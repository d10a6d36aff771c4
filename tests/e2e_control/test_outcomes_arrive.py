"""Outcomes while control is killed at random points: each arrives, each once, and inference goes on."""

import contextlib
import gzip
import os
import random
import signal
import sqlite3
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import orjson
import pytest

from harness.load import Load
from harness.pilot import piloted
from harness.rows import body, plain
from harness.system import children, eventually, running

DOCUMENT = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "weight": 50},
    "outcomes": {"conversion": {"kind": "binary", "within": "1h"}},
}
EACH, ALTERED = 50, 50


def receipts(pilot, count: int) -> list[str]:
    def ask(number: int) -> str:
        answer = pilot.up.client.post(pilot.infer, content=body(number))
        return answer.raise_for_status().headers["x-understudy-receipt"]

    with ThreadPoolExecutor(8) as many:
        return list(many.map(ask, range(count)))


def line(receipt: str, number: int) -> bytes:
    return orjson.dumps({"receipt": receipt, "name": "conversion", "value": number % 3 == 0})


def altered(receipt: str, chance: random.Random) -> str:
    place = chance.randrange(len(receipt))
    return receipt[:place] + ("A" if receipt[place] != "A" else "B") + receipt[place + 1 :]


def requests(told: list[bytes], chance: random.Random) -> list[bytes]:
    """All of it in any order, a third of it twice, in compressed lines."""
    all_ = told + chance.sample(told, len(told) // 3)
    chance.shuffle(all_)
    return [gzip.compress(b"\n".join(all_[at : at + EACH])) for at in range(0, len(all_), EACH)]


def tell(up, content: bytes) -> Counter:
    """As a client that tells again what was not answered with 200; what became of it."""

    def told():
        answer = up.client.post("/v1/outcomes", content=content, headers={"content-encoding": "gzip"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    taken = eventually(told, "the node takes outcomes")
    return Counter(taken["left_out"]) + Counter(accepted=taken["accepted"])


class Killer(threading.Thread):
    """Kills control again and again, a while after it has begun or even before it has.

    Attributes:
        kills: so far.
    """

    def __init__(self, up, chance: random.Random, most: int) -> None:
        super().__init__(daemon=True)
        self.up, self.chance, self.most, self.kills, self.ended = up, chance, most, 0, threading.Event()

    def run(self) -> None:
        while self.kills < self.most and not self.ended.wait(self.chance.uniform(0.3, 3.0)):
            for pid in children(self.up.process.popen.pid, "control"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.join()


def kept(up) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(up.folder / "state" / "state.db")) as database:
        return list(database.execute("SELECT id, name, value, arm FROM outcomes WHERE model = 'told'"))


@pytest.mark.parametrize(("count", "kills"), [(800, 3), pytest.param(5_000, 6, marks=pytest.mark.slow)])
def test_each_outcome_arrives_once_however_often_control_is_killed(tmp_path, count, kills):
    chance = random.Random(15)
    with (
        running(tmp_path, "digits: {stable: digits/1}\n") as up,
        piloted(up, "told", DOCUMENT) as pilot,
    ):
        eventually(pilot.ready, "the canary is ready")
        given = receipts(pilot, count)
        told = [line(receipt, number) for number, receipt in enumerate(given)]
        wrong = [line(altered(receipt, chance), 0) for receipt in given[:ALTERED]]
        with Load(up.url + pilot.infer, 20, plain) as load, Killer(up, chance, kills) as killer:
            taken, all_ = Counter(), requests(told + wrong, chance)
            for number, content in enumerate(all_):  # between any two kills some are told
                due = kills * number // len(all_)
                eventually(lambda due=due: killer.kills >= due, f"{due} kills")
                taken += tell(up, content)
            eventually(lambda: killer.kills >= kills, "all kills")
            eventually(lambda: len(kept(up)) == count, "all of them at control", 120.0)
            eventually(lambda: not list((tmp_path / "state" / "outcomes").glob("*")), "nothing waits on disk")
        assert set(taken) == {"accepted", "receipt"}
        assert taken.total() == count + ALTERED + (count + ALTERED) // 3
        rows = kept(up)
        assert len({row[:2] for row in rows}) == len(rows) == count
        assert sum(value for *_, value, _ in rows) == sum(number % 3 == 0 for number in range(count))
        assert set(load.ledger.statuses) == {200}, (load.ledger.statuses, load.ledger.errors)
        with contextlib.suppress(httpx.HTTPError):
            # Of those whose receipts only control could verify a node knows no model.
            assert up.metric("understudy_outcomes_received_total", result="accepted") == taken["accepted"]
        eventually(lambda: up.metric("understudy_outcomes_spooled") == 0, "no outcome waits")
