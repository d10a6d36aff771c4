"""Twice the peak load: what can be served is served in time, the rest is told at once to come back."""

import threading
import time

import httpx
import orjson
import pytest

from harness.digit_models import slow_digits
from harness.load import Load
from harness.system import eventually, running

PIXELS = {"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}
BODY = orjson.dumps({"inputs": [PIXELS]})
TURNS = 1000  # 20 ms of work on a quiet core
WAIT_SECONDS = 0.3
ROLLOUTS = "pooled: {stable: pooled/1, timeout: 5s}\ninline: {stable: inline/1, timeout: 5s}\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overload")
    for execution in ("pooled", "inline"):
        version = folder / "models" / execution / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").write_bytes(slow_digits(TURNS))
        (version.parent / "config.yaml").write_text(f"execution: {execution}\nbatching: {{max: 1}}\n")
    options = ("--adaptive-concurrency", "--max-wait-seconds", str(WAIT_SECONDS))
    with running(folder, ROLLOUTS, models=folder / "models", options=options) as up:
        yield up


def path(model):
    return f"/v2/models/{model}/infer"


def peak(up, model, seconds):
    """Answers a second to three clients of which each waits for its answer."""
    answered, until = [], time.monotonic() + seconds

    def ask():
        with httpx.Client(base_url=up.url, timeout=30.0, trust_env=False) as client:
            while time.monotonic() < until:
                if client.post(path(model), content=BODY).status_code == 200:
                    answered.append(time.monotonic())

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return len(answered) / seconds


def overload(up, model, rate, seconds):
    """The ledger of so many requests a second for that long."""
    with Load(up.url + path(model), rate, lambda _: ({}, BODY), connections=400, timeout=30.0) as load:
        until = time.monotonic() + seconds
        eventually(lambda: time.monotonic() >= until, "the load was held", seconds + 10.0)
        eventually(lambda: up.metric("understudy_saturation") == 1.0, "autoscalers see that it is full")
        assert up.metric("understudy_resource_saturation", resource="refusals") == 1.0
        return load.stop()


def check(up, model, seconds, factor):
    """Above its peak a model answers or refuses, and answers all afterwards; its peak and the ledger."""
    before = peak(up, model, max(2.0, seconds / 10))
    ledger = overload(up, model, factor * before, seconds)
    assert set(ledger.statuses) == {200, 503}, ledger.errors
    eventually(lambda: up.client.post(path(model), content=BODY).status_code == 200, "it recovers")
    assert [up.client.post(path(model), content=BODY).status_code for _ in range(20)] == [200] * 20
    eventually(lambda: up.metric("understudy_saturation") < 0.5, "autoscalers see that it has room")
    return before, ledger


def test_a_model_in_a_thread_is_given_what_it_can_work_on_and_the_rest_is_refused(up):
    _, ledger = check(up, "pooled", 5.0, 5)
    rejected = up.metric("understudy_rejected_total", door="public", reason="concurrency")
    assert rejected >= ledger.statuses[503]
    assert 3 <= up.metric("understudy_concurrency_limit", target="pooled/1") < 60


def test_requests_that_the_event_loop_does_not_reach_in_time_are_refused(up):
    before = up.metric("understudy_requests_total", model="inline", code="503")
    check(up, "inline", 5.0, 5)
    assert up.metric("understudy_rejected_total", door="public", reason="wait") > 0
    assert up.metric("understudy_requests_total", model="inline", code="503") == before  # nor in the evidence


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pooled", "inline"])
def test_five_minutes_at_twice_the_peak_keep_nine_tenths_of_it(up, model):
    before, ledger = check(up, model, 300.0, 2)
    assert ledger.statuses[200] / 300.0 >= 0.9 * before
