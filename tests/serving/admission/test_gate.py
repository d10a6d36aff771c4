"""The gate: who is refused, with which words, in which order; and when it is up at all."""

import asyncio
import hashlib

import pytest

from serving.admission import gate as admission
from serving.admission.api_keys import ApiKeys
from serving.admission.gate import Gate, peer
from serving.admission.guesses import TRIES_AT_ONCE
from serving.admission.rate_limit import Rates
from serving.http.connection_limit import ConnectionLimits
from serving.http.replies import error_reply
from serving.telemetry.cells import Metrics, read

KEY = b"k" * 43
KEYS = ApiKeys({"mobile": hashlib.sha256(KEY).digest()})
HERE = ("127.0.0.1", 5000)


@pytest.fixture
def metrics(tmp_path):
    metrics = Metrics(tmp_path, "test")
    yield metrics
    metrics.close()


@pytest.fixture
def rejected(tmp_path, metrics):
    return lambda reason: read(tmp_path)["understudy_rejected"].series["public", reason][0]


def with_key(key=KEY):
    return {b"authorization": b"Bearer " + key}


def test_without_options_there_is_no_gate(metrics):
    assert not Gate(metrics).needed
    assert not Gate(metrics, max_wait_seconds=1.0).needed


def test_who_brings_no_valid_key_gets_401_and_is_told_how(metrics, rejected):
    gate = Gate(metrics, keys=lambda: KEYS)
    assert gate.needed
    for headers in ({}, with_key(b"wrong"), {b"authorization": b"Basic x"}):
        refusal = gate.refusal(headers, HERE)
        assert refusal.status == 401
        assert error_reply(refusal).headers.startswith(b"www-authenticate: Bearer")
        assert str(refusal) == "a valid API key is needed"
    assert gate.refusal(with_key(), HERE) is None
    assert rejected("key") == 3.0


def test_wrong_keys_are_limited_by_address_and_lock_out_nobody_who_is_known(metrics):
    gate = Gate(metrics, keys=lambda: KEYS)
    assert gate.refusal(with_key(), HERE) is None
    statuses = [gate.refusal(with_key(b"guess %d" % n), HERE).status for n in range(TRIES_AT_ONCE + 5)]
    assert statuses == [401] * TRIES_AT_ONCE + [429] * 5
    refusal = gate.refusal({b"x-api-key": b"x"}, HERE)
    assert (refusal.status, refusal.retry_after_seconds) == (429, 1)
    assert gate.refusal({}, HERE).status == 401, "no key is no guess"
    assert gate.refusal(with_key(), HERE) is None, "this key came from here before"
    assert gate.refusal(with_key(), ("10.0.0.9", 1)) is None, "another client"


def test_a_client_that_guessed_too_much_does_not_learn_that_one_was_right(metrics):
    gate = Gate(metrics, keys=lambda: KEYS)
    for number in range(TRIES_AT_ONCE):
        gate.refusal(with_key(b"guess %d" % number), HERE)
    assert gate.refusal(with_key(), HERE).status == 429


def test_a_rate_is_by_key_then_by_header_then_by_address(metrics, rejected):
    by_key = Gate(metrics, keys=lambda: KEYS, rates=Rates(0.1, 1), client_header="X-Client")
    assert by_key.refusal(with_key() | {b"x-client": b"a"}, HERE) is None
    refusal = by_key.refusal(with_key() | {b"x-client": b"b"}, ("10.0.0.1", 1))
    assert refusal.status == 429
    assert refusal.retry_after_seconds == 10
    by_header = Gate(metrics, rates=Rates(0.1, 1), client_header="X-Client")
    assert by_header.refusal({b"x-client": b"a"}, HERE) is None
    assert by_header.refusal({b"x-client": b"b"}, HERE) is None
    assert by_header.refusal({b"x-client": b"a"}, ("10.0.0.1", 1)).status == 429
    assert by_header.refusal({}, HERE) is None
    assert by_header.refusal({}, HERE).status == 429
    assert by_header.refusal({}, None) is None
    assert rejected("rate") == 3.0


def test_a_header_cannot_pass_for_a_key_or_an_address(metrics):
    gate = Gate(metrics, rates=Rates(0.1, 1), client_header="x-client")
    assert gate.refusal({}, HERE) is None
    assert gate.refusal({b"x-client": b"127.0.0.1"}, None) is None


def test_whoever_brings_no_valid_key_takes_nothing_from_a_bucket(metrics):
    gate = Gate(metrics, keys=lambda: KEYS, rates=Rates(0.1, 1))
    for _ in range(5):
        assert gate.refusal({}, HERE).status == 401
    assert gate.refusal(with_key(), HERE) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1", "127.0.0.2", False),
        ("2001:db8::1", "2001:db8::2:3:4", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_an_ipv6_client_is_its_network(one, other, same):
    assert (peer((one, 1)) == peer((other, 2))) is same


def test_after_a_slow_turn_requests_that_the_loop_reaches_too_late_are_refused(
    metrics, rejected, monkeypatch
):
    now = 100.0
    monkeypatch.setattr(admission, "clock", lambda: now)
    gate = Gate(metrics, max_wait_seconds=0.5)

    async def turn():
        nonlocal now
        gate.turned(0.1, now)
        assert not gate.needed
        gate.turned(0.2, now)
        assert gate.needed
        seen = []
        for _ in range(4):  # of one turn of the loop
            refusal = gate.refusal({}, HERE)
            seen.append(refusal and refusal.status)
            now += 0.2
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen.append(gate.refusal({}, HERE))  # of the next
        return seen

    assert asyncio.run(turn()) == [None, None, None, 503, None]
    assert rejected("wait") == 1.0
    gate.turned(0.0, now + 2.1)
    assert not gate.needed


def test_connections_are_limited_in_all_and_of_one_client(metrics, tmp_path):
    limits = ConnectionLimits("public", 3, 2, metrics)

    def enter(client):
        counter = limits.enter(client)
        if counter is not None:
            counter.add()
        return counter is None

    assert [enter(client) for client in ("a", "a", "a", "b", "c")] == [True, True, False, True, False]
    limits.leave("a")
    assert [enter(client) for client in ("c", "a")] == [True, False]
    for client in ("a", "b", "c"):
        limits.leave(client)
    series = read(tmp_path)
    assert series["understudy_connections"].series["public",][0] == 0.0
    assert series["understudy_rejected"].series["public", "connections"][0] == 2.0
    assert series["understudy_rejected"].series["public", "client_connections"][0] == 1.0
    assert limits._clients == {}
