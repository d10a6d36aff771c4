"""The page on outcomes is done as it is written, on a node that other tests share."""

import pytest

from harness.fences import beside, follow
from harness.system import ROOT, eventually

PAGE = ROOT / "docs" / "outcomes.md"
MODEL = "forms"
SECONDS = 60.0


@pytest.fixture
def reader(node, tmp_path):
    yield beside(node, tmp_path)
    node.admin.delete(f"/v1/rollouts/{MODEL}").raise_for_status()


def taken(node) -> dict[str, int]:
    return {row["name"]: row["taken"] for row in node.view(MODEL)["outcomes"]}


def left_out(node) -> dict[str, dict[str, int]]:
    return {row["name"]: row["left_out"] for row in node.view(MODEL)["outcomes"]}


def test_every_command_of_the_page_does_what_it_says(node, reader):
    assert follow(PAGE, reader, SECONDS, node.all_targets_ready) == 8
    wanted = {"label": 1, "conversion": 1, "complaint": 1, "revenue": 1}
    eventually(lambda: taken(node) == wanted, "control has all of it, once")
    eventually(lambda: left_out(node)["label"].get("duplicate") == 2, "one of the file, one by the node")
