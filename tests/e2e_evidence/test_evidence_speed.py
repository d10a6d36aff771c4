"""Variants with real processes: one that agrees and pays is kept, one that does not pay is taken off."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.pilot import piloted, rollout
from harness.system import MODELS, running
from understudy.variants.making import Asked, make
from understudy.variants.methods import METHODS

GUARDS = {"agreement": {"output": "label", "min": "90%"}, "speed": {"min": 1.3}}


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """A node whose digits have two variants of 4: in 8 bits, which pays here, and in halves, which cannot."""
    folder = tmp_path_factory.mktemp("variants")
    shutil.copytree(MODELS / "digits", folder / "models" / "digits")
    made = {
        name: make(Asked(folder / "models", "digits/4", METHODS[name], timing_seconds=1.0))
        for name in ("int8-static", "fp16")
    }
    with running(folder, "digits: {stable: digits/4}\n", models=folder / "models") as up:
        yield up, made


def ended(up, name, variant):
    document = rollout(variant.key, GUARDS, mirror=100) | {"stable": variant.origin}
    with piloted(up, name, document) as pilot, pilot.load(20, connections=2):
        phase = "promoted" if name == "int8-static" else "rolled_back"
        return pilot.wait_phase(phase, 90)["reason"], {row["guard"]: row for row in pilot.view["guards"]}


def test_a_rollout_keeps_the_variant_that_agrees_and_pays_and_takes_the_other_off(variants):
    up, made = variants
    if made["int8-static"].tested.speed.ratio > 1 / 1.5:
        pytest.skip("8 bits do not pay on this CPU, which has no instructions for them")
    with ThreadPoolExecutor(2) as threads:
        kept, gone = threads.map(lambda name: ended(up, name, made[name]), ("int8-static", "fp16"))
    assert "for at least 1.3 times as fast" in kept[0]
    assert "speed: harmful: the canary's model was at least 1.3 times as fast as stable's in" in gone[0]
    assert "of 0 " not in gone[0]
