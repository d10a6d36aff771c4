"""The page on segments is done as it is written, on a node that other tests share."""

import os
import sys
from pathlib import Path

import pytest

from harness.fences import Reader, follow
from harness.picky import picky
from harness.pilot import Pilot, piloted
from harness.system import ROOT

PAGE = ROOT / "docs" / "segments.md"
MODEL = "flowers"
SECONDS = 60.0


def in_millimetres(asked):
    return max(asked["inputs"][0]["data"]) > 10


@pytest.fixture
def reader(node, tmp_path):
    flower = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "UNDERSTUDY_CONTROL": node.admin_url,
        "COLUMNS": "300",
    }
    with piloted(node, MODEL, {"stable": "iris/1"}) as pilot:
        metadata = node.client.get(f"/v2/models/{MODEL}").raise_for_status().json()
        answer = node.client.post(pilot.infer, json={"inputs": [flower]}).raise_for_status().json()
        with picky(in_millimetres, metadata, answer) as url:
            replace = {"http://localhost:8000": node.url, "http://localhost:9000": url}
            yield Reader(tmp_path, environment, replace)


def test_every_command_of_the_page_does_what_it_says(node, reader):
    assert follow(PAGE, reader, SECONDS, Pilot(node, MODEL).ready) == 3
