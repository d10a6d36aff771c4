"""Bets on a mean: fair at the edge whatever the adversary does, and the same in any order."""

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.outcomes.mean_bets import BETS, MeanBets, bet_on_mean
from harness.adversary import worst_expectation

BOUNDS = [(-1.0, 1.0), (-0.2, 5.0), (-5.0, 0.2)]


def at_the_edge(least: float, most: float) -> list[tuple[float, tuple[float, float, float]]]:
    """All the mass at the bounds, with a mean of 0: what a bet is most afraid of."""
    return [(most / (most - least), (least, least, most)), (-least / (most - least), (most, least, most))]


def of(history) -> MeanBets:
    return bet_on_mean(*zip(*history, strict=True)) if history else MeanBets()


@pytest.mark.parametrize("side", ["harm", "safe"])
def test_no_choice_of_bounds_and_of_when_to_stop_makes_more_than_one(side: str) -> None:
    moves = [at_the_edge(*bounds) for bounds in BOUNDS] + [[(1.0, (0.0, -1.0, 1.0))]]
    most = worst_expectation(lambda seen: float(np.exp(getattr(of(seen).evidence(), side))), moves, 6)
    assert most == pytest.approx(1.0, abs=1e-9)


@given(st.lists(st.tuples(st.floats(-1, 1), st.sampled_from(BOUNDS)), min_size=1, max_size=20), st.randoms())
def test_neither_order_nor_parts_change_what_was_won(drawn, random) -> None:
    values = [(low + (high - low) * (1 + share) / 2, low, high) for share, (low, high) in drawn]
    shuffled = random.sample(values, len(values))
    cut = random.randrange(len(values) + 1)
    whole, parts = of(values), of(shuffled[:cut]) + of(shuffled[cut:])
    np.testing.assert_allclose(parts.harm, whole.harm, atol=1e-9)
    np.testing.assert_allclose(parts.safe, whole.safe, atol=1e-9)
    assert (parts.events, parts.total) == (whole.events, pytest.approx(whole.total))


def test_units_stand_for_so_many_values() -> None:
    many = bet_on_mean([0.3, -1.0], -1.0, 2.0, [3, 1])
    one_by_one = of([(0.3, -1.0, 2.0)] * 3 + [(-1.0, -1.0, 2.0)])
    np.testing.assert_allclose(many.harm, one_by_one.harm)
    assert many.events == one_by_one.events == 4


def test_a_bet_is_what_it_is_written_as() -> None:
    won = bet_on_mean([0.4], -0.5, 2.0)
    np.testing.assert_allclose(np.exp(won.safe), [1 + f * 0.4 / 0.5 for f in BETS])
    np.testing.assert_allclose(np.exp(won.harm), [1 - f * 0.4 / 2.0 for f in BETS])


@pytest.mark.parametrize(
    ("value", "least", "most"), [(1.1, -1, 1), (-1.1, -1, 1), (0, 0, 1), (0, -1, 0), (np.nan, -1, 1)]
)
def test_what_is_beyond_its_bounds_is_refused(value, least, most) -> None:
    with pytest.raises(ValueError, match="bounds"):
        bet_on_mean([value], least, most)


def test_json_and_back() -> None:
    won = bet_on_mean([0.4, -0.1], -0.5, 2.0)
    back = MeanBets.from_json(orjson.loads(orjson.dumps(won.to_json())))
    assert back.to_json() == won.to_json()
