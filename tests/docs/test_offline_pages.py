"""How-tos that need no server are done as they are written: files saved, commands run, outputs seen."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from harness.fences import Reader, fences, matches
from harness.git import SOMEBODY
from harness.system import MODELS, ROOT

SECONDS = 60.0


@pytest.fixture
def reader(tmp_path):
    for name in ("digits", "iris"):  # copied, since the gate asks git about them
        shutil.copytree(MODELS / name, tmp_path / "models" / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return Reader(tmp_path, {"PATH": path, "COLUMNS": "300", **SOMEBODY}, {})


@pytest.mark.parametrize(("page", "least"), [("offline-test.md", 4), ("gate.md", 3), ("files.md", 4)])
def test_every_command_without_a_server_does_what_its_page_says(reader, page, least):
    blocks, commands = list(fences(ROOT / "docs" / page)), 0
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.title:
            (reader.folder / block.title).write_text(block.text)
        elif block.language == "sh":
            commands += 1
            said = reader.run(block.text, SECONDS)
            expected = after.text if after is not None and after.language == "text" else ""
            assert matches(expected, said), f"{block}:\n{block.text}\n{said}"
    assert commands >= least
