"""The fleet's keys: one signs, the ones before are taken for a while, and nobody else learns them."""

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import CapturingLogger

from control.outcomes.keyring import DAY_SECONDS, LATE_SECONDS, VALID_SECONDS, Keyring, new_key, tended
from control.store.store import Fenced, Store
from router.counting.receipt import KEY_IDS, SECRET_BYTES, ReceiptKey, Receipts, newest
from router.wire.receipt_keys import KeyRow, ring_id
from router.wire.report import Report
from serving.errors import InvalidInput, Unavailable

ROTATE = 30 * DAY_SECONDS
NOW = 1_795_786_369.0


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/state.db"


@pytest.fixture
def store(url):
    opened = Store(url)
    yield opened
    opened.close()


@pytest.fixture
def keyring(store, clock):
    return Keyring(store, ROTATE, now=clock)


def worker(ring):
    return Report(instance="i", node="n", kind="worker", revision=0, wait=0, receipt_keys=ring)


def told(keyring, ring=""):
    """The keys that a worker is told which has this ring."""
    rows = keyring.news(worker(ring)).get("receipt_keys", [])
    return [KeyRow.model_validate(row).key for row in rows]


def receipt(keyring) -> str:
    """Of a worker that has the keys."""
    maker = Receipts("n", 0)
    maker.key = newest(told(keyring))
    return maker.of("digits", 1).make("stable", "stable", 0, NOW).decode()


@given(st.lists(st.floats(0, 400 * DAY_SECONDS), min_size=1, max_size=30))
def test_one_key_signs_and_those_before_it_are_kept_as_long_as_their_receipts_are_taken(pauses):
    keys, now, signed = (), NOW, []
    for pause in pauses:
        now += pause
        keys = tended(keys, now, ROTATE)
        signs = newest(keys)
        assert now - signs.made <= ROTATE
        assert tended(keys, now, ROTATE) == keys
        assert len({key.id for key in keys}) == len(keys)
        assert {key.id for at, key in signed if now - at <= VALID_SECONDS} <= {key.id for key in keys}
        signed.append((now, signs))


def test_a_new_key_has_an_id_of_its_own_and_is_the_newest_whatever_the_clock_says():
    others = [ReceiptKey(id_, b"s" * SECRET_BYTES, NOW) for id_ in KEY_IDS[:-1]]
    key = new_key(others, NOW - 1000.0)
    assert key.id == KEY_IDS[-1]
    assert newest([*others, key]) is key
    assert len(key.secret) == SECRET_BYTES


def test_keys_survive_control_and_are_rotated_by_themselves(keyring, store, clock):
    asyncio.run(keyring.tend())
    [first], old = told(keyring), receipt(keyring)
    again = Keyring(store, ROTATE, now=clock)
    asyncio.run(again.tend())
    assert told(again) == [first]
    clock.now += ROTATE + 1.0
    asyncio.run(again.tend())
    assert told(again)[0] == first
    assert len(told(again)) == 2
    assert again.read(old).key_id == first.id
    clock.now += VALID_SECONDS + 1.0
    asyncio.run(again.tend())
    with pytest.raises(InvalidInput, match="not known here"):
        again.read(old)


@pytest.mark.parametrize("forget", [False, True])
def test_a_person_may_rotate_and_refuse_the_receipts_before(keyring, store, forget):
    asyncio.run(keyring.tend())
    old = receipt(keyring)
    key = asyncio.run(keyring.rotate(forget=forget))
    assert newest(told(keyring)) == key
    assert store.receipt_keys() == tuple(told(keyring))
    assert keyring.read(receipt(keyring)).key_id == key.id
    if forget:
        with pytest.raises(InvalidInput, match="not known here"):
            keyring.read(old)
    else:
        assert keyring.read(old)


def test_only_who_asks_is_told_and_only_what_is_new(keyring):
    assert keyring.news(worker("")) == {}
    with pytest.raises(Unavailable, match="no keys for receipts yet"):
        keyring.read("A" * 72)
    asyncio.run(keyring.tend())
    [key] = told(keyring)
    assert told(keyring, "another ring") == [key]
    assert told(keyring, ring_id([key])) == []
    assert told(keyring, None) == [], "sandboxes, supervisors and older workers"


def test_a_database_that_was_lost_gets_the_keys_in_force(keyring, store, url):
    asyncio.run(keyring.tend())
    before = told(keyring)
    store.keep_receipt_keys([])
    asyncio.run(keyring.tend())
    assert store.receipt_keys() == tuple(before)


def test_a_control_that_does_not_lead_makes_no_key(keyring, url):
    other = Store(url)
    keyring._store.lead("a", 0.0, 0.0)
    other.lead("b", 1.0, 0.0)
    with pytest.raises(Fenced):
        asyncio.run(keyring.tend())
    assert keyring.news(worker("")) == {}
    assert other.receipt_keys() == ()
    other.close()


def test_a_fault_of_the_store_is_logged_and_tried_again(store, clock, monkeypatch):
    logged = CapturingLogger()
    monkeypatch.setattr("control.outcomes.keyring.log", logged)

    async def work():
        failing = Keyring(store, ROTATE, clock, look_seconds=0.0)
        store._database.close()
        store._database._file.rename(store._database._file.with_suffix(".away"))
        running = asyncio.create_task(failing.run())
        try:
            async with asyncio.timeout(60):
                while not any("could not be looked after" in call.args[0] for call in logged.calls):  # noqa: ASYNC110
                    await asyncio.sleep(0)
        finally:
            running.cancel()

    asyncio.run(work())


def test_no_text_of_the_values_has_a_secret(keyring, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    asyncio.run(keyring.tend())
    asyncio.run(keyring.rotate(forget=False))
    keys = told(keyring)
    rows = [KeyRow.of(key) for key in keys]
    said = f"{keys}{rows}{keyring.__dict__}{capsys.readouterr()}{caplog.text}"
    for key in keys:
        assert key.secret.hex() not in said
        assert repr(key.secret) not in said


def test_a_key_is_kept_for_as_long_as_an_outcome_may_come_that_names_its_receipts(store, clock):
    longest = [90 * DAY_SECONDS]
    keyring = Keyring(store, ROTATE, lambda: longest[0], clock)
    asyncio.run(keyring.tend())
    old = receipt(keyring)
    clock.now += ROTATE + 1.0
    asyncio.run(keyring.tend())
    clock.now += longest[0]
    asyncio.run(keyring.tend())
    assert keyring.read(old).arrived == NOW
    clock.now += LATE_SECONDS + 1.0
    asyncio.run(keyring.tend())
    with pytest.raises(InvalidInput, match="not known here"):
        keyring.read(old)
