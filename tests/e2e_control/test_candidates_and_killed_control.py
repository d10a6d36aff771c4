"""An A/B/n test while control is killed: whoever is off stays off, and the evidence of the others goes on."""

import os
import signal

from harness.pilot import piloted
from harness.shoppers import Shoppers
from harness.system import children, eventually

MODEL = "killed-shop"
DOCUMENT = {
    "stable": "digits/1",
    "candidates": [
        {"model": "digits/9", "weight": 10},  # fails
        {"model": "digits/2", "weight": 25},
        {"model": "digits/3", "weight": 25},
    ],
    "outcomes": {"paid": {"kind": "binary", "within": "2s"}},
    "guards": {"errors": {"max": "1%"}},
    "best": {"outcome": "paid"},
    "alpha": "5%",
}
KILLS = 2
PAUSE_SECONDS = 1.0
"""Of users between two turns: outcomes are to come all the while, and need not be many."""


def kill_control(up) -> None:
    [pid] = children(up.process.popen.pid, "control")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: children(up.process.popen.pid, "control") not in ([], [pid]), "another control", 60.0)
    eventually(lambda: up.view(MODEL), "it answers", 60.0)


def units(pilot) -> float:
    return sum(side["units"] for side in pilot.view["best"]["sides"])


def test_a_test_goes_on_where_it_was_when_control_is_killed(node):
    with piloted(node, MODEL, DOCUMENT) as pilot:
        eventually(pilot.ready, "all candidates are ready", 60.0)
        pays = {"1": 0.1, "2": 0.15, "3": 0.1}
        with Shoppers(node, MODEL, pays, pause_seconds=PAUSE_SECONDS) as shoppers:
            eventually(lambda: not pilot.view["candidates"][0]["on"], "the bad one is off", 60.0)
            stage, seen = pilot.status["stage"], 0.0
            for _ in range(KILLS):
                eventually(lambda seen=seen: units(pilot) > seen, "outcomes have entered", 60.0)
                seen = units(pilot)
                kill_control(node)
                eventually(lambda seen=seen: units(pilot) >= seen, "nothing of it is lost", 60.0)
                off, *on = pilot.view["candidates"]
                assert "errors: harmful" in off["reason"]
                assert [(row["number"], row["on"]) for row in on] == [(2, True), (3, True)]
                assert pilot.status["stage"] == stage, "the evidence goes on where it was"
        assert set(shoppers.statuses) == {200}
        eventually(lambda: units(pilot) == told_of(pilot), "each outcome counts once", 60.0)
        promotion = {"target": "digits/2", "reason": "it is"}
        node.admin.post(f"/v1/rollouts/{MODEL}/promote", json=promotion).raise_for_status()
        pilot.wait_phase("promoted")


def told_of(pilot) -> float:
    """Taken, and mature by now."""
    [row] = pilot.view["outcomes"]
    return row["taken"] if row["waiting"] == 0 else -1.0
