"""Taken once, counted once, also when the database gives up in the middle of a request."""

import asyncio
import time

import orjson
import pytest

from control.outcomes.desk import A_TRANSACTION, MAX_EXAMPLES, Desk, InForce
from control.outcomes.keyring import Keyring
from control.store.database import StoreError
from control.store.store import Change, Store
from router.counting.receipt import Receipts, newest
from router.rollout.parser import parse_one
from serving.errors import InvalidInput
from serving.telemetry.cells import Metrics

DOCUMENT = """
stable: digits/1
canary: {model: digits/2, weight: 50}
outcomes: {conversion: {kind: binary, within: 1h}}
"""
FULL = """
CREATE TRIGGER full BEFORE INSERT ON outcomes WHEN (SELECT count(*) FROM outcomes) >= 1500
BEGIN SELECT RAISE(ABORT, 'full'); END
"""


class Parts:
    def __init__(self, folder):
        self.store = Store(f"sqlite:///{folder}/state.db")
        progress = {"stage": 1, "phase": "idle", "candidate": "digits/2", "weight": 50.0}
        self.store.change(Change("digits", 0, {}, progress, "anna", "api", "because"))
        self.metrics = Metrics(folder, "control")
        self.keyring = Keyring(self.store, 1e9)
        asyncio.run(self.keyring.tend())
        rollout = parse_one("digits", DOCUMENT, "test")
        in_force = {"digits": InForce(rollout, 1, 1)}
        self.desk = Desk(self.store.outcomes, self.keyring, lambda: in_force, self.metrics)
        receipts = Receipts("n", 0)
        receipts.key = newest(self.store.receipt_keys())
        self.stamp = receipts.of("digits", 1)

    def lines(self, number) -> bytes:
        now = time.time()
        made = [self.stamp.make("canary", "canary", 0, now).decode() for _ in range(number)]
        return b"\n".join(orjson.dumps({"receipt": one, "name": "conversion", "value": 1}) for one in made)

    def take(self, body):
        return asyncio.run(self.desk.take(body))

    def sql(self, text):
        with self.store.outcomes.writing() as connection:
            connection.exec_driver_sql(text)


@pytest.fixture
def parts(tmp_path):
    found = Parts(tmp_path)
    yield found
    found.store.close()
    found.metrics.close()


def accepted(parts) -> int:
    [(_, state)] = parts.store.outcomes.sums().items()
    return int(state["accepted"])


def test_a_request_that_ends_in_the_middle_is_told_again_and_counts_once(parts):
    body = parts.lines(2 * A_TRANSACTION)
    parts.sql(FULL)
    with pytest.raises(StoreError):
        parts.take(body)
    assert accepted(parts) == A_TRANSACTION
    parts.sql("DROP TRIGGER full")
    again = parts.take(body)
    assert (again.accepted, dict(again.left_out)) == (A_TRANSACTION, {"duplicate": A_TRANSACTION})
    assert parts.desk.left_out_of("digits", "conversion") == {"duplicate": A_TRANSACTION}
    assert accepted(parts) == 2 * A_TRANSACTION


def test_a_request_that_is_not_understood_takes_nothing(parts):
    with pytest.raises(InvalidInput, match="outcome 4"):
        parts.take(parts.lines(3) + b"\n{}")
    assert not parts.store.outcomes.any()


def test_examples_are_the_first_lines_of_all_that_was_left_out(parts):
    body = parts.lines(30)
    lines = body.split(b"\n")
    unknown = orjson.dumps({"receipt": "x", "name": "conversion", "value": 1})
    told = [line for pair in zip(lines, [unknown] * 30, strict=True) for line in pair]
    found = parts.take(b"\n".join([*told, *lines]))
    assert (found.accepted, dict(found.left_out)) == (30, {"receipt": 30, "duplicate": 30})
    assert [each["line"] for each in found.examples] == list(range(2, 2 * MAX_EXAMPLES + 1, 2))


def test_what_was_left_out_is_forgotten_with_its_rollout(parts):
    body = parts.lines(1)
    parts.take(body)
    parts.take(body)
    assert parts.desk.left_out_of("digits", "conversion") == {"duplicate": 1}
    parts.desk.forget("digits")
    assert parts.desk.left_out_of("digits", "conversion") == {}
