"""The page on A/B/n tests is done as it is written, on a node that other tests share."""

import pytest

from harness.fences import beside, follow
from harness.picky import picky
from harness.pilot import Pilot
from harness.system import ROOT

PAGE = ROOT / "docs" / "abn.md"
MODEL = "shop"
SECONDS = 120.0


@pytest.fixture
def reader(node, tmp_path):
    with picky(lambda _: True) as url:
        found = beside(node, tmp_path)
        found.replace = {"http://localhost:9000": url, "localhost:8000": f"127.0.0.1:{node.port}"}
        yield found
        node.admin.delete(f"/v1/rollouts/{MODEL}").raise_for_status()


def test_every_command_of_the_page_does_what_it_says(node, reader):
    assert follow(PAGE, reader, SECONDS, Pilot(node, MODEL).ready) == 5
    view = node.view(MODEL)
    assert view["serving"]["stable"] == "digits/2"
    assert "users pay for it" in node.admin.get(f"/v1/rollouts/{MODEL}/history").text
