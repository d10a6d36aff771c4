"""Outcomes of an A/B/n test told to a real control plane: the best is found, and known again after a kill."""

import random
import time

import orjson
import pytest

from harness.control import controlling
from harness.system import eventually
from harness.told import Stamps

DOCUMENT = {
    "stable": "digits/1",
    "candidates": [{"model": f"digits/{version}", "weight": 25} for version in (2, 3)],
    "outcomes": {"paid": {"kind": "binary", "within": "2s"}},
    "guards": {"payers": {"outcome": "paid", "maxDrop": "5%"}},
    "best": {"outcome": "paid"},
}


def tell(control, told) -> tuple[int, dict[str, int]]:
    body = b"\n".join(map(orjson.dumps, told))
    answer = control.client.post("/v1/outcomes", content=body).raise_for_status().json()
    return answer["accepted"], answer["left_out"]


def test_outcomes_of_each_side_name_the_best_and_a_control_that_was_killed_knows_as_much(tmp_path):
    with controlling(tmp_path) as control:
        control.put("digits", DOCUMENT).raise_for_status()
        stamps, now = Stamps(control), time.time()
        sides = [0] * 200 + [1] * 100 + [2] * 220
        random.Random(5).shuffle(sides)
        told = [
            {"receipt": stamps.make_of("digits", 1, side, now + n * 1e-3), "name": "paid", "value": True}
            for n, side in enumerate(sides)
        ]
        unready = stamps.make_of("digits", 1, 1, now, anew=False)  # while another was not ready
        foreign = stamps.make_of("digits", 1, 3, now)
        told += [{"receipt": each, "name": "paid", "value": True} for each in (unready, foreign)]
        assert tell(control, told) == (len(sides), {"not_drawn": 1, "rollout": 1})

        def best() -> dict:
            return control.view("digits")["best"]

        def entered() -> float:
            return sum(side["units"] for side in best()["sides"])

        eventually(lambda: best()["found"] and entered() == len(sides), "the best is found, by all")
        found = best()
        assert (found["found"], found["leader"]) == ("digits/3", "digits/3")
        assert [side["units"] for side in found["sides"]] == [200, 100, 220]
        assert [side["to_stable"] for side in found["sides"]] == pytest.approx([1.0, 1.0, 2.2])
        guards = [each["judgement"]["guards"][0]["reason"] for each in control.view("digits")["candidates"]]
        assert "100 of the canary's answers and 200 of stable's" in guards[0]
        assert "220 of the canary's answers and 200 of stable's" in guards[1]
        control.process.popen.kill()
        control.process.popen.wait()
        control.start()
        control.wait_ready()
        eventually(lambda: best()["sides"] == found["sides"], "the sides are known again")
        assert (best()["found"], best()["leader"]) == ("digits/3", "digits/3")
        assert tell(control, told[:10]) == (0, {"late": 10})
