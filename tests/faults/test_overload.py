"""Twice as much load as can be served: most of the peak is served on, the rest is told so at once."""

import os
import shutil
import time

import pytest

from harness.digit_models import slow_digits
from harness.load import Load
from harness.raw import ask_all, request
from harness.rows import body, plain
from harness.system import MODELS, eventually, running

DIGITS = "/v2/models/digits/infer"
ROLLOUTS = "digits: {stable: digits/50, timeout: 1s}"
CONFIG = "versions: all\nbatching: {max: 1}\nqueue: 8\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overload")
    models = folder / "models"
    shutil.copytree(MODELS / "digits", models / "digits")
    (models / "digits" / "50").mkdir()
    (models / "digits" / "50" / "model.onnx").write_bytes(slow_digits(200))
    (models / "digits" / "config.yaml").write_text(CONFIG)
    with running(folder, ROLLOUTS, models=models) as started:
        yield started


def peak(up, seconds):
    """Answers a second that four clients get who ask again at once."""
    began = time.monotonic()

    def requests():
        while time.monotonic() < began + seconds:
            yield request(DIGITS, body(0))

    statuses = [answer.status for answer in ask_all(up.port, requests(), connections=4)]
    assert set(statuses) == {200}
    return len(statuses) / (time.monotonic() - began)


def overload(up, seconds):
    """Twice the peak for so long; goodput and peak in answers a second, and how soon most others end."""
    highest = peak(up, max(1.0, seconds / 10))
    with Load(up.url + DIGITS, 2 * highest, plain, connections=256) as load:
        eventually(lambda: load.ledger.sent >= 2 * highest * seconds, "load", 3 * seconds + 30)
        ledger = load.stop()
    assert set(ledger.statuses) <= {200, 503}, ledger.errors
    took = max(sent + took for sent, _, took in ledger.rows) - min(sent for sent, _, _ in ledger.rows)
    refused = sorted(took for _, status, took in ledger.rows if status == 503)
    assert refused, "twice the peak cannot be served"
    counted = up.metric("understudy_requests_total", code="503") + up.metric("understudy_rejected_total")
    assert counted >= ledger.statuses[503]
    eventually(lambda: up.client.post(DIGITS, content=body(0)).status_code == 200, "recovered")
    return ledger.statuses[200] / took, highest, refused[len(refused) // 2]


def test_at_twice_the_peak_what_cannot_be_served_is_refused(up):
    goodput, *_ = overload(up, 1.5)
    assert goodput > 0


@pytest.mark.slow
def test_at_twice_the_peak_for_minutes_most_of_the_peak_is_served_and_the_rest_refused_at_once(up):
    """The two rates are taken one after the other: a machine that others use in between tells nothing."""
    goodput, highest, until_refused = overload(up, float(os.environ.get("OVERLOAD_SECONDS", "300")))
    assert goodput >= 0.9 * highest, (goodput, highest)
    assert until_refused < 0.5, "at once"
