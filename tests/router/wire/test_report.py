"""Reports survive the wire, and what a side does not know passes."""

from dataclasses import fields

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from router.counting.key_units import Unit
from router.counting.latency import BUCKETS
from router.counting.pairs import NO_PAIRS
from router.counting.shifts import Shift
from router.counting.stage_counts import FAILURE_KINDS, RoleCounts, Second, Span, SpanTimes, StageCounts
from router.mirror.examples import Example
from router.wire.drift_report import DriftReport, SliceReport, TallyReport
from router.wire.examples_report import ExamplesReport
from router.wire.node_use import Answered, MachineUse, NodeUse
from router.wire.report import Answer, Report, ServedReport, StageReport, TargetReport, encoded
from serving.errors import InvalidInput

number = st.integers(0, 2**53)
small = st.integers(0, 1000)
keys = st.lists(st.integers(1, 2**64 - 1), max_size=3).map(tuple)
text = st.text(max_size=20)
pairs = st.dictionaries(text, st.tuples(small, st.just(0)), max_size=2)
histograms = st.dictionaries(st.integers(0, BUCKETS - 1), small, max_size=2)
shifts = st.dictionaries(
    text, st.builds(Shift, number, st.dictionaries(text, st.tuples(small, small), max_size=2)), max_size=2
)
rows = {
    "spans": st.builds(Span, small, st.just(0), small, st.just(0)),
    "seconds": st.builds(Second, *([small] * len(Second._fields))),
    "times": st.builds(SpanTimes, histograms, histograms),
    "compared": pairs,
}
role = st.builds(RoleCounts, number, number, st.just(0), st.just(0), st.just(0))


@st.composite
def stage_counts(draw):
    canary, stable = draw(keys), draw(keys)
    return StageCounts(
        draw(st.floats(0, 1)),
        draw(role),
        draw(role),
        agreement=draw(pairs),
        open_span=draw(small),
        error_keys=(canary, stable),
        error_seconds=(tuple(draw(small) for _ in canary), tuple(draw(small) for _ in stable)),
        repeated=draw(number),
        settled_until=draw(st.floats(0, 2**53)),
        pairs=NO_PAIRS,
        units=tuple(draw(st.lists(st.builds(Unit, text, st.integers(1, 9), small, st.just(3), st.just(1))))),
        keyless=draw(pairs),
        farthest=draw(st.dictionaries(text, st.floats(0, 1e300), max_size=2)),
        beyond=draw(st.floats(0, 1)),
        again=draw(number),
        shifts=draw(shifts),
        failed_by=draw(st.dictionaries(st.sampled_from(FAILURE_KINDS), small)),
        **{name: draw(st.dictionaries(small, each, max_size=2)) for name, each in rows.items()},
    )


example = st.builds(
    Example, id=text, at=st.floats(0, 2**39), model=text, stage=small, target=text, output=text,
    kind=st.sampled_from(["same", "value"]), distance=st.floats(0, 1e9), datatype=text, shape=keys,
    reference=keys, candidate_datatype=text, candidate_shape=keys, candidate=keys, cut=st.booleans(),
    redacted=st.booleans(), request=st.none(), receipt=st.text("ab", max_size=72),
)  # fmt: skip
answered = st.builds(
    Answered, model=text, target=text, role=text, requests=number, failures=number, latency=st.lists(small)
)
machine = st.builds(
    MachineUse, cpus=st.integers(1, 9), busy_seconds=st.floats(0, 1e9), memory_bytes=number,
    available_bytes=number,
)  # fmt: skip
tally = st.builds(
    TallyReport, counts=st.lists(small).map(tuple), missing=small, finite=small, mean=st.floats(-1e9, 1e9),
    squares=st.floats(0, 1e9), least=st.none() | st.floats(-1e9, 1e9), greatest=st.none(),
)  # fmt: skip
seen = st.builds(
    SliceReport, begins=number, answers=small, left_out=small, of=st.floats(0, 1e9),
    features=st.dictionaries(text, tally, max_size=2),
)  # fmt: skip
drift = st.builds(
    DriftReport, model=text, target=text, profile=text, problem=text,
    slices=st.lists(seen, max_size=2).map(tuple),
)  # fmt: skip
reports = st.builds(
    Report,
    wire=st.integers(1, 9), instance=text, node=text, kind=text, revision=number, wait=st.floats(0, 30),
    number=number, base=number, settled_until=st.floats(0, 2**53), draining=st.booleans(),
    targets=st.lists(st.builds(TargetReport, model=text, target=text, role=text, ready=st.booleans())),
    served=st.lists(st.builds(ServedReport, model=text, target=text)),
    counts=st.lists(st.builds(StageReport, model=text, stage=number, counts=stage_counts()), max_size=2),
    candidate=st.none() | text, live=st.booleans(),
    use=st.none()
    | st.builds(
        NodeUse, answered=st.lists(answered, max_size=2), compared=st.just([]), processes=st.just([]),
        machine=machine,
    ),
    receipt_keys=st.none() | text,
    drift=st.lists(drift, max_size=2).map(tuple),
    examples=st.none()
    | st.builds(ExamplesReport, model=text, seen=number, kept=st.lists(example, max_size=2)),
)  # fmt: skip


@given(reports)
def test_a_report_survives_the_wire(report):
    assert Report.model_validate(orjson.loads(encoded(report))) == report


def newer(value, columns):
    """Something in every mapping, and at the end of every row, that is not known here."""
    if isinstance(value, dict):
        return {"ofANewerVersion": {"x": [1]}} | {
            key: [[*row, 7] for row in each] if key in columns else newer(each, columns)
            for key, each in value.items()
        }
    return [newer(each, columns) for each in value] if isinstance(value, list) else value


NAMED = ("agreement", "keyless", "farthest", "outputs", "problems", "parameters")
"""Mappings of names, of which every one is known."""


@given(reports)
def test_what_a_newer_version_adds_is_left_out(report):
    wire = orjson.loads(encoded(report))
    said = newer({**wire, "counts": [], "examples": None, "drift": []}, ())
    said["counts"] = [
        {**row, "ofANewerVersion": 1, "counts": newer_counts(row["counts"])} for row in wire["counts"]
    ]
    said["examples"] = wire["examples"]
    said["drift"] = [{**row, "ofANewerVersion": 1} for row in wire["drift"]]
    del said["problems"]
    assert Report.model_validate(said) == report


def newer_counts(counts):
    rows_of = ("spans", "seconds", "seconds_again", "times", "units")
    return {
        **{key: [[*row, 7] for row in each] if key in rows_of else each for key, each in counts.items()},
        "ofANewerVersion": [1],
    }


def test_a_role_and_a_kind_that_are_not_known_are_nothing_to_refuse():
    row = {"model": "m", "target": "m/1", "role": "recorder", "ready": True}
    said = {"instance": "i", "node": "n", "kind": "recorder", "revision": 1, "wait": 0, "targets": [row]}
    assert Report.model_validate(said).targets[0].role == "recorder"


def test_a_value_that_cannot_be_is_refused_with_its_place():
    said = {"instance": "i", "node": "n", "kind": "worker", "revision": 1, "wait": 0}
    with pytest.raises(ValidationError, match="revision"):
        Report.model_validate({**said, "revision": -1})
    row = {"model": "m", "stage": 1, "counts": {"weight": 2, "stable": {}, "canary": {}, "agreement": {}}}
    with pytest.raises(InvalidInput, match=r"counts\.weight"):
        Report.model_validate({**said, "counts": [row]})


def test_every_count_is_on_the_wire():
    """Whoever adds a count to a stage adds it here: the strategy above and `to_json` must know it."""
    counts = StageCounts(0.5)
    row = orjson.loads(encoded(StageReport(model="m", stage=1, counts=counts)))["counts"]
    assert row.keys() == {each.name for each in fields(StageCounts)} | {"seconds_again"}


def test_an_answer_that_cannot_be_read_repeats_no_secret():
    row = {"id": 1, "secret": "5ecret", "made": 1.0}
    with pytest.raises(ValidationError, match=r"receipt_keys\.0\.secret") as refused:
        Answer.model_validate({"revision": 1, "snapshot": None, "receipt_keys": [row]})
    assert "5ecret" not in str(refused.value)


def test_an_answer_of_an_older_control_says_nothing_of_the_wire():
    assert Answer.model_validate({"revision": 3, "snapshot": None}) == Answer(revision=3, snapshot=None)
