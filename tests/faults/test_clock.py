"""The wall clock jumps by an hour, or the machine sleeps: no step is taken early, none is held up."""

import os
from pathlib import Path

import pytest

from harness.control import Control, controlling
from harness.system import eventually

STEPS = {
    "stable": "digits/1",
    "canary": {
        "model": "digits/2",
        "steps": [{"setWeight": 5}, {"pause": {"duration": "30m"}}, {"setWeight": 50}, {"pause": {}}],
    },
}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clock")
    path = [str(Path(__file__).parent / "clock"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, path)), "CLOCK_FILE": str(folder / "offset")}
    (folder / "offset").write_text("0")
    with controlling(folder, environment=environment) as control:
        yield control


def status(control: Control, model: str) -> dict:
    control.sync("w1", ["digits/1", "digits/2"], control.view(model)["revision"])
    return dict(control.view(model)["status"])


@pytest.mark.parametrize("hours", [1, pytest.param(-1, marks=pytest.mark.slow)])
def test_a_pause_is_not_over_because_the_wall_clock_says_so(started, hours):
    model = f"clock{hours}"
    started.put(model, STEPS).raise_for_status()
    eventually(lambda: status(started, model)["step"] == 2, "it waits")
    before = status(started, model)["waited_seconds"]
    (started.folder / "offset").write_text(str(hours * 3600))
    eventually(lambda: status(started, model)["waited_seconds"] >= before + 2, "two seconds of waiting")
    found = status(started, model)
    assert (found["step"], found["phase"]) == (2, "progressing")
    assert found["waited_seconds"] < 60
    started.act(model, "pause").raise_for_status()
    times = [row["at"] for row in started.history(model)[:2]]
    assert times[0] - times[1] == pytest.approx(hours * 3600, abs=60), "the audit log has the jump in it"
    (started.folder / "offset").write_text("0")
