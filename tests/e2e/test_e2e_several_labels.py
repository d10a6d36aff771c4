"""The best of several candidates by labels of requests that all of them ran: real processes."""

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import orjson

from harness.pilot import piloted
from harness.rows import body, outputs_of
from harness.system import MODELS, eventually

TRUTH = np.load(MODELS / "digits" / "heldout.npz")["labels"].tolist()
SIDES = ("digits/1", "digits/2", "digits/3")
DOCUMENT = {
    "stable": SIDES[0],
    "candidates": [{"model": model, "weight": 5, "mirror": 100} for model in SIDES[1:]],
    "outcomes": {"truth": {"output": "label", "within": "7d"}},
    "guards": {"accuracy": {"outcome": "truth", "margin": "1%", "mode": "observe"}},
    "best": {"outcome": "truth"},
}
ROWS = [*range(len(TRUTH))] * 2


def ask(pilot, rows):
    """Of each row, its receipt and who answered."""

    def one(row):
        answer = pilot.up.client.post(pilot.infer, content=body(row)).raise_for_status()
        return answer.headers["x-understudy-receipt"], answer.headers["x-understudy-target"]

    with ThreadPoolExecutor(8) as many:
        return list(many.map(one, rows))


def kept(pilot):
    return pilot.view["labels"]["pairs"]["kept"]


def offline(rows):
    """Of each two sides: right answers of the second alone, of both or neither, and of the first alone."""
    right = [[outputs_of(side)["label"][row] == TRUTH[row] for row in rows] for side in SIDES]
    found = {}
    for first, second in combinations(range(3), 2):
        gains = [int(b) - int(a) for a, b in zip(right[first], right[second], strict=True)]
        found[first, second] = tuple(gains.count(gain) for gain in (1, 0, -1))
    return found


def guards(pilot):
    """Gained, same and lost of each candidate."""
    return [(each["gained"], each["same"], each["lost"]) for each in pilot.view["labels"]["guards"]]


def units(pilot):
    """Labels that were held against answers of each side."""
    return [side["units"] for side in pilot.view["best"]["sides"]]


def test_the_one_that_is_right_most_often_is_named_by_labels_late_shuffled_and_told_twice(two):
    with piloted(two, "several-labels", DOCUMENT) as pilot:
        eventually(pilot.ready, "ready")
        eventually(lambda: ask(pilot, [0]) and kept(pilot) >= 2, "pairs of both are kept")
        asked = ask(pilot, ROWS)
        of_stable = [row for row, (_, target) in zip(ROWS, asked, strict=True) if target == SIDES[0]]
        assert 0 < len(of_stable) < len(ROWS)
        eventually(lambda: kept(pilot) >= 2 * len(of_stable), "the pairs of both are kept")
        told = [
            orjson.dumps({"receipt": receipt, "name": "truth", "value": TRUTH[row]})
            for row, (receipt, _) in zip(ROWS, asked, strict=True)
        ]
        random.Random(7).shuffle(told)
        for some in (told[: len(told) // 2], told[len(told) // 3 :]):
            pilot.up.admin.post("/v1/outcomes", content=b"\n".join(some)).raise_for_status()
        eventually(lambda: [sum(each) for each in guards(pilot)] == [len(of_stable)] * 2, "all are scored")
        expected = offline(of_stable)
        assert guards(pilot) == [expected[0, 1], expected[0, 2]]
        eventually(lambda: pilot.view["best"]["found"] == "digits/2", "the best is found")
        # It is known a look later than the guards, and may be found among the first labels of a turn.
        eventually(lambda: units(pilot) == [len(of_stable)] * 3, "all are held against all sides")
        unscored = pilot.view["labels"]["guards"][0]["unscored"]
        assert unscored == {"drawn to a candidate": len(ROWS) - len(of_stable)}
