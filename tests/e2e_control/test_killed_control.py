"""Control killed at random points of a rollout under load: nobody notices, and nothing is done twice."""

import random
import re
import time

import pytest

from harness.control import Control, controlling, following
from harness.load import Load
from harness.rows import plain
from harness.system import eventually

STEP = re.compile(r"step (\d+) of (\d+)")


def document(steps: int) -> dict:
    weights = [{"setWeight": round(50 * number / steps, 1)} for number in range(1, steps + 1)]
    return {"stable": "digits/1", "canary": {"model": "digits/2", "steps": weights}, "keepWarm": "10m"}


def ready(control: Control) -> bool:
    view = control.view("digits")
    return view["in_force_everywhere"] and all(
        t["ready"] and all(t["ready"].values()) for t in view["targets"]
    )


def kill_at_random(control: Control, chance: random.Random) -> None:
    """SIGKILL some time after its start, also while it starts, and start it again at once."""
    time.sleep(chance.uniform(0.2, 2.6))
    control.process.popen.kill()
    control.process.popen.wait()
    control.start()


def check_history(rows: list[dict], steps: int) -> int:
    """Each run of the rollout went through each step once, in order; return how often it was promoted."""
    assert [row["revision"] for row in rows] == list(range(1, len(rows) + 1)), "one audit row per change"
    step, promoted = 0, 0
    for row in rows:
        if row["actor"] != "autopilot":
            step = 1  # put, or resumed after it was taken back: at the first step again
            continue
        if found := STEP.search(row["reason"]):
            assert int(found[1]) == step + 1, f"{row['reason']} after step {step}"
        elif "took over from" in row["reason"]:
            assert step == steps + 2, "promoted before the last step, or twice"
            promoted += 1
        else:
            assert row["reason"].startswith("promoting digits/2"), row["reason"]
            assert step == steps
            step += 1
        step += 1
    return promoted


def survive(folder, kills: int, steps: int, workers: int = 2) -> int:
    chance = random.Random(kills)
    with controlling(folder) as control:
        control.put("digits", {"stable": "digits/1"}).raise_for_status()
        with following(folder, control, workers) as node:
            eventually(lambda: ready(control), "ready")
            with Load(node.infer_url, 30, plain) as load:
                control.put("digits", document(steps)).raise_for_status()
                for _ in range(kills):
                    kill_at_random(control, chance)
                    if chance.random() < 0.2:
                        eventually(lambda: control.view("digits"), "control answers")
                        if control.view("digits")["status"]["phase"] == "promoted":
                            control.act("digits", "abort", reason="once more").raise_for_status()
                            control.act("digits", "resume", reason="once more").raise_for_status()
                eventually(
                    lambda: control.view("digits")["status"]["phase"] == "promoted",
                    "promoted",
                    30.0 + 3 * steps,
                )
            assert set(load.ledger.statuses) == {200}, (load.ledger.statuses, load.ledger.errors)
            view = control.view("digits")
            assert view["serving"] == {
                "stable": "digits/2",
                "canary": None,
                "weight": 0,
                "mirror": 0,
                "top_up": 0,
                "waves": None,
            }
            eventually(lambda: ready(control), "in force")
            rows = list(reversed(control.history("digits")))
        return check_history(rows, steps)


def test_killed_at_four_points_control_ends_where_it_would_have(tmp_path):
    assert survive(tmp_path, 4, steps=3, workers=1) >= 1


@pytest.mark.slow
def test_killed_at_200_points_control_ends_where_it_would_have(tmp_path):
    assert survive(tmp_path, 200, steps=20) >= 1
