"""Pairs for labels: kept by the request alone, bounded, told until control has them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from router.mirror.frame import RECORDED, Frame
from router.mirror.label_pairs import (
    MOST_GIVEN,
    MOST_WAITING,
    PER_SECOND,
    LabelPairs,
    id_of,
    single_value,
    wanted_outputs,
)
from router.mirror.mirrored import Mirrored
from router.rollout.parser import of_our_own, parse_one
from router.wire.pairs_report import PairsReport
from router.wire.report import Report, encoded
from serving.document import DocumentError

DOCUMENT = """
stable: a/1
canary: {model: b/1, weight: 0, mirror: 100}
outcomes: {truth: {output: label, within: 7d}, bought: {kind: binary, within: 1h}}
guards: {accuracy: {outcome: truth, margin: 1%}}
"""
ROLLOUT = parse_one("m", DOCUMENT, "test")
FRAME = Frame("m", 3, 0, b"", None, b"", None, target="a/1", drawn="stable", receipt=b"R" * 72)


def mirrored(reference=(1,), candidate=(1,), frame=FRAME, number=None):
    if number is not None:
        frame = replace(frame, receipt=b"%072d" % number)
    outputs = None if candidate is None else {"label": np.array(candidate)}
    sides = {"label": np.array(reference)} if reference is not None else {}
    return Mirrored(frame, ROLLOUT, sides, outputs, (), lambda: None, 0.0, 1000.0)


def pairs_of(*told, rollout=ROLLOUT):
    pairs = LabelPairs()
    pairs.follow(rollout)
    for each in told:
        pairs.publish(each)
    return pairs


def test_both_answers_to_a_request_are_kept_under_the_hash_of_its_receipt():
    pairs = pairs_of(mirrored([7], [[9]]))
    [pair] = pairs.give(0.0, 0)
    assert (pair.id, pair.output, pair.stage, pair.by) == (id_of(b"R" * 72).hex(), "label", 3, "a/1")
    assert (pair.reference, pair.candidate, pair.at) == (7, 9, 1000.0)
    assert (pairs.seen, pairs.left_out.total()) == (1, 0)


@pytest.mark.parametrize("candidate", [None, [1, 2], [], [float("nan")], [object]])
def test_a_candidate_without_one_answer_is_wrong_and_never_missing(candidate):
    told = mirrored(candidate=candidate)
    if candidate == [object]:
        told = replace(told, outputs={"other": np.array([1])})
    [pair] = pairs_of(told).give(0.0, 0)
    assert (pair.reference, pair.candidate) == (1, None)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (mirrored(frame=replace(FRAME, receipt=b"")), "no receipt"),
        (mirrored(frame=replace(FRAME, said=RECORDED)), "recorded"),
        (mirrored(frame=replace(FRAME, drawn="canary")), "failed over"),
        (mirrored(reference=None), "no output"),
        (mirrored(reference=[1, 2]), "not one value"),
    ],
)
def test_what_has_no_pair_is_counted_by_its_reason(told, reason):
    pairs = pairs_of(told)
    assert (pairs.give(0.0, 0), pairs.seen, pairs.left_out) == ((), 1, {reason: 1})


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (np.array(3), 3),
        (np.array([[2**60]]), 2**60),
        (np.array([True]), True),
        (np.array([0.1], "f4"), 0.1),
        (np.array([0.1], "f2"), 0.1),
        (np.array([np.inf]), None),
        (np.array(["benign"], object), "benign"),
        (np.array([b"benign"], object), "benign"),
        (np.array(["x" * 1001], object), None),
        (np.array([1, 2]), None),
        (None, None),
    ],
)
def test_values_are_as_labels_are_written(array, value):
    found = single_value(array)
    assert (found, type(found)) == (value, type(value))


def test_without_a_guard_on_a_label_nothing_is_kept():
    unguarded = parse_one("m", DOCUMENT.replace("guards", "#"), "test")
    pairs = pairs_of(mirrored(), rollout=unguarded)
    assert (pairs.wanted, pairs.give(0.0, 0), pairs.seen) == (False, (), 0)


def test_a_redacted_output_is_refused_and_never_leaves_a_sandbox():
    redacting = DOCUMENT + "record: {redact: [label]}"
    with pytest.raises(DocumentError, match="truth is the truth for 'label', which is redacted"):
        parse_one("m", redacting, "test")
    document = {
        "stable": "a/1", "canary": {"model": "b/1", "weight": 0, "mirror": 100},
        "outcomes": {"truth": {"output": "label", "within": "7d"}},
        "guards": {"accuracy": {"outcome": "truth", "margin": "1%"}}, "examples": {"redact": ["label"]},
    }  # fmt: skip
    assert wanted_outputs(of_our_own("m", document, "test")) == frozenset()
    pairs = pairs_of(mirrored())
    assert pairs.give(0.0, 0)
    pairs.follow(of_our_own("m", document, "test"))
    assert not pairs.wanted
    assert pairs.give(0.0, 0) == ()


def test_what_control_has_not_answered_is_told_again():
    pairs = pairs_of(mirrored(number=1))
    first = pairs.give(0.0, 0)
    pairs.publish(mirrored(number=2))
    assert pairs.give(1.0, 0) == first
    [second] = pairs.give(2.0, 1)
    assert second.id == id_of(b"%072d" % 2).hex()
    assert pairs.give(3.0, 2) == ()


def test_of_too_many_the_lowest_hashes_are_told_and_the_rest_is_counted():
    number = 2 * MOST_WAITING + 10
    pairs = pairs_of(*(mirrored(number=each) for each in range(number)))
    hashes = sorted(id_of(b"%072d" % each).hex() for each in range(number))
    told = [pair.id for pair in pairs.give(0.0, 0)]
    assert told == hashes[:MOST_GIVEN]
    assert len(pairs.give(1.0, 1)) == PER_SECOND
    waiting = MOST_WAITING - MOST_GIVEN - int(PER_SECOND)
    assert sum(len(pairs.give(100.0 * n, n)) for n in range(2, 20)) == waiting
    assert pairs.left_out == {"beyond the rate": number - MOST_WAITING}


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 3)), max_size=30))
def test_which_pairs_are_kept_does_not_depend_on_what_was_answered(answers):
    pairs = pairs_of(
        *(
            mirrored([reference], None if candidate is None else [candidate], number=n)
            for n, (reference, candidate) in enumerate(answers)
        )
    )
    assert {pair.id for pair in pairs.give(0.0, 0)} == {
        id_of(b"%072d" % n).hex() for n in range(len(answers))
    }


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_whatever_reports_are_lost_each_pair_is_told_until_one_is_answered(rounds):
    """In each round so many requests are compared, then control is told, and answers or does not."""
    pairs, told, exchanges, number = pairs_of(), set(), 0, 0
    for now, (requests, answered) in enumerate([*rounds, (0, True), (0, True)]):
        for _ in range(requests):
            pairs.publish(mirrored(number=number))
            number += 1
        given = pairs.give(float(now), exchanges)
        if answered:
            told |= {pair.id for pair in given}
            exchanges += 1
    assert told == {id_of(b"%072d" % each).hex() for each in range(number)}


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**62), 2**63),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
    )
)
def test_pairs_survive_the_wire(value):
    [pair] = pairs_of(mirrored()).give(0.0, 0)
    pair = replace(pair, reference=value)
    said = PairsReport(model="m", target="b/1", seen=3, left_out={"recorded": 2}, kept=(pair,))
    report = Report(instance="i", node="n", kind="sandbox", revision=1, wait=1, pairs=said)
    read = Report.model_validate_json(encoded(report))
    assert read == report
    assert type(read.pairs.kept[0].reference) is type(value)


@pytest.mark.parametrize(
    ("field", "value"), [("id", "0" * 31), ("stage", -1), ("reference", "x" * 1001), ("candidate", [1])]
)
def test_a_pair_that_cannot_be_is_refused(field, value):
    row = {
        "id": "0" * 32,
        "output": "label",
        "stage": 1,
        "by": "a/1",
        "reference": 1,
        "candidate": 1,
        "at": 1.0,
    }
    said = {"model": "m", "target": "b/1", "seen": 1}
    assert len(PairsReport.model_validate({**said, "kept": [row]}).kept) == 1
    with pytest.raises(ValidationError):
        PairsReport.model_validate({**said, "kept": [{**row, field: value}]})
    with pytest.raises(ValidationError):
        PairsReport.model_validate({**said, "kept": [row] * (MOST_GIVEN + 1)})
