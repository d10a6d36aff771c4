"""Which features a model has, and that a batch has the values of its rows one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drift.features import MOST_ELEMENTS, columns, names, probabilities, uncounted
from serving.wire.bf16 import rounded
from serving.wire.tensors import TensorSpec

ROWS = TensorSpec("x", "FP32", (-1, 3))


def found(spec, side, *requests, **more):
    return {
        each.name: list(each.values)
        for each in columns([spec], side, [{spec.name: one} for one in requests], **more)
    }


@pytest.mark.parametrize(
    ("shape", "called"),
    [
        ((-1,), ["x"]),
        ((-1, 1), ["x"]),
        ((1,), ["x"]),
        ((), ["x"]),
        ((-1, 3), ["x[0]", "x[1]", "x[2]"]),
        ((-1, 1, 2, 2), ["x[0,0]", "x[0,1]", "x[1,0]", "x[1,1]"]),
        ((2,), ["x[0]", "x[1]"]),
        ((-1, MOST_ELEMENTS + 1), ["x.mean", "x.std"]),
        ((-1, -1), []),
        (None, []),
    ],
)
def test_features_are_called_by_their_place(shape, called):
    spec = TensorSpec("x", "FP32", shape)
    assert names([spec]) == called
    assert uncounted([spec]) == (() if called else ("x",))
    if called:
        array = np.zeros([max(length, 1) for length in shape], np.float32)
        assert list(found(spec, "input", array)) == called


@given(st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=8), st.data())
def test_a_batch_has_the_rows_of_its_requests(rows, data):
    cut = data.draw(st.integers(0, len(rows)))
    whole = np.array(rows, np.float32)
    parts = [part for part in (whole[:cut], whole[cut:]) if len(part)]
    apart, together = found(ROWS, "input", *parts), found(ROWS, "input", whole)
    assert list(apart) == list(together) == ["x[0]", "x[1]", "x[2]"]
    for at, name in enumerate(apart):
        np.testing.assert_array_equal(apart[name], whole[:, at])
        np.testing.assert_array_equal(together[name], whole[:, at])


def test_probabilities_have_a_confidence_and_a_class():
    spec = TensorSpec("p", "FP32", (-1, 2))
    rows = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    assert found(spec, "output", rows, classes=["no", "yes"])["p.class"] == ["yes", "no"]
    assert found(spec, "output", rows)["p.class"] == ["1", "0"]
    assert found(spec, "output", rows)["p.confidence"] == [0.75, 0.5]
    assert list(found(spec, "input", rows)) == ["p[0]", "p[1]"], "an input is not an answer"
    assert list(found(spec, "output", rows * 2)) == ["p[0]", "p[1]"], "scores are no probabilities"
    broken = np.array([[np.nan, 0.75]], np.float32)
    known = found(spec, "output", broken, profiled={"p.confidence", "p.class"})
    assert known["p.class"] == [None], "what a profile has is counted, whatever came"
    assert np.isnan(known["p.confidence"]).all()


@pytest.mark.parametrize(
    "rows", [np.ones((2, 1)), np.empty((0, 2)), [[1.5, -0.5]], [[np.nan, 1.0]], [[0.5, 0.4]]]
)
def test_what_is_no_distribution(rows):
    assert not probabilities(np.array(rows))


def test_classes_and_text_are_categories():
    label = TensorSpec("label", "INT64", (-1,))
    assert found(label, "output", np.array([3, 1]))["label"] == ["3", "1"]
    assert found(label, "input", np.array([3, 1]))["label"] == [3.0, 1.0], "they may count something"
    text = TensorSpec("city", "BYTES", (-1, 1))
    assert found(text, "input", np.array([["Rome"], [""], [b"Oslo"]], object))["city"] == ["Rome", "", "Oslo"]


def test_what_is_not_there_is_missing():
    [city] = columns([TensorSpec("city", "BYTES", (-1, 1))], "input", [{}])
    assert list(city.values) == [None]
    [label] = columns([TensorSpec("label", "INT64", (-1,))], "output", [{}, {"label": np.array([7])}])
    assert list(label.values) == [None, "7"], "a class keeps its name beside an answer that is missing"
    x = found(ROWS, "input", rounded(np.ones((1, 3), np.float32)))
    assert x["x[0]"] == [1.0], "BF16 are numbers"
