"""What clients see, and compute times behind URLs, with real processes: a queue, a slower model, neither."""

import contextlib
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.digit_models import slow_digits
from harness.pilot import piloted, rollout
from harness.slow_hop import slow_hop
from harness.system import MODELS, eventually, running, serving

BOTH = {"latency": {"maxRatio": 1.25, "clients": {"slack": "50ms"}}}
"""With as much slack as a busy machine takes to turn to another process."""
MODEL_ONLY = {"latency": {"maxRatio": 1.25, "clients": {"mode": "observe"}}}
HOP_SECONDS = 0.2


def of(other, model="digits/1"):
    return {"model": model, "url": other}


def taken_off(up, name, canary, guards):
    """Why a canary was taken off, and what its guards said then."""
    with piloted(up, name, rollout(canary, guards, weight=30)) as pilot, pilot.load(20):
        reason = pilot.wait_phase("rolled_back", 150)["reason"]
        return reason, {guard["guard"]: guard["verdict"] for guard in pilot.history[0]["evidence"]["guards"]}


def left_alone(up, name, canary, until):
    """A canary as good as stable, until it has been tested as long as a bad one was; phase and guards."""
    document = rollout(canary, BOTH, {"pause": {}}, weight=30)
    with piloted(up, name, document) as pilot, pilot.load(20):
        eventually(
            lambda: "clients are not shown" in pilot.guard("latency:clients").get("reason", ""), "told", 60
        )
        until()
        return pilot.status["phase"], pilot.guard("latency:clients"), pilot.guard("latency")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """All of them side by side, since slices take their time."""
    folder = tmp_path_factory.mktemp("clients")
    models = folder / "models"
    shutil.copytree(MODELS / "digits", models / "digits")
    (models / "digits" / "61").mkdir()
    (models / "digits" / "61" / "model.onnx").write_bytes(slow_digits(50))
    with contextlib.ExitStack() as stack:
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        other = stack.enter_context(serving(elsewhere, models=models, options=("--tell-compute-time",)))
        url = stack.enter_context(slow_hop(other.port, HOP_SECONDS))
        up = stack.enter_context(running(folder, "digits: {stable: digits/1}", models=models))
        threads = stack.enter_context(ThreadPoolExecutor(3))
        queued = threads.submit(taken_off, up, "queued", of(url), BOTH)
        slower = threads.submit(taken_off, up, "slower", of(other.url, "digits/61"), MODEL_ONLY)
        both = lambda: (queued.exception(200), slower.exception(200))  # noqa: E731
        copy = threads.submit(left_alone, up, "copy", of(other.url), both)
        return {"queued": queued.result(), "slower": slower.result(), "copy": copy.result()}


def test_a_canary_whose_queue_is_slow_and_not_its_model_is_taken_off_by_what_clients_see(seen):
    reason, verdicts = seen["queued"]
    assert "latency:clients: harmful: clients waited longer at the canary (" in reason
    assert "stable" in reason.partition("(")[2]
    assert verdicts["latency"] != "harmful", "it computes as quickly as stable"


def test_a_slower_model_behind_a_url_is_taken_off_by_the_compute_times_that_it_tells(seen):
    reason, _ = seen["slower"]
    assert "latency: harmful: " in reason
    assert "canary answers took longer than" in reason


def test_a_copy_behind_a_url_is_left_alone_for_as_long(seen):
    phase, clients, model = seen["copy"]
    assert phase == "paused"
    assert clients["verdict"] == "undecided"
    assert clients["log_harm"] < clients["log_line"] / 2, clients["reason"]
    assert model["verdict"] != "harmful", model["reason"]
