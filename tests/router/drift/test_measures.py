"""Distances: against scipy where it has them, and what they are without any change."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drift.histograms import Categories, of_categories, of_numbers
from router.drift.measures import distance, wasserstein
from serving.errors import InvalidInput

values = st.lists(st.floats(-1e3, 1e3) | st.just(math.nan), min_size=1, max_size=80).map(np.array)
three = st.lists(st.integers(0, 50), min_size=3, max_size=3)


def shares(counts):
    smooth = np.array(counts) + 0.5
    return smooth / smooth.sum()


@given(three, three)
def test_they_are_those_of_scipy(before, after):
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import entropy

    if not (sum(before) and sum(after)):
        return
    one, another = (Categories({"a": a, "b": b, "c": c}) for a, b, c in (before, after))
    found = distance(one, another)
    p, q = shares([*before, 0, 0]), shares([*after, 0, 0])
    assert math.isclose(found.kl, entropy(q, p), abs_tol=1e-9)
    assert math.isclose(found.psi, entropy(q, p) + entropy(p, q), abs_tol=1e-9)
    assert math.isclose(found.js, jensenshannon(p, q, base=2), abs_tol=1e-6)


@given(values, values)
def test_they_are_within_their_bounds(before, later):
    if not np.isfinite(before).any():
        return
    reference = of_numbers(before)
    found = distance(reference, reference.empty.counted(later))
    assert found.psi >= 0
    assert found.kl >= -1e-12
    assert 0 <= found.js <= 1
    assert 0 <= found.outside + found.missing <= 1
    assert found.wasserstein is None or found.wasserstein >= 0
    same = distance(reference, reference)
    assert (same.psi, same.kl, same.js) == (0, 0, 0)
    assert not same.wasserstein


def test_values_that_all_move_by_a_step_move_by_it_in_deviations():
    reference = of_numbers(np.random.default_rng(3).uniform(0, 1, 50_000))
    moved = reference.empty.counted(np.random.default_rng(4).uniform(0.25, 1.25, 50_000))
    assert wasserstein(reference, moved) == pytest.approx(0.25 / math.sqrt(1 / 12), rel=0.02)


def test_without_a_change_psi_is_its_noise_on_average():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(300):
        reference = of_numbers(rng.normal(size=2000))
        found.append(distance(reference, reference.empty.counted(rng.normal(size=1000))))
    assert np.mean([each.psi for each in found]) == pytest.approx(found[0].noise, rel=0.1)


def test_what_is_new_is_told():
    colours = of_categories(["red", "blue"] * 10)
    found = distance(colours, colours.empty.counted(["green", "red", None, ""]))
    assert (found.outside, found.missing, found.outside_before) == (0.25, 0.5, 0.0)
    metres = of_numbers(np.array([1.6, 1.7, 1.8, math.nan]))
    found = distance(metres, metres.empty.counted(np.array([170.0, 180.0])))
    assert (found.outside, found.missing, found.missing_before) == (1.0, 0.0, 0.25)
    assert found.wasserstein > 100
    found = distance(metres, metres.empty.counted(np.full(9, 1.7)))
    assert found.constant
    assert distance(colours, colours.empty.counted(["red"] * 9)).constant
    assert not distance(colours, colours).constant


def test_of_a_constant_nothing_can_be_scaled():
    reference = of_numbers(np.full(9, 1.0))
    assert wasserstein(reference, reference.empty.counted(np.array([2.0]))) is None


def test_what_cannot_be_compared_is_refused():
    reference = of_numbers(np.array([1.0, 2.0]))
    with pytest.raises(InvalidInput, match="nothing was counted"):
        distance(reference, reference.empty)
    with pytest.raises(InvalidInput, match="different bins"):
        distance(reference, of_categories(["a"]))
