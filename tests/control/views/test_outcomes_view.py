from control.outcomes.book import Told
from control.views.outcomes import outcomes_view
from router.rollout.parser import parse_one

ROLLOUT = parse_one(
    "digits",
    "stable: digits/1\noutcomes: {paid: {kind: binary, within: 1h}, label: {output: label, within: 7d}}",
    "rollouts.yaml",
)


def test_outcomes_are_those_of_the_document_over_all_stages_that_are_judged():
    told = {
        "paid": [Told(10, 2, 100.0), Told(5, 1, 90.0), Told(1, 0, None)],
        "gone": [Told(9, 9, 1.0)],
    }
    paid, label = outcomes_view(ROLLOUT, told, {"paid": {"late": 3}})
    assert paid == {
        "name": "paid", "kind": "binary", "taken": 16, "waiting": 3, "first_until": 90.0,
        "left_out": {"late": 3},
    }  # fmt: skip
    assert label == {
        "name": "label", "kind": "label", "taken": 0, "waiting": 0, "first_until": None, "left_out": {},
    }  # fmt: skip
