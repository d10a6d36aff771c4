"""However quickly a rollout is aborted and resumed, its sandbox comes up and what is said is what serves."""

import time
from pathlib import Path

from harness.system import eventually, running

ROLLOUT = "digits: {stable: digits/1, canary: {model: digits/2, weight: 50}}"
BODY = {"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}]}


def canary(up):
    headers = {"x-understudy-target": "canary"}
    return up.client.post("/v2/models/digits/infer", json=BODY, headers=headers).headers.get(
        "x-understudy-target"
    )


def test_a_resume_while_the_sandbox_before_it_ends(tmp_path):
    with running(tmp_path, ROLLOUT) as up:
        for pause in (1.6, 1.95, 2.1):
            up.admin.post("/v1/rollouts/digits/abort").raise_for_status()
            time.sleep(pause)  # around the moment at which a sandbox that nobody wants is ended
            up.admin.post("/v1/rollouts/digits/resume").raise_for_status()
            eventually(lambda: canary(up) == "digits/2", "the canary answers again")
        eventually(up.all_targets_ready, "and is said to")
        assert "is given 50%" in up.view("digits")["status"]["sentence"]


def test_a_sandbox_that_lost_its_files_is_replaced(tmp_path):
    with running(tmp_path, ROLLOUT) as up:
        eventually(lambda: canary(up) == "digits/2", "the canary answers: its sandbox has its files")
        [before] = up.pids("sandbox")
        environment = Path(f"/proc/{before}/environ").read_text().split("\0")
        run_dir = dict(entry.split("=", 1) for entry in environment if entry)["UNDERSTUDY_RUN_DIR"]
        own = [*Path(run_dir).glob("*.1.s*")]
        assert own
        for path in own:
            path.unlink()
        eventually(lambda: set(up.pids("sandbox")) - {before}, "another sandbox")
        eventually(lambda: canary(up) == "digits/2", "the canary answers again")
        assert up.metric("understudy_process_restarts_total", process="sandbox", reason="lost") == 1
