"""A canary that takes many times as long as stable is taken off by its latency, and no client fails."""

import shutil
import statistics

import pytest

from harness.digit_models import slow_digits
from harness.load import Load
from harness.pilot import piloted, rollout
from harness.rows import body_of, digits
from harness.system import eventually

TURNS = 4
"""Several times as slow as stable, and so quick that ten pairs a second fit into what pairs may take."""
PAIRS_SECONDS = 120.0
"""For the pairs that tell (about 130) and a sandbox that starts, on a machine that others use, too."""


def test_a_slow_canary_is_taken_off_by_its_latency(at, request):
    up = at.up
    folder = up.folder / "models" / "digits" / "60"
    folder.mkdir()
    request.addfinalizer(lambda: shutil.rmtree(folder))
    (folder / "model.onnx").write_bytes(slow_digits(TURNS))
    document = rollout("digits/60", {"latency": {"maxRatio": 1.25}}, weight=20)
    with piloted(up, "slow", {"stable": "digits/1"}) as pilot, pilot.load(40) as load:
        eventually(lambda: load.ledger.sent >= 40, "stable alone")
        pilot.put(document)
        status = pilot.wait_phase("rolled_back", PAIRS_SECONDS)
        assert "latency: harmful" in status["reason"]
        ledger = load.stop()
        assert set(ledger.statuses) == {200}, ledger.errors


@pytest.mark.slow
def test_a_shadow_that_would_eat_every_core_costs_no_client_anything(at, request):
    up = at.up
    folder = up.folder / "models" / "digits" / "61"
    folder.mkdir()
    request.addfinalizer(lambda: shutil.rmtree(folder))
    (folder / "model.onnx").write_bytes(slow_digits(1000))
    document = {"stable": "digits/1", "shadows": [{"model": "digits/61", "sample": 100}], "timeout": "1s"}
    with piloted(up, "hungry", document):
        eventually(up.all_targets_ready, "ready")

        def outcomes(outcome):
            return up.metric("understudy_shadow_total", model="hungry", outcome=outcome)

        many = body_of(digits()[:200])  # so that its buffer is soon full
        with Load(f"{up.url}/v2/models/hungry/infer", 60, lambda _: ({}, many)) as load:
            eventually(lambda: outcomes("dropped") > 20, "what does not fit is dropped", 60)
            eventually(lambda: outcomes("compared") > 0, "what fits is compared", 60)
            ledger = load.stop()
        assert set(ledger.statuses) == {200}, ledger.errors
        assert statistics.median(ledger.seconds) < 0.05
