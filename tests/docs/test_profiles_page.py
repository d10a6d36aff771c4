"""The page on profiles is done as it is written; and what a profile is beside leaves the model as it was."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from harness.fences import Reader, fences, matches
from harness.system import MODELS, ROOT
from router.drift.profile import from_json
from understudy.offline.running import open_model

SECONDS = 60.0


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Somebody who has done what the page says."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(MODELS / "cancer", folder / "models" / "cancer")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    reader = Reader(folder, {"PATH": path, "COLUMNS": "200", "UNDERSTUDY_MODELS": "models"}, {})
    blocks = list(fences(ROOT / "docs" / "profiles.md"))
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.title:
            (folder / block.title).write_text(block.text)
        elif block.language == "sh":
            said = reader.run(block.text, SECONDS)
            expected = after.text if after is not None and after.language == "text" else ""
            assert matches(expected, said), f"{block}:\n{block.text}\n{said}"
    return reader


def test_the_columns_that_somebody_changed_come_first(reader):
    said = reader.run("understudy profile today.npz --model cancer/2 --compare --json", SECONDS)
    found = json.loads(said)
    inputs = [name for name in found if name.startswith("features")]
    assert inputs[:2] == ["features[2]", "features[7]"], "answers move, too"
    assert (found["features[2]"]["outside"], found["features[7]"]["missing"]) == (1.0, 0.25)
    assert found["features[3]"]["psi"] == 0.0, "the same rows"


def test_more_rows_add_to_it_and_the_model_is_as_it_was(reader):
    place = reader.folder / "models" / "cancer" / "2" / "profile.json"
    before = from_json(place.read_bytes(), "")
    reader.run("understudy profile today.npz --model cancer/2 --add", SECONDS)
    after = from_json(place.read_bytes(), "")
    assert (before.rows, after.rows) == (228, 456)
    assert after.features["features[2]"].histogram.edges == before.features["features[2]"].histogram.edges
    assert open_model(reader.folder / "models", "cancer/2", 1).sha256 == before.sha256
