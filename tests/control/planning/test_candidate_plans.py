from dataclasses import replace

import pytest

from control.judging.guards.simulation import Least, Traffic
from control.planning.candidates import planned_best, planned_candidates, untold_best
from control.planning.outcomes import Share, told_outcomes
from router.rollout.parser import of_our_own

LEAST = Least(0.05, 1.5, 0.9)


def document(weights=(25, 25), **of_best):
    candidates = [{"model": f"m/{number}", "weight": weight} for number, weight in enumerate(weights, 2)]
    return of_our_own(
        "m",
        {
            "stable": "m/1",
            "candidates": candidates,
            "outcomes": {
                "paid": {"kind": "binary", "within": "1h"},
                "label": {"output": "label", "within": "1d"},
            },
            "guards": {"errors": {"max": "1%"}},
            "best": {"outcome": "paid", **of_best},
            "alpha": "5%",
        },
        "test",
    )


def traffic(rollout, requests_per_second=100.0, paid=0.1):
    return Traffic(requests_per_second, 0.0, outcomes=told_outcomes(rollout, {"paid": Share(paid)}))


def test_harm_in_a_candidate_is_seen_later_where_it_has_less_of_the_traffic():
    rollout = document((40, 0.2))
    more, less = planned_candidates(rollout, traffic(rollout, 20.0), LEAST)
    assert (more.target, more.weight) == ("m/2", 40.0)
    assert list(more.caught["5% errors"]) == ["10 min", "1 h", "1 d"]
    assert more.caught["5% errors"]["10 min"] > 0.95 > less.caught["5% errors"]["10 min"]


def test_looks_end_with_the_test():
    rollout = document(max="30m")
    [first, _] = planned_candidates(rollout, traffic(rollout), LEAST)
    assert list(first.caught["5% errors"]) == ["10 min", "30 min"]


def test_a_candidate_that_is_further_ahead_is_named_sooner():
    rollout = document()
    [far, _], [near, _] = (planned_best(rollout, traffic(rollout), ahead) for ahead in (0.4, 0.1))
    assert 100 < far.takes.outcomes < near.takes.outcomes
    assert far.takes.seconds < near.takes.seconds
    assert "m/2, 40% ahead of all others, is named after about " in far.words()
    assert "each is mature 60 min after its request" in far.words()


def test_more_candidates_take_longer():
    two, four = (document(weights) for weights in ((20, 20), (20, 20, 20, 20)))
    assert (
        planned_best(two, traffic(two), 0.2)[0].takes.seconds
        < planned_best(four, traffic(four), 0.2)[0].takes.seconds
    )


def test_what_comes_after_the_end_is_said():
    rollout = document(max="1h")
    assert "the test ends before, after 60 min" in planned_best(rollout, traffic(rollout), 0.1)[0].words()
    slow = planned_best(rollout, traffic(rollout, 0.001), 0.01)[0]
    assert slow.words().endswith("not within 365 d at this traffic")


@pytest.mark.parametrize(
    ("outcome", "words"),
    [("paid", "--outcome paid=5%"), ("label", "is not known")],
)
def test_what_is_not_known_is_not_foretold(outcome, words):
    rollout = document()
    rollout = replace(rollout, best=replace(rollout.best, outcome=outcome))
    unknown = Traffic(100.0, 0.0)
    assert words in untold_best(rollout, unknown)
    assert planned_best(rollout, unknown, 0.2) == []
