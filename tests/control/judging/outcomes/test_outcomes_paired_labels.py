"""Labels of requests that both sides answered: who is right more often, and by how much."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.outcomes.mean_bets import bet_on_mean
from control.judging.outcomes.paired_labels import PairedLabels, accuracy_bets, loss_bets, superiority_test
from harness.adversary import worst_expectation

MARGINS = [0.0, 0.01, 0.2]
COUNTS = st.builds(PairedLabels, *[st.integers(0, 300)] * 3)


def counted(history) -> PairedLabels:
    return PairedLabels(*(sum(step == (gain,) for step in history) for gain in (1, 0, -1)))


def with_mean(mean: float, discordant: float):
    """A distribution of D with this mean, in which so many disagree."""
    return [((discordant + mean) / 2, (1,)), (1 - discordant, (0,)), ((discordant - mean) / 2, (-1,))]


@pytest.mark.parametrize("side", ["harm", "safe"])
@pytest.mark.parametrize("margin", MARGINS)
def test_at_the_margin_no_sequence_of_models_and_no_stopping_makes_more_than_one(margin, side) -> None:
    moves = [with_mean(-margin, discordant) for discordant in (max(margin, 0.01), 0.4, 1.0)]
    most = worst_expectation(
        lambda seen: float(np.exp(getattr(accuracy_bets(counted(seen), margin).evidence(), side))), moves, 9
    )
    assert most == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("side", ["harm", "safe"])
def test_two_that_are_equally_often_right_are_not_told_apart_by_stopping(side) -> None:
    moves = [with_mean(0.0, discordant) for discordant in (0.1, 1.0)]
    most = worst_expectation(
        lambda seen: float(np.exp(getattr(superiority_test(counted(seen)), side))), moves, 12
    )
    assert most == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("side", ["harm", "safe"])
def test_weights_make_up_for_labels_that_are_asked_where_the_candidate_gained(side) -> None:
    """Gains are labelled always, losses one time in five: unweighed a loser would look like a winner."""
    q = {1: 1.0, 0: 0.5, -1: 0.2}
    margin = 0.1

    def e_value(seen) -> float:
        gains = [step[0] for step in seen if step]
        return float(np.exp(getattr(loss_bets(gains, margin, [q[d] for d in gains], 0.2).evidence(), side)))

    def not_weighed(seen) -> float:
        return float(np.exp(loss_bets([step[0] for step in seen if step], margin).evidence().safe))

    def labelled(mean, discordant):
        asked = [(chance * q[step[0]], step) for chance, step in with_mean(mean, discordant)]
        return [*asked, (1.0 - sum(chance for chance, _ in asked), ())]

    moves = [labelled(-margin, discordant) for discordant in (0.1, 0.5, 1.0)]
    assert worst_expectation(e_value, moves, 6) == pytest.approx(1.0, abs=1e-9)
    assert worst_expectation(not_weighed, moves, 6) > 1.5


@given(COUNTS, st.sampled_from(MARGINS))
def test_three_counts_are_sufficient(counts, margin) -> None:
    gains = np.repeat([1.0, 0.0, -1.0], [int(n) for n in counts.to_json()])
    one_by_one, at_once = loss_bets(gains, margin), accuracy_bets(counts, margin)
    np.testing.assert_allclose(one_by_one.harm, at_once.harm, atol=1e-9)
    np.testing.assert_allclose(one_by_one.safe, at_once.safe, atol=1e-9)
    assert one_by_one.total == pytest.approx(at_once.total, abs=1e-9)


@given(COUNTS)
def test_without_a_margin_the_roles_may_be_exchanged(counts) -> None:
    exchanged = PairedLabels(counts.lost, counts.same, counts.gained)
    for test in (superiority_test, lambda c: accuracy_bets(c, 0.0).evidence()):
        assert float(test(counts).harm) == pytest.approx(float(test(exchanged).safe), abs=1e-9)


@given(COUNTS)
def test_an_e_value_never_says_more_than_the_exact_binomial_test_at_one_look(counts) -> None:
    from scipy.stats import binomtest

    discordant = int(counts.gained + counts.lost)
    if not discordant:
        return
    for wins, log_e in (
        (counts.lost, superiority_test(counts).harm),
        (counts.gained, superiority_test(counts).safe),
    ):
        exact = binomtest(int(wins), discordant, 0.5, alternative="greater").pvalue
        assert exact <= np.exp(-float(log_e)) * (1 + 1e-9)


@given(st.permutations([1.0, 0.5, 0.0, -0.25, -1.0]), st.data())
def test_labels_may_come_in_any_order(gains, data) -> None:
    q = dict(zip([1.0, 0.5, 0.0, -0.25, -1.0], [1.0, 0.4, 0.9, 0.3, 0.5], strict=True))
    cut = data.draw(st.integers(0, 5))
    parts = [loss_bets(part, 0.05, [q[gain] for gain in part], 0.3) for part in (gains[:cut], gains[cut:])]
    whole = loss_bets([*q], 0.05, [*q.values()], 0.3)
    np.testing.assert_allclose((parts[0] + parts[1]).safe, whole.safe, atol=1e-9)


def test_how_many_labels_prove_a_candidate_that_never_differs() -> None:
    """At a margin of a point: log 100 and the price of seven bets over log(1 + .5 / 99)."""
    proven = next(
        n for n in range(1, 3000) if accuracy_bets(PairedLabels(same=n), 0.01).evidence().safe >= np.log(100)
    )
    assert 1150 < proven < 1350


@pytest.mark.parametrize(("q", "least"), [([0.1], 0.2), ([1.1], 0.2), ([0.5], 0.0), ([np.nan], 0.2)])
def test_a_probability_that_was_not_agreed_on_is_refused(q, least) -> None:
    with pytest.raises(ValueError, match="probability"):
        loss_bets([0.5], 0.01, q, least)


def test_a_loss_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match="bounds"):
        loss_bets([1.5], 0.01)


def test_counts_add_up_and_go_through_json() -> None:
    for left, right in itertools.combinations(
        [PairedLabels(1, 2, 3), PairedLabels(4, 0, 1), PairedLabels()], 2
    ):
        total = left + right
        assert total.labels == left.labels + right.labels
        assert PairedLabels.from_json(total.to_json()) == total
    assert accuracy_bets(PairedLabels(), 0.01).evidence() == bet_on_mean([], -1.0, 1.0).evidence()
