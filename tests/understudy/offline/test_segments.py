"""Segments in which rows differ are found and named; noise is not."""

import numpy as np
import pytest

from harness.search import examples
from understudy.offline.features import Categories, Numbers, of_columns, of_inputs
from understudy.offline.segments import worst


def noise(rows=600, features=30, seed=0):
    rng = np.random.default_rng(seed)
    return rng, [Numbers(f"x[{at}]", rng.normal(size=rows)) for at in range(features)]


def test_a_planted_segment_of_two_conditions_is_found_by_name():
    rng, features = noise()
    country = Categories("country", tuple(rng.choice(["AT", "DE", "FR"], 600)))
    inside = (np.array(country.values) == "AT") & (features[7].values > 0.0)
    differs = np.where(inside, rng.random(600) < 0.8, rng.random(600) < 0.03)
    first = worst([*features, country], differs)[0]
    names = " and ".join(first.conditions)
    assert "country = AT" in names
    assert "x[7] >" in names
    assert first.differing.events / first.differing.trials > 0.6
    assert first.differing.least > first.elsewhere.most


def test_what_one_category_is_needs_not_say_which_it_is_not():
    rng, _ = noise()
    said = Categories("label", tuple(map(str, rng.integers(0, 10, 800))))
    values = np.array(said.values)
    differs = ((values == "8") | (values == "9")) & (rng.random(800) < 0.9)
    assert {segment.conditions for segment in worst([said], differs)} == {("label = 8",), ("label = 9",)}


def test_noise_is_hardly_ever_taken_for_a_segment():
    found, runs = 0, examples(60)
    for seed in range(runs):
        rng, features = noise(seed=seed)
        found += bool(worst(features, rng.random(600) < 0.05))
    assert found <= max(1, runs // 10)


@pytest.mark.parametrize("differs", [np.zeros(50, bool), np.ones(50, bool), np.zeros(0, bool)])
def test_where_nothing_or_everything_differs_there_is_no_segment(differs):
    _, features = noise(len(differs))
    assert worst(features, differs) == ()


def test_inputs_and_columns_become_features():
    feeds = [
        {"image": np.full((1, 2, 2), at, "f4"), "t": np.array(["ab"[at % 2]], object)} for at in range(4)
    ]
    features = of_inputs(feeds, np.array([True, False, True, False]))
    assert [feature.name for feature in features] == [
        "image[0,0]",
        "image[0,1]",
        "image[1,0]",
        "image[1,1]",
        "t",
    ]
    columns = {
        "age": [1, None, "3", 4.5],
        "country": ["AT", "DE", None, "AT"],
        "id": list("abcd" * 1),
        "one": "a" * 4,
    }
    named = {feature.name: feature for feature in of_columns(columns)}
    assert named.keys() == {"age", "country", "id"}
    assert np.isnan(named["age"].values[1])
    assert named["country"].values == ("AT", "DE", "", "AT")


def test_of_many_elements_those_that_tell_most_are_kept():
    rng = np.random.default_rng(1)
    differs = np.arange(100) % 2 == 0
    rows = rng.normal(size=(100, 1, 3000)).astype("f4")
    rows[:, 0, 2345] += 5 * differs
    features = of_inputs([{"x": row} for row in rows], differs)
    assert len(features) == 1024
    assert "x[2345]" in {feature.name for feature in features}


def test_rows_of_varying_shape_are_no_features():
    feeds = [{"x": np.zeros((1, length))} for length in (1, 2)]
    assert of_inputs(feeds, np.array([True, False])) == []
