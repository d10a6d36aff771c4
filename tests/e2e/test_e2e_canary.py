"""A canary that dies, stops or fails costs no client anything."""

import os
import signal

from harness.pilot import piloted
from harness.raw import ask_all, request, tally
from harness.rows import body
from harness.system import eventually


def half(version: int, **keys: str) -> dict:
    return {"stable": "digits/1", "canary": {"model": f"digits/{version}", "weight": 50}, **keys}


def test_killing_the_canary_again_and_again_under_load_fails_no_request(node):
    with piloted(node, "killed-canary", half(2, timeout="300ms")) as pilot, pilot.load(40) as load:
        for _ in range(2):
            share = load.ledger.targets["digits/2"]
            eventually(lambda: load.ledger.targets["digits/2"] > share + 10, "canary answers")  # noqa: B023
            (pid,) = eventually(pilot.sandboxes, "sandbox reports")
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: pilot.sandboxes() not in ([], [pid]), "another sandbox")  # noqa: B023
        share = load.ledger.targets["digits/2"]
        eventually(lambda: load.ledger.targets["digits/2"] > share + 10, "canary answers again")
        ledger = load.stop()
        assert set(ledger.statuses) == {200}, ledger.errors
        for target in ("digits/1", "digits/2"):
            assert pilot.metric("requests_total", target=target, code="200") == ledger.targets[target]
        assert pilot.metric("requests_total") == ledger.sent
        assert pilot.metric("failover_total", target="digits/2") > 0


def test_a_stopped_canary_is_ejected_and_comes_back_when_it_runs_again(node):
    ejected = node.metric("understudy_ejections_total", target="digits/2")
    with piloted(node, "stopped-canary", half(2, timeout="300ms")) as pilot, pilot.load(40) as load:
        eventually(lambda: load.ledger.targets["digits/2"] > 10, "canary answers")
        (pid,) = pilot.sandboxes()
        os.kill(pid, signal.SIGSTOP)
        try:
            eventually(lambda: pilot.metric("failover_total", reason="timeout") > 0, "timed out")
            eventually(
                lambda: node.metric("understudy_ejections_total", target="digits/2") > ejected, "ejected"
            )
            eventually(lambda: pilot.metric("failover_total", reason="ejected") > 0, "refused")
            eventually(lambda: pilot.metric("failover_total", reason="not_ready") > 0, "not ready")
        finally:
            os.kill(pid, signal.SIGCONT)
        share = load.ledger.targets["digits/2"]
        eventually(lambda: load.ledger.targets["digits/2"] > share + 10, "canary answers again")
        ledger = load.stop()
        assert set(ledger.statuses) == {200}, ledger.errors
        assert pilot.metric("requests_total", code="200") == ledger.sent


def test_a_canary_that_always_fails_is_answered_for_by_stable(node):
    with piloted(node, "failing-canary", half(9)) as pilot:
        eventually(pilot.ready, "ready")
        asked = (request(pilot.infer, body(n)) for n in range(100))
        assert tally(ask_all(node.port, asked, connections=4)) == {(200, "digits/1"): 100}
        assert pilot.metric("requests_total") == 100
        assert pilot.metric("failover_total", target="digits/9") > 0
        forced = iter([request(pilot.infer, body(0), {"x-understudy-target": "canary"})])
        assert tally(ask_all(node.port, forced)) == {(400, ""): 1}
