"""Figures beside the verdict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInput
from serving.wire.tensors import Signature, TensorSpec
from understudy.offline.answers import Reading, reading, truth
from understudy.offline.data.columns import Columns
from understudy.offline.figures import Cell, accuracy, confusion, deviation, speed

NOWHERE = Columns("a.csv", {})


def test_the_median_ratio_of_pairs_lies_within_its_interval_and_that_covers_the_true_one():
    from scipy import stats

    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        request, own, its = rng.lognormal(0, [[0.8], [0.2], [0.2]], (3, 300))
        found = speed(request * its, 1.5 * request * own)
        assert found.least <= found.ratio <= found.most
        covered += found.least <= 1.5 <= found.most
    assert covered >= stats.binom.ppf(0.001, 200, 0.95)


def test_without_pairs_there_is_no_speed():
    assert speed(np.zeros(0), np.zeros(0)) is None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_accuracy_counts_each_side_and_what_only_one_gets_right(right):
    found = accuracy(
        "label", *([int(one) for one in side] for side in zip(*right, strict=True)), [1] * len(right)
    )
    base, candidate = (sum(side) for side in zip(*right, strict=True))
    assert (found.base.events, found.candidate.events) == (base, candidate)
    assert found.only_candidate - found.only_base == candidate - base
    assert -1.0 <= found.least <= found.difference + 1e-9
    assert found.difference - 1e-9 <= found.most <= 1.0


def test_the_better_one_has_the_greater_e_value():
    found = accuracy("label", [0] * 40 + [1] * 60, [1] * 100, [1] * 100)
    assert found.log_better > np.log(1000) > 0 > found.log_worse


def test_deviations_of_numbers_are_paired():
    found = deviation("y", [1.0, 2.0, None], [1.5, 2.0, 3.0], [1.0, 1.0, 1.0])
    assert (found.rows, found.base, found.candidate, found.difference) == (2, 0.5, 0.75, 0.25)
    assert np.isnan(deviation("y", [None], [1.0], [1.0]).base)


def test_a_confusion_has_what_differs_most_first():
    assert confusion([1, 1, 1, 2, None], [3, 3, 1, None, 4]) == (Cell("1", "3", 2), Cell("2", "no answer", 1))


OUTPUTS = {
    "label": np.array([3]), "scores": np.array([[0.1, 0.9]], "f4"), "value": np.array([[1.5]], "f4"),
    "name": np.array(["a"], object),
}  # fmt: skip
SPECS = {
    "label": TensorSpec("label", "INT64", (-1,)), "scores": TensorSpec("scores", "FP32", (-1, 2)),
    "value": TensorSpec("value", "FP32", (-1, 1)), "name": TensorSpec("name", "BYTES", (-1,)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("names", "kind", "value"),
    [
        (["scores", "label"], "class", 3), (["scores", "name"], "class", "a"),
        (["value", "scores"], "scores", 1), (["value"], "number", 1.5),
    ],
)  # fmt: skip
def test_the_value_of_a_model_is_a_class_scores_or_a_number(names, kind, value):
    read = reading(Signature((), tuple(SPECS[name] for name in names)), (), OUTPUTS)
    assert (read.kind, read.of(OUTPUTS), read.of(None)) == (kind, value, None)


def test_several_rows_have_no_one_value():
    assert reading(Signature((), (SPECS["label"],)), (), {"label": np.array([1, 2])}) is None


@pytest.mark.parametrize(
    ("kind", "labels", "like", "found"),
    [
        ("class", ["7", 7.0, "b"], 1, [7, 7, 1]), ("class", [1, "x"], "a", ["1", "x"]),
        ("class", [1, "0"], True, [True, False]), ("number", ["1.5", 2], 0.5, [1.5, 2.0]),
    ],
)  # fmt: skip
def test_labels_take_the_form_of_values(kind, labels, like, found):
    assert truth(Reading("y", kind, ("a", "b")), labels, like, NOWHERE) == found


@pytest.mark.parametrize(("kind", "label"), [("class", "many"), ("class", 1.5), ("number", "much")])
def test_a_label_that_is_none_is_told_by_its_row(kind, label):
    with pytest.raises(InvalidInput, match=r"a\.csv: row 2: label .* choose the column by --labels"):
        truth(Reading("y", kind), [1, label], 1, NOWHERE)
