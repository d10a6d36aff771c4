"""Two editors and the autopilot race on one rollout through real processes: one winner each time."""

import subprocess
from collections import Counter

from harness.control import Control, controlling
from harness.system import eventually
from harness.warm import Program, python

EDITS = 8
STEPS = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "steps": [{"setWeight": weight} for weight in range(1, 61)]},
    "timeout": "1s",
}
# Reads the rollout and puts it back with one second more, until it won so often; prints each status.
EDITOR = """
import sys
import httpx

url, wins = sys.argv[1] + "/v1/rollouts/digits", int(sys.argv[2])
with httpx.Client(trust_env=False) as client:
    while wins:
        read = client.get(url)
        document = read.json()["document"]
        document["timeout"] = f"{int(document['timeout'].rstrip('s')) + 1}s"
        put = client.put(
            url, json=document, headers={"if-match": read.headers["etag"]}, params={"reason": "+1"}
        )
        print(put.status_code, flush=True)
        wins -= put.status_code == 200
"""


def editor(control: Control) -> Program | subprocess.Popen[str]:
    return python("-c", EDITOR, control.url, str(EDITS), stdout=subprocess.PIPE)


def test_no_edit_is_lost_between_two_editors_and_the_autopilot(tmp_path):
    with controlling(tmp_path) as control:
        control.put("digits", STEPS).raise_for_status()

        def moved() -> bool:  # the canary is ready in a worker, so every tick of the autopilot is a step
            control.sync("w1", ["digits/1", "digits/2"], control.view("digits")["revision"])
            return any(row["actor"] == "autopilot" for row in control.history("digits"))

        eventually(moved, "the autopilot moves")
        editors = [editor(control) for _ in range(2)]
        answers: Counter[str] = Counter()
        for process in editors:
            with process:
                answers.update(process.stdout.read().split())
        assert set(answers) <= {"200", "412"}, answers
        assert answers["200"] == 2 * EDITS
        rows = list(reversed(control.history("digits")))
        assert [row["revision"] for row in rows] == list(range(1, len(rows) + 1))
        timeouts = [int(row["document"]["timeout"].rstrip("s")) for row in rows if row["reason"] == "+1"]
        assert timeouts == list(range(2, 2 * EDITS + 2)), "each edit stands on the one before"
        assert control.view("digits")["document"]["timeout"] == f"{2 * EDITS + 1}s"
        reasons = [row["reason"] for row in rows if row["actor"] == "autopilot"]
        assert len(reasons) == len(set(reasons)), "no step twice"
