"""Snapshots travel without loss, whole or as differences, and each document is read once."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.rollout.parser import parse_one
from router.rollout.snapshot import ServedRollout, Snapshot
from router.rollout.values import Target
from router.wire.snapshot import Received, from_wire, to_wire

MODELS = ["a", "b", "c"]


def served(model: str, timeout: int, stage: int, weight: float) -> ServedRollout:
    document = f"{{stable: digits/1, canary: {{model: digits/2, weight: 5}}, timeout: {timeout}s}}"
    rollout = parse_one(model, document, "test")
    return ServedRollout(
        rollout, stage, rollout.stable, Target("digits/2"), weight, draw=stage, used=2 * weight,
        digests={"digits/1": "a" * 64},
    )  # fmt: skip


VALUES = st.tuples(st.integers(1, 2), st.integers(1, 2), st.sampled_from([0.0, 12.5]))
STATES = st.dictionaries(st.sampled_from(MODELS), VALUES)


def snapshot(revision: int, state: dict[str, tuple[int, int, float]]) -> Snapshot:
    rollouts = {model: served(model, *values) for model, values in state.items()}
    return Snapshot(revision, rollouts, epoch=7, made=0.1 + revision)


def sent(wire):
    return orjson.loads(orjson.dumps(wire))


def take(received: Received, wire) -> Snapshot:
    reading = received.read(sent(wire))
    for _ in reading.rollouts():
        pass
    received.take(reading)
    return received.snapshot


@given(st.lists(STATES, min_size=1, max_size=4), st.data())
def test_a_difference_applied_to_what_it_rests_on_is_the_whole(states, data):
    received, base = Received(), None
    for revision, state in enumerate(states, 1):
        now = snapshot(revision, state)
        whole = base is None or data.draw(st.booleans())
        assert take(received, to_wire(now, None if whole else base)) == now
        assert from_wire(orjson.loads(received.encoded())) == now, "on disk too"
        base = now


@given(STATES, STATES)
def test_a_difference_tells_what_changed_and_nothing_else(before, after):
    wire = to_wire(snapshot(2, after), snapshot(1, before))
    assert wire["rollouts"].keys() == {m for m, values in after.items() if before.get(m) != values}
    assert set(wire["gone"]) == before.keys() - after.keys()


@given(STATES, STATES, st.booleans())
def test_what_is_sent_again_stays_the_same_value(before, after, whole):
    received, base = Received(), snapshot(1, before)
    had = take(received, to_wire(base)).rollouts
    now = take(received, to_wire(snapshot(2, after), None if whole else base)).rollouts
    for model, values in after.items():
        assert (now[model] is had.get(model)) == (before.get(model) == values)


def test_a_difference_from_another_snapshot_changes_nothing():
    received = Received()
    take(received, to_wire(snapshot(1, {"a": (1, 1, 0.0)})))
    wire = to_wire(snapshot(3, {}), snapshot(2, {"a": (1, 1, 0.0)}))
    with pytest.raises(ValueError, match="a difference from revision 2, not from 1"):
        received.read(wire)
    assert received.snapshot.revision == 1


def test_the_same_of_another_epoch_is_news_and_is_kept():
    received = Received()
    before = snapshot(3, {"a": (1, 1, 0.0)})
    take(received, to_wire(before))
    after = replace(before, epoch=8)
    reading = received.read(sent(to_wire(after)))
    assert list(reading.rollouts()) == ["a"]
    assert received.take(reading)
    assert from_wire(orjson.loads(received.encoded())) == after
    assert not received.take(reading)
