"""Labels against two answers: one rule for both, and what cannot be scored is never the candidate's fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.outcomes.paired_labels import PairedLabels, accuracy_bets
from control.outcomes.label_scores import LabelSums, Side, gain, summed
from router.rollout.values import Outcome

EQUAL = Outcome("truth", "label", 60.0, output="label")
CLOSE = Outcome("truth", "label", 60.0, output="label", tolerance=0.5)
LOSS = Outcome("truth", "label", 60.0, output="label", range=(0.0, 10.0))
SPECIES = ("setosa", "versicolor", "virginica")

answers = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(-5, 5), st.sampled_from(SPECIES))
labels = st.one_of(st.booleans(), st.integers(-5, 5).map(float), st.sampled_from(SPECIES))


def scored(outcome, label, reference, candidate, names=()):
    return gain(outcome, label, Side.of(reference, names), Side.of(candidate, names))


@pytest.mark.parametrize(
    ("label", "reference", "candidate", "expected"),
    [
        (7.0, 7, 7, 0.0),
        (7.0, 7, 9, -1.0),
        (7.0, 9, 7, 1.0),
        (7.0, 9, 8, 0.0),
        (7.0, 7, None, -1.0),  # the candidate failed
        (7.0, None, None, 0.0),
        (1.0, True, False, -1.0),
        (0.1, 0.1, 0.2, -1.0),
        ("7", "7", "9", -1.0),
        ("7", 7, 7, None),  # text is text, and a number is a number
        (7.0, "7", "7", None),
        ("7", None, 7, None),
        (7.0, 7, "7", -1.0),  # a candidate of another kind is wrong
        (2.0**53 + 2, 2**53 + 1, 2**53 + 2, 1.0),  # whole numbers are compared exactly
    ],
)
def test_equal_is_right(label, reference, candidate, expected):
    assert scored(EQUAL, label, reference, candidate) == expected


def test_a_label_may_be_the_name_of_a_class():
    assert scored(EQUAL, "versicolor", 1, 2, SPECIES) == -1.0
    assert scored(EQUAL, 1.0, 1, 2, SPECIES) == -1.0
    assert scored(EQUAL, "versicolor", 1, 7, SPECIES) == -1.0  # no such class
    assert scored(EQUAL, "rose", 1, 2, SPECIES) == 0.0
    assert scored(EQUAL, "versicolor", True, 1, SPECIES) is None


@pytest.mark.parametrize(
    ("outcome", "label", "reference", "candidate", "expected"),
    [
        (CLOSE, 3.0, 3.5, 3.6, -1.0),
        (CLOSE, 3.0, 2.0, 3, 1.0),
        (CLOSE, 3.0, 3, None, -1.0),
        (CLOSE, 3.0, "three", 3, None),
        (LOSS, 3.0, 4.0, 6.0, -0.2),
        (LOSS, 3.0, 3.0, None, -1.0),
        (LOSS, 3.0, 99.0, 3.0, 1.0),  # a loss is 1 at most
        (LOSS, 3.0, None, None, 0.0),
    ],
)
def test_numbers_may_be_close_or_have_a_loss(outcome, label, reference, candidate, expected):
    assert scored(outcome, label, reference, candidate) == pytest.approx(expected)


@given(st.sampled_from([EQUAL, CLOSE, LOSS]), labels, answers, answers)
def test_sides_are_scored_alike(outcome, label, one, other):
    found, turned = scored(outcome, label, one, other, SPECIES), scored(outcome, label, other, one, SPECIES)
    if found is not None:
        assert -1.0 <= found <= 1.0
        assert turned is None or turned == -found
    assert scored(outcome, label, one, one, SPECIES) in {0.0, None}


@given(labels, answers.filter(lambda answer: answer is not None), answers, answers)
def test_whether_a_pair_is_scored_does_not_depend_on_the_candidate(label, reference, one, other):
    first, second = (scored(EQUAL, label, reference, each, SPECIES) for each in (one, other))
    assert (first is None) == (second is None)


@given(answers, st.sampled_from([(), SPECIES]))
def test_an_answer_is_kept_as_it_was(value, names):
    side = Side.of(value, names)
    read = Side.from_json(side.to_json())
    assert (read, type(read.value)) == (side, type(side.value))


def test_right_and_wrong_are_three_counts_and_losses_are_bets():
    sums = summed(EQUAL, 0.01, [1.0, 0.0, 0.0, -1.0, -1.0, -1.0])
    assert sums.labels == PairedLabels(1.0, 2.0, 3.0)
    assert (sums.scored, sums.bets.events) == (6, 0.0)
    losses = summed(LOSS, 0.01, [1.0, 0.0, 0.0, -1.0, -1.0, -1.0])
    assert losses.labels == PairedLabels()
    as_counts = accuracy_bets(sums.labels, 0.01)
    assert losses.bets.harm == pytest.approx(as_counts.harm)
    assert losses.bets.safe == pytest.approx(as_counts.safe)
    assert losses.scored == 6
    assert summed(LOSS, 0.01, []).scored == 0


def test_sums_add_up_and_survive_json():
    one = LabelSums(PairedLabels(1, 2, 3), unscored={"no pair": 2})
    less = LabelSums(PairedLabels(1, 0, 0), unscored={"no pair": -1, "not comparable": 1})
    both = one + less
    assert both.unscored == {"no pair": 1, "not comparable": 1}
    assert both.outcomes().labels == PairedLabels(2, 2, 3)
    assert both.outcomes().waiting == 1
    read = LabelSums.from_json(both.to_json())
    assert (read.labels, read.unscored) == (both.labels, both.unscored)
    assert less.settled().unscored == {"not comparable": 1}
