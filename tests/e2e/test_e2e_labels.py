"""Labels, late and in any order, against what both sides answered to mirrored requests: real processes."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest

from harness.fences import fences
from harness.hostile import hostile
from harness.pilot import piloted
from harness.rows import body, outputs_of
from harness.system import MODELS, ROOT, eventually
from router.rollout.parser import parse, to_document

TRUTH = np.load(MODELS / "digits" / "heldout.npz")["labels"].tolist()
ROWS = range(len(TRUTH))
SOME = range(300)


def document(canary, stable="digits/1", **share):
    return {
        "stable": stable,
        "canary": {"mirror": 100, **({"model": canary} if isinstance(canary, str) else canary), **share},
        "outcomes": {"truth": {"output": "label", "within": "7d"}},
        "guards": {"accuracy": {"outcome": "truth", "margin": "1%"}},
    }


def of_the_page():
    """The rollout of docs/accuracy.md."""
    [block] = [each for each in fences(ROOT / "docs" / "accuracy.md") if each.language == "yaml"]
    return to_document(parse(block.text.encode(), block.title)["digits"])


def ask(pilot, rows):
    """The receipt of each row's answer."""

    def one(row):
        answer = pilot.up.client.post(pilot.infer, content=body(row))
        assert answer.status_code == 200, answer.text
        return answer.headers["x-understudy-receipt"]

    with ThreadPoolExecutor(8) as many:
        return list(many.map(one, rows))


def mirrored(pilot):
    """Wait until requests are mirrored: a worker finds a new sandbox a moment after it is ready."""
    eventually(lambda: ask(pilot, [0]) and kept(pilot), "pairs are kept")


def kept(pilot):
    return pilot.view["labels"]["pairs"]["kept"]


def ask_and_keep(pilot, rows):
    """The receipts of these rows, once their pairs are kept."""
    mirrored(pilot)
    before = kept(pilot)
    receipts = ask(pilot, rows)
    eventually(lambda: kept(pilot) >= before + len(rows), "all pairs are kept")
    return receipts


def tell(pilot, labels):
    """Tell control, a label a line; what it answers."""
    lines = (orjson.dumps({"receipt": receipt, "name": "truth", "value": value}) for receipt, value in labels)
    return pilot.up.admin.post("/v1/outcomes", content=b"\n".join(lines)).raise_for_status().json()


def counts(pilot):
    """Gained, same and lost."""
    [guard] = pilot.view["labels"]["guards"]
    return guard["gained"], guard["same"], guard["lost"]


def offline(stable, canary, rows):
    """The same, computed from what the models themselves say."""
    ours, theirs = (outputs_of(target)["label"] for target in (stable, canary))
    gains = [int(theirs[row] == TRUTH[row]) - int(ours[row] == TRUTH[row]) for row in rows]
    return tuple(gains.count(gain) for gain in (1, 0, -1))


@pytest.mark.parametrize(
    ("canary", "rollout"), [("digits/2", of_the_page()), ("digits/3", document("digits/3"))]
)
def test_labels_late_shuffled_and_told_twice_come_to_what_the_models_themselves_say(node, canary, rollout):
    with piloted(node, f"labelled-{canary[-1]}", rollout) as pilot:
        eventually(pilot.ready, "ready")
        receipts = ask_and_keep(pilot, SOME)
        labels = list(zip(receipts, TRUTH, strict=False))
        random.Random(7).shuffle(labels)
        half = len(labels) // 2
        assert tell(pilot, labels[:half])["accepted"] == half
        again = tell(pilot, labels[half // 2 :])
        assert (again["accepted"], again["left_out"]) == (len(labels) - half, {"duplicate": half - half // 2})
        expected = offline("digits/1", canary, SOME)
        eventually(lambda: sum(counts(pilot)) == len(SOME), "all labels are scored")
        assert counts(pilot) == expected
        [guard] = pilot.view["labels"]["guards"]
        assert (guard["scored"], guard["unscored"]) == (len(SOME), {})
        assert pilot.view["labels"]["pairs"]["left_out"] == {}


def test_a_label_by_the_name_of_its_class_and_one_without_a_pair(node):
    with piloted(node, "labelled-by-name", document("digits/2")) as pilot:
        [alone] = ask(pilot, [0])  # before the sandbox is there, as a rule
        eventually(pilot.ready, "ready")
        receipts = ask_and_keep(pilot, range(20))
        tell(pilot, zip(receipts, map(str, TRUTH[:20]), strict=True))
        eventually(lambda: sum(counts(pilot)) == 20, "all labels are scored")
        assert counts(pilot) == offline("digits/1", "digits/2", range(20))
        tell(pilot, [(alone, TRUTH[0])])

        def found():
            [guard] = pilot.view["labels"]["guards"]
            return guard["scored"] + guard["unscored"].get("no pair", 0)

        eventually(lambda: found() == 21, "the label without a pair is counted, too")


def test_a_candidate_that_fails_is_wrong(node):
    rows = range(40)
    with hostile() as server:
        server.manner = "500"
        canary = {"model": "digits/2", "url": server.url}
        with piloted(node, "labelled-failing", document(canary, "digits/3")) as pilot:
            receipts = ask_and_keep(pilot, rows)
            tell(pilot, zip(receipts, TRUTH, strict=False))
            eventually(lambda: sum(counts(pilot)) == len(rows), "all labels are scored")
            right = sum(int(outputs_of("digits/3")["label"][row] == TRUTH[row]) for row in rows)
            assert 0 < right < len(rows)
            assert counts(pilot) == (0, len(rows) - right, right)


def label_all(pilot):
    """Ask all rows and tell their labels, shuffled."""
    labels = list(zip(ask_and_keep(pilot, ROWS), TRUTH, strict=True))
    random.Random(7).shuffle(labels)
    tell(pilot, labels)


def test_a_canary_that_disagrees_and_is_more_accurate_is_proven_and_promoted(node):
    rollout = document("digits/2", "digits/3", steps=[{"prove": {}}])
    with piloted(node, "labelled-better", rollout) as pilot:
        eventually(pilot.ready, "ready")
        label_all(pilot)
        status = pilot.wait_phase("promoted")
        assert "proven" in status["reason"] or "proven" in pilot.history[0]["reason"], (
            status,
            pilot.history[0],
        )
        [row] = [each for each in pilot.history if each["evidence"]]
        [guard] = row["evidence"]["guards"]
        assert (guard["guard"], guard["verdict"]) == ("accuracy", "proven")


def test_a_canary_that_is_less_accurate_is_harmful_and_taken_off(node):
    with piloted(node, "labelled-worse", document("digits/3", steps=[{"prove": {}}])) as pilot:
        eventually(pilot.ready, "ready")
        label_all(pilot)
        status = pilot.wait_phase("rolled_back")
        assert "labels" in status["reason"]
        [latest, *_] = pilot.history
        [guard] = latest["evidence"]["guards"]
        assert guard["verdict"] == "harmful"
        assert guard["log_harm"] >= guard["log_line"]
