"""Snapshots travel without loss, whole or as differences, and each document is read once."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.rollout.parser import parse_one
from router.rollout.snapshot import Placed, ServedRollout, Snapshot, Waves
from router.rollout.values import Shadow, Target
from router.wire.snapshot import NO_STAGE, Received, from_wire, to_wire

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


@pytest.fixture(scope="module")
def some_nodes():
    """A rollout whose canary stands on one of two nodes, and one of whose shadows does."""
    document = "{stable: d/1, canary: {model: d/2, weight: 5, mirror: 9}, shadows: [d/3, d/4]}"
    rollout = parse_one("d", document, "test")
    placed = {"d/2": Placed(("n1",), 2), "d/3": Placed(("n2",), 2)}
    return ServedRollout(
        rollout, 7, rollout.stable, Target("d/2"), 5.0, 9.0, rollout.shadows, top_up=2.0, placed=placed
    )


def test_who_stands_on_some_nodes_travels_with_the_rest(some_nodes):
    now = Snapshot(3, {"d": some_nodes})
    assert from_wire(sent(to_wire(now))) == now


def test_a_node_has_those_that_stand_there_and_draws_what_makes_their_share_of_all(some_nodes):
    here, there = some_nodes.at("n1"), some_nodes.at("n2")
    assert (here.canary, here.weight, here.mirror, here.top_up) == (Target("d/2"), 10.0, 9.0, 2.0)
    assert (here.shadows, here.elsewhere) == ((Shadow(Target("d/4")),), None)
    assert (there.canary, there.mirror, there.top_up) == (None, 0.0, 0.0)
    assert (there.shadows, there.elsewhere) == (some_nodes.shadows, Target("d/2"))
    assert there.weight == here.weight, "their counts, though there are none, can be added"
    assert Snapshot(1, {"d": some_nodes}).at("n2").rollouts == {"d": there}


def test_a_release_that_knows_of_no_placing_serves_stable_and_counts_in_no_stage(some_nodes):
    wire = sent(to_wire(Snapshot(3, {"d": some_nodes})))
    del wire["rollouts"]["d"]["placed"]
    found = from_wire(wire).rollouts["d"]
    assert (found.canary, found.mirror, found.top_up, found.stage) == (None, 0.0, 0.0, NO_STAGE)
    assert found.shadows == (Shadow(Target("d/4")),)


def test_how_far_waves_have_come_travels_too_and_an_older_release_serves_stable():
    rollout = parse_one("d", "{stable: d/1, canary: {model: d/2, steps: [setWeight: 5]}}", "test")
    waves = Waves("us", ("eu",), last=True)
    warm = (Target("d/2"), Target("d/0"))
    served = ServedRollout(rollout, 7, rollout.stable, Target("d/2"), 5.0, warm=warm, waves=waves)
    wire = sent(to_wire(Snapshot(3, {"d": served})))
    assert from_wire(wire).rollouts["d"] == served
    del wire["rollouts"]["d"]["placed"]
    old = from_wire(wire).rollouts["d"]
    assert (old.stable, old.canary, old.stage) == (Target("d/1"), None, NO_STAGE)


@given(
    st.sampled_from(["n1", "n2", "n3"]), st.sampled_from(["eu", "us", "ap", ""]), st.booleans(), st.booleans()
)
def test_who_is_to_be_where_is_what_a_node_is_served(some_nodes, node, label, last, in_waves):
    waves = Waves("us", ("eu",), last=last) if in_waves else None
    served = replace(some_nodes, waves=waves, warm=(Target("d/2"), Target("d/0")))
    if in_waves:
        served = replace(served, placed={"d/3": Placed(("n2",), 2)})
    wanted = [each for each in served.roles() if served.wants(*each, node, label)]
    there = served.at(node, label).roles()
    assert wanted == [each for each in served.roles() if each in there]
