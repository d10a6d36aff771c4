"""However quickly a rollout is aborted and resumed, its sandbox comes up and what is said is what serves."""

import time
from pathlib import Path

from harness.pilot import piloted
from harness.system import eventually

ROLLOUT = {"stable": "digits/1", "canary": {"model": "digits/2", "weight": 50}}
BODY = {"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}]}


def canary(pilot):
    answer = pilot.up.client.post(pilot.infer, json=BODY, headers={"x-understudy-target": "canary"})
    return answer.headers.get("x-understudy-target")


def test_a_resume_while_the_sandbox_before_it_ends(node):
    with piloted(node, "resumed", ROLLOUT) as pilot:
        eventually(pilot.ready, "the canary is ready")
        for pause in (1.95, 2.1):
            pilot.act("abort")
            time.sleep(pause)  # around the moment at which a sandbox that nobody wants is ended
            pilot.act("resume")
            eventually(lambda: canary(pilot) == "digits/2", "the canary answers again")
        eventually(pilot.ready, "and is said to")
        assert "is given 50%" in pilot.status["sentence"]


def test_a_sandbox_that_lost_its_files_is_replaced(node):
    lost = {"process": "sandbox", "reason": "lost"}
    restarts = node.metric("understudy_process_restarts_total", **lost)
    with piloted(node, "lost-files", ROLLOUT) as pilot:
        eventually(lambda: canary(pilot) == "digits/2", "the canary answers: its sandbox has its files")
        [before] = eventually(pilot.sandboxes, "it reports")
        entries = Path(f"/proc/{before}/environ").read_text().split("\0")
        environment = dict(entry.split("=", 1) for entry in entries if entry)
        files = environment["UNDERSTUDY_SANDBOX_FILES"]
        own = [*Path(environment["UNDERSTUDY_RUN_DIR"]).glob(f"{files}.s*")]
        assert own
        for path in own:
            path.unlink()
        eventually(lambda: set(pilot.sandboxes()) - {before}, "another sandbox")
        eventually(lambda: canary(pilot) == "digits/2", "the canary answers again")
    assert node.metric("understudy_process_restarts_total", **lost) == restarts + 1
