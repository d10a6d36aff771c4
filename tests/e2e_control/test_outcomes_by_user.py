"""By user control draws as the router did: what it works out is what receipts of the same answers say."""

import contextlib
import sqlite3
import time

from control.outcomes.intake import AROUND_SECONDS
from harness.control import controlling, following
from harness.rows import body
from harness.system import eventually

USERS = 60
DOCUMENT = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "weight": 40},
    "sticky": {"header": "x-user"},
    "outcomes": {
        "conversion": {"kind": "binary", "within": "1h"},
        "complaint": {"kind": "binary", "within": "1h", "better": "lower"},
    },
}


def served(control) -> bool:
    view = control.view("digits")
    targets = [target for target in view["targets"] if target["role"] in {"stable", "canary"}]
    return view["in_force_everywhere"] and all(any(each["ready"].values()) for each in targets)


def test_a_user_is_attributed_to_the_side_that_the_receipt_of_their_answer_names(tmp_path):
    with controlling(tmp_path) as control:
        control.put("digits", {**DOCUMENT, "canary": {"model": "digits/2", "weight": 10}}).raise_for_status()
        with following(tmp_path, control) as node:
            eventually(lambda: served(control), "both are served")
            control.put("digits", DOCUMENT).raise_for_status()  # some users were drawn before
            changed = time.time()
            eventually(lambda: time.time() > changed + AROUND_SECONDS + 1.0, "routers have followed")
            told = []
            for number in range(USERS):
                user = f"user {number}"
                answer = node.client.post(node.infer_url, content=body(number), headers={"x-user": user})
                receipt = answer.raise_for_status().headers["x-understudy-receipt"]
                told.append({"receipt": receipt, "name": "conversion", "value": 1})
                told.append(
                    {"model": "digits", "key": user, "time": time.time(), "name": "complaint", "value": 1}
                )
            found = control.client.post("/v1/outcomes", json=told).json()
            assert (found["accepted"], found["left_out"]) == (2 * USERS, {}), found
        path = next((tmp_path / "state").resolve().glob("state.db"))
        with contextlib.closing(sqlite3.connect(path)) as database:
            query = "SELECT key, stage, arm, anew FROM outcomes WHERE name = ? ORDER BY key"
            by_receipt, by_user = (
                database.execute(query, (name,)).fetchall() for name in ("conversion", "complaint")
            )
        assert by_user == by_receipt
        assert {row[1:] for row in by_user} == {(2, 0, 1), (2, 1, 1), (2, 1, 0)}
