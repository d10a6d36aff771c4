"""The how-to on rollout files is done as it is written: files saved, commands run, outputs seen."""

import os
import sys
from pathlib import Path

import jsonschema_rs
import orjson
import pytest
import yaml

from harness.control import controlling
from harness.fences import Reader, fences, matches
from harness.system import MODELS, ROOT

PAGE = ROOT / "docs" / "checking-rollout-files.md"
SECONDS = 120.0
ELSEWHERE = "check-jsonschema"
"""A tool that is not installed here; what it would do is done with another validator of JSON Schema."""


@pytest.fixture
def control(tmp_path):
    (tmp_path / "control").mkdir()
    with controlling(tmp_path / "control") as running:
        yield running


@pytest.fixture
def reader(tmp_path, control):
    folder = tmp_path / "reader"
    folder.mkdir()
    (folder / "models").symlink_to(MODELS)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "UNDERSTUDY_CONTROL": control.url, "COLUMNS": "300"}
    return Reader(folder, environment, {"http://localhost:9000": control.url})


def validate(folder: Path) -> None:
    schema = orjson.loads((folder / "rollout.schema.json").read_bytes())
    document = yaml.safe_load((folder / "rollouts.yaml").read_text())
    jsonschema_rs.Draft202012Validator(schema).validate(document)


def test_every_command_of_the_page_does_what_it_says(reader, control):
    blocks, commands = list(fences(PAGE)), 0
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language == "yaml" and block.title:
            (reader.folder / block.title).write_text(block.text)
        elif block.language == "sh" and block.text.startswith(ELSEWHERE):
            validate(reader.folder)
        elif block.language == "sh":
            commands += 1
            said = reader.run(block.text, SECONDS)
            expected = after.text if after is not None and after.language == "text" else ""
            assert matches(expected, said), f"{block}:\n{block.text}\n{said}"
    assert commands >= 5
    assert {view["model"]: view["revision"] for view in control.client.get("/v1/rollouts").json()} == {
        "digits": 1, "iris": 2,
    }  # fmt: skip
    assert control.history("iris")[0]["reason"] == "try version 2"
