"""The demo as a person runs it, with shorter scenes."""

import re
import subprocess
import sys

import pytest

from harness.system import ROOT

DEMO = [sys.executable, str(ROOT / "demo" / "demo.py"), "--fast"]


@pytest.fixture(scope="module")
def run():
    return subprocess.run(DEMO, capture_output=True, text=True, timeout=180, check=False)


def test_the_demo_shows_its_scenes_and_ends_cleanly(run):
    assert run.returncode == 0, run.stdout + run.stderr
    said = run.stdout
    assert said.count("in force in all 2 workers after") == 5
    assert "digits/2 is given 50%, digits/1 the rest" in said
    assert "digits/2: weight 50%, served" in said
    assert "digits/3 agrees on label with what was answered:" in said
    assert "8 taken for 3" in said
    assert (
        "refused: rollouts.yaml:3:37: digits.canary.weight: expected a number from 0 to 100, got 500" in said
    )
    assert said.count("requests that failed meanwhile: 0") == 3
    assert " requests sent, 0 failed" in said
    assert "make run" in said
    assert run.stderr == ""


def test_the_autopilot_ends_three_rollouts_and_says_why(run):
    """In this order: the broken one, the good one, the wrong one."""
    ends = re.findall(r"(rolled back|promoted) by the autopilot after [\d.]+ s: (.*)", run.stdout)
    assert [end for end, _ in ends] == ["rolled back", "promoted", "rolled back"]
    broken, good, wrong = (reason for _, reason in ends)
    # Clients' requests and mirrored ones are counted apart, and it fails all of both: either may be first.
    errors = r"errors: harmful: (\d+) of (\d+) canary requests failed"
    found = re.search(errors, broken) or re.search(r"harmful: (\d+) of (\d+) comparisons of label", broken)
    assert found, broken
    assert found[1] == found[2]
    assert int(found[1]) <= (10 if "errors: harmful" in broken else 200)
    assert good.startswith("digits/2 took over from digits/1: every step is done; errors: proven: ")
    assert "agreement:label: proven: " in good
    assert wrong.startswith("digits/3 was taken off: agreement:label: harmful: ")
    for step in ("step 2 of 4, digits/2 at 10%", "step 4 of 4, digits/2 at 50%"):
        assert step in run.stdout
    shown = r"agreement:label: proven, e-value for harm \S+, for being no worse \S+, needed 60"
    assert re.search(shown, run.stdout), run.stdout
