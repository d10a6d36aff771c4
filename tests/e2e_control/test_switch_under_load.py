"""Promotion and the blue/green switch under load: no request fails, and none waits for a load.

This is docs/blue-green.md, followed to the letter.
"""

import re
import textwrap

import pytest

from harness.command import rollouts
from harness.load import Load
from harness.rows import DIGITS, body, plain
from harness.system import ROOT, Up, eventually, running

GUIDE = (ROOT / "docs" / "blue-green.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", GUIDE, re.DOTALL)  # language, text
[DOCUMENT] = [textwrap.dedent(text) for language, text in BLOCKS if language == "yaml"]
COMMANDS = [
    line for language, text in BLOCKS if language == "sh" for line in textwrap.dedent(text).splitlines()
]


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    with running(tmp_path_factory.mktemp("switch"), DOCUMENT, options=("--workers", "2")) as system:
        yield system


@pytest.fixture
def up(started):
    if phase(started) == "rolled_back":  # by the test before
        started.admin.post("/v1/rollouts/digits/resume").raise_for_status()
        eventually(started.all_targets_ready, "the canary is back")
    return started


def phase(up: Up) -> str:
    return up.view("digits")["status"]["phase"]


def loads(up: Up) -> int:
    """How often a worker has loaded a model, by the log."""
    return up.process.log.read_text().count("model loaded")


def command(up: Up, name: str) -> str:
    """The one command of the guide that does this, as it is written there."""
    [line] = [line for line in COMMANDS if line.startswith(f"understudy rollouts {name} ")]
    return rollouts(up, *line.split("#")[0].split()[2:])


def test_the_recipe_previews_switches_and_goes_back_without_a_failed_request(up):
    assert up.view("digits")["serving"] == {
        "stable": "digits/1", "canary": "digits/2", "weight": 0, "mirror": 100, "top_up": 0, "waves": None,
    }  # fmt: skip
    forced = {"content-type": "application/json", "x-understudy-target": "canary"}
    preview = up.client.post(DIGITS, content=body(0), headers=forced)
    assert preview.headers["x-understudy-target"] == "digits/2"

    with Load(up.url + DIGITS, 40, plain) as load:
        eventually(lambda: load.ledger.sent > 80, "load")
        assert set(load.ledger.targets) == {"digits/1"}

        command(up, "promote")
        eventually(lambda: phase(up) == "promoted", "promoted")
        eventually(up.all_targets_ready, "in force")
        switched = load.ledger.sent
        eventually(lambda: load.ledger.sent > switched + 40, "more load")
        assert up.view("digits")["serving"]["stable"] == "digits/2"
        assert [t["target"] for t in up.view("digits")["targets"] if t["role"] == "warm"] == ["digits/1"]

        loaded = loads(up)
        command(up, "abort")  # the one command back
        eventually(up.all_targets_ready, "in force")
        back = load.ledger.sent
        eventually(lambda: load.ledger.sent > back + 40, "more load")
        assert loads(up) == loaded, "going back loaded a model"
    assert set(load.ledger.statuses) == {200}, load.ledger.errors
    assert up.view("digits")["serving"]["stable"] == "digits/1"
    last = up.client.post(DIGITS, content=body(0), headers={"content-type": "application/json"})
    assert last.headers["x-understudy-target"] == "digits/1"


def test_the_file_that_still_names_the_old_stable_does_not_undo_a_promotion(up):
    command(up, "promote")
    eventually(lambda: phase(up) == "promoted", "promoted")
    up.edit(DOCUMENT + "# touched\n")
    up.edit(DOCUMENT + "# touched again\niris: {stable: iris/1}\n")
    eventually(lambda: "iris" in {view["model"] for view in up.admin.get("/v1/rollouts").json()}, "edited")
    assert phase(up) == "promoted"
    up.edit(DOCUMENT.replace("mirror: 100", "mirror: 50").replace("weight: 0", "weight: 1"))
    eventually(lambda: up.view("digits")["serving"]["weight"] == 1, "a changed file does start it again")
