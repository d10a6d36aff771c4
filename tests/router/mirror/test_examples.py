"""Examples are bounded, hold nothing that was redacted, and keep what differs most."""

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.mirror.examples import (
    MAX_REQUEST_VALUES,
    MAX_TEXT,
    MAX_VALUES,
    Example,
    encoded,
    obstacle,
    redacted,
)
from router.mirror.sampler import BYTES_PER_SECOND, DIFFERING_PER_SECOND, WAITING, Ring, Sampler
from router.rollout.compare import Comparison, compare
from router.rollout.values import Examples
from serving.wire.bf16 import rounded
from serving.wire.protocol import decode_request
from serving.wire.tensors import Signature, TensorSpec

RULES = Examples(keep=100, inputs=True)


def example(
    number, *, output="label", kind="value", distance=1.0, target="m/2", values=(1,), at=0
) -> Example:
    return Example(
        id=str(number), at=float(at), model="m", stage=1, target=target, output=output, kind=kind,
        distance=distance, datatype="INT64", shape=(len(values),), reference=values,
        candidate_datatype="INT64", candidate_shape=(len(values),), candidate=values,
    )  # fmt: skip


def taken(reference, candidate, request=None, rules=RULES):
    """The one example of these two sides of an output `y`."""
    sampler = Sampler("here", "m", "m/2")
    sides = (
        {"y": reference} if reference is not None else {},
        {"y": candidate} if candidate is not None else {},
    )
    (comparison,) = compare(*sides, {})
    assert sampler.wants(comparison, 0.0)
    sampler.follow(rules)
    sampler.take(comparison, (reference, candidate), request, stage=3, at=1.5, receipt="abc")
    (found,) = sampler.give(0.0, answered=0)
    return found


def test_an_example_shows_both_sides_and_the_request():
    request = {"x": np.array([[0.1, 2.0]], np.float32)}
    found = taken(np.array([0.25], np.float32), np.array([0.5], np.float32), request)
    assert (found.id, found.stage, found.at, found.kind, found.distance) == ("here-1", 3, 1.5, "value", 0.25)
    assert (found.datatype, found.shape, found.reference, found.candidate) == ("FP32", (1,), (0.25,), (0.5,))
    assert (found.verdict, found.receipt) == ("different", "abc")
    [sent] = orjson.loads(encoded(found))["request"]["inputs"]
    assert sent == {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.1, 2.0]}  # not 0.10000000149
    assert obstacle(found.request) == ""


@pytest.mark.parametrize(
    ("reference", "candidate", "shown"),
    [
        (np.array([np.nan, np.inf, -np.inf]), np.zeros(3), ("NaN", "Infinity", "-Infinity")),
        (rounded(np.float32([0.5, np.inf])), rounded(np.float32([1, 2])), (0.5, "Infinity")),
        (np.array(["a" * 500], object), np.array(["b"], object), ("a" * MAX_TEXT + "...",)),
        (np.array([b"\xff"], object), np.array([b"b"], object), ("\ufffd",)),
        (np.array([True]), np.array([False]), (True,)),
        (np.array(7, np.int8), np.array([7], np.int8), (7,)),
        (None, np.array([1]), ()),
    ],
)
def test_every_kind_of_value_can_be_shown(reference, candidate, shown):
    found = taken(reference, candidate)
    assert found.reference == shown
    assert orjson.loads(encoded(found))["reference"] == list(shown)


def test_long_tensors_are_cut_and_say_so():
    long = np.arange(MAX_REQUEST_VALUES + 1.0)
    found = taken(long, long + 1, {"x": long, "y": long[:2]})
    assert found.cut
    assert len(found.reference) == len(found.candidate) == MAX_VALUES
    first, second = found.request["inputs"]
    assert (len(first["data"]), first["parameters"]) == (MAX_VALUES, {"cut_from": MAX_REQUEST_VALUES + 1})
    assert second["data"] == [0.0, 1.0]
    assert "too long" in obstacle(found.request)


def test_what_is_not_finite_is_kept_in_a_form_that_can_be_sent_again():
    sent = np.array([np.nan, np.inf, -np.inf, 1.5])
    request = taken(sent, sent + 1, {"x": sent}).request
    assert obstacle(request) == ""
    signature = Signature((TensorSpec("x", "FP64", (-1,)),), ())
    got = decode_request(orjson.dumps(request), None, signature).inputs["x"]
    assert np.array_equal(got, sent, equal_nan=True)


def test_what_is_redacted_is_nowhere_in_an_example():
    secret = np.array([123456.0])
    request = {"x": secret, "other": np.array([1.0])}
    found = taken(secret, secret + 1, request, Examples(redact=("x", "y"), inputs=True))
    assert b"123456" not in encoded(found)
    assert b"123457" not in encoded(found)
    assert found.redacted
    assert found.request["inputs"][1]["data"] == [1.0]
    assert "redacted" in obstacle(found.request)
    kept = taken(secret, secret + 1, request, Examples(redact=("x",), inputs=True))
    assert kept.reference == (123456.0,)
    without = taken(secret, secret + 1, request, Examples(inputs=False))
    assert without.request is None
    assert "inputs: true" in obstacle(None)
    assert redacted(kept, Examples(redact=("y",))).reference == ()
    assert redacted(kept, Examples()).request is None
    assert redacted(kept, Examples(inputs=True, redact=("x",))) == kept


examples = st.builds(
    example,
    number=st.integers(0, 60),
    output=st.sampled_from("ab"),
    kind=st.sampled_from(["same", "value"]),
    distance=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    values=st.integers(0, 200).map(lambda size: tuple(range(size))),
)


@given(st.lists(examples, max_size=80), st.integers(1, 20), st.integers(1000, 8000))
def test_a_ring_is_bounded_and_knows_its_size(arriving, keep, max_bytes):
    ring = Ring(keep, max_bytes)
    for each in arriving:
        ring.add(each)
        entries = ring.in_order()
        assert len(ring) == len(entries) == len({each.id for each, _ in entries}) <= keep
        assert ring.bytes == sum(len(encoded(each)) for each, _ in entries) <= max_bytes
    shown = [(each.verdict, -each.distance) for each, _ in ring.in_order()]
    assert shown == sorted(shown)


def test_a_ring_keeps_the_farthest_of_the_older_and_the_latest():
    ring = Ring(10, 1 << 20)
    for number in range(100):
        ring.add(example(number, at=number, distance=100.0 if number in {3, 20} else 1.0))
    kept = {int(each.id) for each, _ in ring.in_order()}
    assert {3, 20} < kept
    assert set(range(96, 100)) < kept


def test_no_output_and_no_agreement_crowds_out_what_differs_elsewhere():
    ring = Ring(10, 1 << 20)
    ring.add(example("rare", output="b", kind="shape"))
    for number in range(100):
        ring.add(example(number, kind="same"))
        ring.add(example(1000 + number))
    kept = [each for each, _ in ring.in_order()]
    assert "rare" in {each.id for each in kept}
    assert 1 <= sum(each.verdict == "same" for each in kept) <= 3


def test_the_same_example_twice_is_one():
    ring = Ring(10, 1 << 20)
    ring.add(example(1))
    ring.add(example(1))
    assert len(ring) == 1
    ring.remove(["1"])
    assert (len(ring), ring.bytes) == (0, 0)


def test_what_differs_is_taken_at_a_bounded_rate_and_the_farthest_nevertheless():
    sampler = Sampler("here", "m", "m/2")
    differing = [Comparison("y", same=False, kind="value", distance=1.0)] * 1000
    assert sum(sampler.wants(each, 0.0) for each in differing) == DIFFERING_PER_SECOND
    assert sum(sampler.wants(each, 5.0) for each in differing) == DIFFERING_PER_SECOND
    farther = [Comparison("y", same=False, kind="value", distance=2.0 + number) for number in range(1000)]
    assert sampler.wants(farther[0], 5.0)
    assert sum(sampler.wants(each, 5.0) for each in farther) < DIFFERING_PER_SECOND  # and that is bounded too
    agreeing = [Comparison("y", same=True, kind="same", distance=0.0)] * 100
    assert sum(sampler.wants(each, 5.0) for each in agreeing) == 1
    other = Comparison("z", same=False, kind="value", distance=0.1)
    assert sampler.wants(other, 5.0)
    assert sampler.seen.total() == 1000 + 1000 + 1 + 1000 + 100 + 1


def test_what_waits_for_control_and_what_it_is_sent_are_bounded():
    sampler = Sampler("here", "m", "m/2")
    long = np.arange(float(MAX_VALUES)) + 1e15
    comparison = Comparison("y", same=False, kind="value", distance=1.0)
    for number in range(5 * WAITING):
        sampler.take(comparison, (long, long), None, stage=1, at=float(number))
    sent, batches, size = [], 0, 0
    for second in range(30):
        given = sampler.give(float(second), answered=second)
        assert sampler.give(float(second), answered=second) == given  # until control has answered
        size += sum(len(encoded(each)) for each in given)
        assert size <= (2 + second) * BYTES_PER_SECOND
        sent += given
        batches += bool(given)
    assert len(sent) == len({each.id for each in sent}) <= WAITING
    assert batches > 1
    assert sampler.give(100.0, answered=100) == []


def test_new_rules_hold_for_what_waits_too():
    sampler = Sampler("here", "m", "m/2")
    sampler.follow(RULES)
    differs = Comparison("y", same=False, kind="value", distance=1.0)
    one = np.array([1.0])

    def take():
        sampler.take(differs, (one, one), {"x": one}, stage=1, at=0.0)

    take()
    assert sampler.give(0.0, answered=0)[0].request is not None
    sampler.follow(Examples(inputs=False))
    assert sampler.give(0.0, answered=0)[0].request is None
    take()
    sampler.follow(Examples(redact=("y",)))
    assert sampler.give(1.0, answered=1)[0].reference == ()
    take()
    sampler.follow(Examples(keep=0))
    assert sampler.give(1.0, answered=1) == sampler.give(2.0, answered=2) == []
