"""A profile is written and read without loss, added by features, and refused with the place of the fault."""

import math

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drift.features import Column
from router.drift.profile import from_json, profile_of, to_json
from serving.errors import InvalidInput
from serving.wire.tensors import Signature, TensorSpec

numbers = st.lists(st.floats(), min_size=1, max_size=30).map(np.array)
texts = st.lists(st.none() | st.text(max_size=4), min_size=1, max_size=30)


SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 1)), TensorSpec("t", "INT8", None)), ())


def made(values, words):
    of_rows = [Column("x", "input", values), Column("c", "output", words)]
    return profile_of("m/1", "a" * 64, "rows", of_rows, ("t",), SIGNATURE, ("no", "yes"))


@given(numbers, texts)
def test_it_is_read_as_it_was_written(values, words):
    profile = made(values, words)
    assert from_json(to_json(profile), "p") == profile
    if not np.isfinite(values).any():
        assert profile.uncounted == ("t", "x"), "without a number there are no bins"


@given(numbers, texts, numbers, texts)
def test_rows_that_are_counted_later_add(values, words, later, more):
    profile = made(values, words)
    now = profile.empty.counted(
        [Column("x", "input", later), Column("c", "output", more), Column("new", "input", more)]
    )
    assert now.features.keys() == profile.features.keys()
    both = profile + now
    for name, feature in both.features.items():
        assert feature.histogram.rows == len(values if name == "x" else words) + len(
            later if name == "x" else more
        )
    assert from_json(to_json(both), "p") == both


def test_what_moved_most_is_first():
    rng = np.random.default_rng(1)
    profile = made(rng.normal(size=500), ["a", "b"] * 250)
    now = profile.empty.counted(
        [Column("x", "input", rng.normal(size=500)), Column("c", "output", ["a"] * 500)]
    )
    assert list(profile.distances(now)) == ["c", "x"]
    assert list(profile.distances(profile.empty.counted([Column("c", "output", ["a"])]))) == ["c"]


def test_others_do_not_add():
    profile = made(np.array([1.0, 2.0]), ["a"])
    with pytest.raises(InvalidInput, match="only one of the two profiles has the feature 'c'"):
        profile + profile_of("m/1", "", "", [Column("x", "input", np.array([1.0]))])
    with pytest.raises(InvalidInput, match="feature 'x': histograms over different bins"):
        profile + made(np.array([1.0, 3.0]), ["a"])
    with pytest.raises(InvalidInput, match="'x': categories now, and numbers in the profile"):
        profile.counted([Column("x", "input", ["a"])])
    with pytest.raises(InvalidInput, match="'c': numbers now, and categories in the profile"):
        profile.counted([Column("c", "output", np.array([1.0]))])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda file: file.update(format=2), "p: format: "),
        (lambda file: file.update(sha256="x"), "p: sha256: "),
        (lambda file: file.update(more=1), "p: more: "),
        (lambda file: file["inputs"][0].update(datatype="FLOAT"), "p: inputs.0.datatype: .*one of BOOL"),
        (lambda file: file["inputs"][0].update(shape=[-2]), "p: inputs.0.shape.*: "),
        (lambda file: file["features"]["x"]["counts"].pop(), "p: features.x: .*one more than edges"),
        (lambda file: file["features"]["x"].update(edges=[2.0, 1.0, 0.0]), "p: features.x: .*ascend"),
        (lambda file: file["features"]["x"]["counts"].__setitem__(0, -1), "p: features.x.counts.0: "),
        (lambda file: file["features"]["x"].update(least=None), "p: features.x: .*least and greatest"),
        (lambda file: file["features"]["x"].update(mean="7"), "p: features.x.mean: "),
        (lambda file: file["features"]["c"].update(kind="word"), "p: features.c: "),
        (lambda file: file["features"]["c"]["values"].update(a=0.5), "p: features.c.values.a: "),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_its_place(change, told):
    file = orjson.loads(to_json(made(np.array([1.0, 2.0, 3.0]), ["a", "b"])))
    file["features"]["x"].update(edges=[1.0, 2.0, 3.0], counts=[0, 1, 2, 0])
    from_json(orjson.dumps(file), "p")
    change(file)
    with pytest.raises(InvalidInput, match=f"{told}.*understudy profile"):
        from_json(orjson.dumps(file), "p")


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"format": 1}'])
def test_a_file_that_is_none_is_refused(text):
    with pytest.raises(InvalidInput, match=r"^p: "):
        from_json(text, "p")


def test_infinities_are_counted_and_no_moment():
    profile = made(np.array([1.0, math.inf, -math.inf]), ["a"])
    histogram = profile.features["x"].histogram
    assert (histogram.counts, histogram.moments.number, histogram.greatest) == ((1, 1, 1), 1, 1.0)
