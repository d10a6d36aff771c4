"""Latency with real processes: a copy of stable stays, under any load; a slower model goes."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.load import Load
from harness.pilot import piloted, rollout
from harness.rows import plain
from harness.system import eventually

GUARD = {"latency": {"maxRatio": 1.25}}


def timed(up, model):
    return up.metric("understudy_pairs_total", model=model, outcome="timed")


def copy_of_stable(up, connections):
    """A copy of stable under load; its phase, and what its guard says."""
    with piloted(up, f"copy{connections}", rollout("digits/60", GUARD, weight=10)) as pilot:
        url = f"{up.url}/v2/models/{pilot.model}/infer"
        with Load(url, 40, plain, connections=connections):
            eventually(lambda: timed(up, pilot.model) >= 60, "pairs", 90)
            eventually(lambda: " pairs" in pilot.guard("latency").get("reason", ""), "a verdict on them")
            return pilot.status["phase"], pilot.guard("latency")


def slower_than_stable(up):
    """A slower model of the same kind; why it was taken off, and how many of its pairs were timed."""
    with piloted(up, "slower", rollout("digits/61", GUARD, weight=10)) as pilot, pilot.load(30):
        return pilot.wait_phase("rolled_back", 90)["reason"], timed(up, "slower")


@pytest.fixture(scope="module")
def up(node):
    return node


@pytest.fixture(scope="module")
def seen(up):
    """All of them side by side: pairs come at ten a second, whatever the load."""
    with ThreadPoolExecutor(3) as threads:
        copies = [threads.submit(copy_of_stable, up, connections) for connections in (1, 32)]
        slower = threads.submit(slower_than_stable, up)
        return [copy.result() for copy in copies], slower.result()


def test_a_copy_of_stable_is_not_taken_off_whatever_the_load(seen):
    """E3: by the answers' own times it was gone within seconds, in six of nine such runs."""
    for phase, guard in seen[0]:
        assert phase == "progressing"
        assert guard["log_harm"] < 1.0, guard["reason"]


def test_a_slower_model_is_found_by_pairs_and_none_of_them_counts_as_mirrored(up, seen):
    reason, pairs = seen[1]
    assert "latency: harmful: the canary's model took longer than 1.25 times stable's in" in reason
    assert pairs > 60
    assert up.metric("understudy_shadow_total", model="slower") == 0
