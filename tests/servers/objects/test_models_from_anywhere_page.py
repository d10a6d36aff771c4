"""The page about models from anywhere: its commands, as it is written, against a real object store."""

import os
import sys
from pathlib import Path

from harness.fences import Reader, fences, matches
from harness.object_store import object_store
from harness.system import MODELS, ROOT


def test_what_the_page_says_is_done_as_it_is_written(tmp_path):
    (tmp_path / "models").symlink_to(MODELS)
    with object_store(tmp_path / "store") as store:
        store.bucket("models")
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "300",
            "PYTHONPATH": str(ROOT), **store.environment,
        }  # fmt: skip
        reader = Reader(tmp_path, environment, {})
        blocks = list(fences(ROOT / "docs" / "models-from-anywhere.md"))
        commands = 0
        for block, after in zip(blocks, [*blocks[1:], None], strict=True):
            if block.language == "sh":
                commands += 1
                said = reader.run(block.text, 60.0)
                expected = after.text if after is not None and after.language == "text" else ""
                assert matches(expected, said), f"{block}:\n{said}"
                assert "error" not in said, said
        assert commands == 3
        assert (tmp_path / "copy" / "digits" / "2" / "model.onnx").exists()
        assert "is not taken from here; s3://models/team has it" in said
        store.kill()
        said = reader.run("understudy models list --models s3://models/team", 60.0)
        [away] = [block for block in blocks if block.text.startswith("left out: ")]
        assert matches(away.text, said), said
