"""An A/B/n test, for people: who takes part, who is off and why, and who is ahead."""

import io

from rich.console import Console

from understudy.commands.watch import candidate_evidence
from understudy.output import candidate_tables

GUARD = {
    "guard": "errors", "mode": "enforce", "verdict": "undecided", "log_harm": 1.0, "log_line": 4.6,
    "log_safe": 0.5, "log_proof_line": 3.0, "more_to_harm": None, "more_to_proof": 1200, "effect": None,
}  # fmt: skip
JUDGED = {"verdict": "undecided", "hold": None, "guards": [GUARD]}
ON = {
    "number": 2, "target": "m/3", "weight": 25.0, "mirror": 0.0, "on": True, "reason": "",
    "ready": {"w1": True, "w2": False}, "judgement": JUDGED,
}  # fmt: skip
OFF = {**ON, "number": 1, "target": "m/2", "on": False, "reason": "[b]errors: harmful", "judgement": None}
SIDES = [
    {"target": "m/1", "on": True, "units": 1200.0, "total": 1200.0, "to_stable": 1.0},
    {"target": "m/2", "on": False, "units": 0.0, "total": 0.0, "to_stable": None},
    {"target": "m/3", "on": True, "units": 900.0, "total": 900.0, "to_stable": 1.4},
]
BEST = {"outcome": "paid", "found": None, "leader": "m/3", "sides": SIDES}
VIEW = {"serving": {"stable": "m/1"}, "candidates": [OFF, ON], "best": BEST}


def printed(drawn) -> list[str]:
    text = io.StringIO()
    for each in drawn:
        Console(file=text, width=150).print(each)
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


def test_each_candidate_and_each_side_has_its_row():
    assert printed(candidate_tables(VIEW)) == [
        "candidate share mirror ready in state judged by its guards",
        "1 m/2 25% 0% - off: [b]errors: harmful -",
        "2 m/3 25% 0% 1 of 2 compared undecided",
        "best by paid outcomes sum beside stable",
        "m/1 1,200 1,200 1",
        "m/2 0 - - off",
        "m/3 900 900 1.4 ahead",
    ]


def test_the_best_is_named_when_it_is_found():
    rows = printed(candidate_tables({**VIEW, "best": {**BEST, "found": "m/3"}}))
    assert rows[-1].endswith("1.4 best")


def test_the_one_that_was_promoted_is_stable_now():
    view = {**VIEW, "serving": {"stable": "m/3"}, "candidates": [OFF, {**ON, "on": False}]}
    assert printed(candidate_tables(view))[2] == "2 m/3 25% 0% - stable now undecided"


def test_without_a_test_and_from_an_older_control_there_is_nothing():
    for view in ({"candidates": [], "best": None}, {}):
        assert candidate_tables(view) == []
        assert candidate_evidence(view) == []


def test_a_candidate_that_is_judged_has_its_guards_beside_stable():
    title, head, row = printed(candidate_evidence(VIEW))
    assert title == "m/3 beside m/1"
    assert head.startswith("guard verdict")
    assert row.startswith("errors undecided 2.7 99")
