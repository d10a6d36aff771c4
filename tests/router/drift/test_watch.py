"""A watch counts every answer once, in its slice of time, and tells it until control has it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drift import watch as watch_module
from router.drift.features import columns
from router.drift.histograms import Numbers
from router.drift.profile import profile_of, to_json
from router.drift.references import Reference, References
from router.drift.watch import KEPT_SLICES, SLICE_SECONDS, TOGETHER, Seen, Watch, watched
from serving.errors import InvalidInput
from serving.wire.tensors import Signature, TensorSpec

SIGNATURE = Signature(
    (TensorSpec("x", "FP32", (-1, 2)), TensorSpec("site", "BYTES", (-1, 1))),
    (TensorSpec("p", "FP32", (-1, 2)),),
)
BEGIN = 1_000_000 * SLICE_SECONDS


def answer(rows=1, fraction=1.0, x=0.5, site=b"north"):
    p = np.tile(np.array([[0.25, 0.75]], "f4"), (rows, 1))
    inputs = {"x": np.full((rows, 2), x, "f4"), "site": np.full((rows, 1), site, object)}
    return Seen(inputs, {"p": p}, fraction)


def reference():
    rng = np.random.default_rng(1)
    inputs = {
        "x": rng.random((100, 2)).astype("f4"),
        "site": np.resize(np.array([b"north", b"south"], object), (100, 1)),
    }
    outputs = {"p": np.tile(np.array([[0.25, 0.75]], "f4"), (100, 1))}
    of_rows = [
        *columns(SIGNATURE.inputs, "input", [inputs]),
        *columns(SIGNATURE.outputs, "output", [outputs], ("bad", "good")),
    ]
    profile = profile_of("m/1", "", "100 rows", of_rows, (), SIGNATURE, ("bad", "good"))
    return Reference(profile, "ab")


REFERENCE = reference()


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3 * SLICE_SECONDS)), max_size=30))
def test_each_answer_is_in_the_slice_of_its_time(answers):
    watch = Watch(REFERENCE)
    for rows, after in answers:
        watch.see(answer(rows), BEGIN + after)
        watch.count(BEGIN + after)
    slices = watch.give(0, 0.0)
    assert sum(each.answers for each in slices) == len(answers)
    for each in slices:
        of_it = [
            rows
            for rows, after in answers
            if after // SLICE_SECONDS == (each.begins - BEGIN) // SLICE_SECONDS
        ]
        assert (each.answers, each.left_out, each.of) == (len(of_it), 0, len(of_it))
        assert {feature.histogram.rows for feature in each.counted.features.values()} == {sum(of_it)}


def test_it_tells_the_same_until_control_answers_and_then_what_changed():
    watch = Watch(REFERENCE)
    watch.see(answer(), BEGIN)
    watch.count(BEGIN)
    [first] = watch.give(0, 10.0)
    assert watch.give(0, 99.0) == (first,), "it is not known whether control has it"
    assert watch.give(1, 100.0) == ()
    watch.see(answer(), BEGIN + SLICE_SECONDS)
    watch.count(BEGIN + SLICE_SECONDS)
    assert watch.give(2, 101.0) == (), "not so soon again"
    [second] = watch.give(3, 103.0)
    assert (second.begins, second.answers) == (BEGIN + SLICE_SECONDS, 1)
    watch.see(answer(), BEGIN + SLICE_SECONDS)
    watch.count(BEGIN + SLICE_SECONDS)
    watch.hurry()
    [last] = watch.give(3, 103.0)
    assert last.answers == 2, "a process that ends tells all of it"


def test_an_hour_is_kept_for_a_control_that_is_away():
    watch = Watch(REFERENCE)
    for number in range(KEPT_SLICES + 5):
        watch.see(answer(), BEGIN + number * SLICE_SECONDS)
        watch.count(BEGIN + number * SLICE_SECONDS)
    assert [each.begins for each in watch.give(0, 0.0)] == [
        BEGIN + number * SLICE_SECONDS for number in range(5, KEPT_SLICES + 5)
    ]


def test_many_are_counted_together_and_what_is_too_much_for_a_second_is_left_out(monkeypatch):
    monkeypatch.setattr(watch_module, "MOST_VALUES", 5 * TOGETHER)
    watch = Watch(REFERENCE)
    for _ in range(TOGETHER + 7):
        watch.see(answer(fraction=0.5), BEGIN)
    watch.see(answer(), BEGIN + 1)
    watch.count(BEGIN + 1)
    [seen] = watch.give(0, 0.0)
    assert (seen.answers, seen.left_out) == (TOGETHER + 8, 7)
    assert seen.of == 2 * (TOGETHER + 7) + 1
    assert seen.counted.features["x[0]"].histogram.rows == TOGETHER + 1


def test_what_is_kept_back_is_not_missing_and_a_new_category_is_outside():
    watch = Watch(REFERENCE)
    whole = answer(4, site=b"east")
    watch.see(Seen({"site": whole.inputs["site"]}, whole.outputs, 1.0), BEGIN)
    watch.count(BEGIN)
    [seen] = watch.give(0, 0.0)
    found = REFERENCE.profile.distances(seen.counted)
    assert next(iter(found)) == "site"
    assert found["site"].outside == 1.0
    assert "x[0]" not in found


def test_answers_of_another_shape_are_left_out_and_it_says_so():
    watch = Watch(REFERENCE)
    watch.see(Seen({"x": np.zeros((1, 3), "f4")}, {}, 1.0), BEGIN)
    watch.count(BEGIN)
    [seen] = watch.give(0, 0.0)
    assert (seen.answers, seen.left_out) == (1, 1)
    assert watch.problem.startswith("answers do not fit the profile: ")
    watch.see(answer(), BEGIN)
    watch.count(BEGIN)
    assert watch.problem == ""


def test_a_profile_of_an_older_version_says_that_it_is_to_be_written_anew():
    watch = Watch(Reference(replace(REFERENCE.profile, signature=Signature((), ())), "ab"))
    watch.see(answer(), BEGIN)
    watch.count(BEGIN)
    [seen] = watch.give(0, 0.0)
    assert (seen.answers, seen.left_out) == (1, 1)
    assert "write it anew with `understudy profile`" in watch.problem


def test_of_too_many_features_those_of_answers_are_watched():
    spec = TensorSpec("x", "FP32", (-1, 1024))
    wide = columns([spec], "input", [{"x": np.arange(2048.0).reshape(2, 1024)}])
    answers = columns(SIGNATURE.outputs, "output", [{"p": np.array([[0.25, 0.75]])}])
    profile = watched(profile_of("m/1", "", "", [*wide, *answers]))
    assert len(profile.features) == 1000
    assert list(profile.features)[:4] == ["p[0]", "p[1]", "p.confidence", "p.class"]
    assert isinstance(profile.features["x[0]"].histogram, Numbers)


def test_a_file_is_read_once_for_as_long_as_it_stays(tmp_path):
    path, references = tmp_path / "profile.json", References()
    path.write_bytes(to_json(REFERENCE.profile))
    first = references.read(path)
    assert references.read(path) is first
    assert first.profile == REFERENCE.profile
    path.with_suffix(".new").write_bytes(to_json(REFERENCE.profile + REFERENCE.profile))
    path.with_suffix(".new").replace(path)
    assert references.read(path).digest != first.digest
    with pytest.raises(InvalidInput, match=r"none\.json: .*understudy profile"):
        references.read(tmp_path / "none.json")
