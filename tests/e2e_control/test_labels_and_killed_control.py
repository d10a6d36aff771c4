"""Labels told to a node while control is killed, again and again: each counts once."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson

from harness.control import controlling, following
from harness.rows import body, outputs_of
from harness.system import MODELS, eventually

TRUTH = np.load(MODELS / "digits" / "heldout.npz")["labels"].tolist()
DOCUMENT = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "weight": 0, "mirror": 100},
    "outcomes": {"truth": {"output": "label", "within": "7d"}},
    "guards": {"accuracy": {"outcome": "truth", "margin": "1%"}},
}


def ready(control):
    view = control.view("digits")
    targets_ready = all(each["ready"] and all(each["ready"].values()) for each in view["targets"])
    return view["in_force_everywhere"] and targets_ready


def killed(control):
    control.process.popen.kill()
    control.process.popen.wait()


def counts(control):
    [guard] = control.view("digits")["labels"]["guards"]
    return guard["gained"], guard["same"], guard["lost"]


def reason(control):
    evidence = control.client.get("/v1/rollouts/digits/evidence").raise_for_status().json()
    return evidence["judgement"]["guards"][0]["reason"] if evidence["judgement"] else ""


def test_labels_outlive_a_control_that_is_killed_and_each_counts_once(tmp_path):
    rows = range(200)
    stable, canary = (outputs_of(target)["label"] for target in ("digits/1", "digits/2"))
    gains = [int(canary[row] == TRUTH[row]) - int(stable[row] == TRUTH[row]) for row in rows]
    expected = tuple(gains.count(gain) for gain in (1, 0, -1))
    with controlling(tmp_path) as control:
        control.put("digits", DOCUMENT).raise_for_status()
        with following(tmp_path, control) as node:
            eventually(lambda: ready(control), "ready")

            def receipt(row):
                answer = node.client.post("/v2/models/digits/infer", content=body(row))
                return answer.raise_for_status().headers["x-understudy-receipt"]

            def tell(labels):
                lines = (orjson.dumps({"receipt": r, "name": "truth", "value": y}) for r, y in labels)
                answer = node.client.post("/v1/outcomes", content=b"\n".join(lines))
                assert answer.raise_for_status().json()["accepted"] == len(labels), answer.text

            pairs = lambda: control.view("digits")["labels"]["pairs"]["kept"]  # noqa: E731
            eventually(lambda: receipt(0) and pairs(), "requests are mirrored")
            before = pairs()
            with ThreadPoolExecutor(8) as many:
                labels = list(zip(many.map(receipt, rows), TRUTH[: len(rows)], strict=True))
            random.Random(3).shuffle(labels)
            eventually(lambda: pairs() >= before + len(rows), "all pairs are kept")
            for first in range(0, len(rows), 100):
                killed(control)
                tell(labels[first : first + 100])  # to a node whose control is away
                control.start()
                eventually(lambda: control.view("digits"), "control answers", 30.0)
            tell(labels[:50])  # once more: control knows them
            eventually(lambda: sum(counts(control)) == len(rows), "all labels are scored", 60.0)
            assert counts(control) == expected
            killed(control)
            control.start()
            eventually(lambda: counts(control) == expected and pairs() >= len(rows), "as it was", 30.0)
            eventually(lambda: f"of {len(rows)} labels of truth" in reason(control), "judged by all", 30.0)
