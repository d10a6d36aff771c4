"""What control accepted is what serves, whatever becomes of the files; and what it says is what serves."""

import os
import shutil
import signal

import pytest

from harness.system import MODELS, eventually, running

PIXELS = [float(number % 17) for number in range(64)]
BODY = {"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": PIXELS}]}
STABLE = "digits: {stable: digits/1}"
CANARY = "digits: {stable: digits/1, canary: {model: digits/2, weight: 0}, keepWarm: 0s}"
DOCUMENT = {"stable": "digits/1", "canary": {"model": "digits/2", "weight": 0}, "keepWarm": "0s"}


@pytest.fixture
def models(tmp_path):
    """A repository of one's own, with versions 1 and 2 of digits."""
    for version in "12":
        shutil.copytree(MODELS / "digits" / version, tmp_path / "models" / "digits" / version)
    return tmp_path / "models"


def answer(up, target="stable"):
    """The probabilities that a target gives, and who it says it is."""
    found = up.client.post("/v2/models/digits/infer", json=BODY, headers={"x-understudy-target": target})
    assert found.status_code == 200, found.text
    outputs = {output["name"]: output["data"] for output in found.json()["outputs"]}
    return found.headers["x-understudy-target"], outputs["probabilities"]


def served(up):
    """Who answers as stable by the workers' reports: each with its digest, and whether it is wanted."""
    return [(row["target"], row["sha256"], row["wanted"]) for row in up.view("digits")["served"]]


def act(up, action):
    up.admin.post(f"/v1/rollouts/digits/{action}").raise_for_status()


def in_phase(up, phase):
    eventually(lambda: up.view("digits")["status"]["phase"] == phase, phase)
    return up.view("digits")


def kill(up, kind):
    """Kill the processes of a kind, and wait until others speak for them."""
    before = up.pids(kind)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: set(up.pids(kind)) - set(before), f"another {kind}")


def test_files_that_are_overwritten_or_gone_change_nothing_until_a_person_takes_them(tmp_path, models):
    with running(tmp_path, CANARY, models=models) as up:
        eventually(lambda: answer(up, "canary")[0] == "digits/2", "the canary answers")
        [_, accepted] = answer(up, "canary")
        pinned = up.view("digits")["targets"][1]["sha256"]
        other = MODELS / "digits" / "3" / "model.onnx"
        (models / "digits" / "2" / "model.onnx").write_bytes(other.read_bytes())
        shutil.rmtree(models / "digits" / "1")

        kill(up, "sandbox")
        eventually(lambda: answer(up, "canary")[0] == "digits/2", "the canary answers again")
        assert answer(up, "canary")[1] == accepted
        kill(up, "worker")
        eventually(lambda: answer(up)[0] == "digits/1", "stable without its folder")

        act(up, "promote")
        in_phase(up, "promoted")
        eventually(lambda: answer(up) == ("digits/2", accepted), "the accepted bytes answer everything")
        eventually(lambda: served(up) == [("digits/2", pinned, True)], "the worker's next report says so")

        shutil.copytree(MODELS / "digits" / "1", models / "digits" / "1")
        [revision, stage] = (up.view("digits")["revision"], up.view("digits")["status"]["stage"])
        up.admin.put("/v1/rollouts/digits", json=DOCUMENT).raise_for_status()
        view = up.view("digits")
        assert view["revision"] > revision
        assert view["status"]["stage"] > stage
        assert view["targets"][1]["sha256"] != pinned
        [latest, *_] = up.admin.get("/v1/rollouts/digits/history").json()
        assert "digits/2 has other bytes than before" in latest["reason"]
        eventually(lambda: answer(up, "canary")[0] == "digits/2", "the other bytes' canary")
        assert answer(up, "canary")[1] != accepted
        up.admin.put("/v1/rollouts/digits", json=DOCUMENT).raise_for_status()
        assert up.view("digits")["revision"] == view["revision"], "the same bytes again change nothing"


def test_what_cannot_be_loaded_is_said_and_tried_again(tmp_path, models):
    with running(tmp_path, CANARY, models=models) as up:
        eventually(lambda: answer(up, "canary")[0] == "digits/2", "the canary answers")
        shutil.rmtree(models / "digits")
        shutil.rmtree(tmp_path / "state" / "models")
        act(up, "promote")
        view = in_phase(up, "paused")
        assert view["status"]["cause"] == "load"
        assert "could not be promoted" in view["status"]["sentence"]
        assert "no model 'digits' version '2'" in view["status"]["sentence"]
        assert answer(up)[0] == "digits/1", "it stayed where it was"

        kill(up, "worker")
        eventually(lambda: up.client.get("/v2/health/ready").status_code == 503, "not ready: no stable")
        nobody = "1 of 1 workers do not serve digits/1: nobody answers"  # the killed one counts a while
        eventually(lambda: nobody in up.view("digits")["status"]["sentence"], "said")
        for version in "12":
            shutil.copytree(MODELS / "digits" / version, models / "digits" / version)
        eventually(lambda: up.client.get("/v2/health/ready").status_code == 200, "loaded again by itself")
        assert answer(up)[0] == "digits/1"
        act(up, "resume")
        in_phase(up, "promoted")
        eventually(lambda: answer(up)[0] == "digits/2", "promoted and served")
