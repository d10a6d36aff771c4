"""The page on variants, done as it is written; and the rollouts of what it made, on live requests."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import pytest

from harness.fences import Reader, fences, matches
from harness.pilot import piloted, rollout
from harness.system import MODELS, ROOT

SECONDS = 60.0
PAYS = 1.5
"""So many times as fast 8 bits are where they pay: on a CPU with instructions for them."""
GUARDS = {"agreement": {"output": "label", "min": "90%"}, "speed": {"min": 1.3}}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Somebody who has done what the page says."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(MODELS / "digits", folder / "models" / "digits")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    reader = Reader(folder, {"PATH": path, "COLUMNS": "300"}, {})
    blocks, commands = list(fences(ROOT / "docs" / "variants.md")), 0
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.title:
            (folder / block.title).write_text(block.text)
        elif block.language == "sh":
            commands += 1
            said = reader.run(block.text, SECONDS)
            expected = after.text if after is not None and after.language == "text" else ""
            assert matches(expected, said), f"{block}:\n{block.text}\n{said}"
            faster = re.search(r"([\d.]+) times as fast", said)
            if commands == 1 and (faster is None or float(faster[1]) < PAYS):
                pytest.skip("8 bits do not pay on this CPU, which has no instructions for them")
    assert commands == 4
    return reader


@pytest.fixture
def live(reader, node) -> Iterator[dict[str, str]]:
    """The page's variants as models of the shared node, by method."""
    digits = node.folder / "models" / "digits"
    numbers = {"int8-static": "80", "fp16": "81"}
    for made, number in zip(("5", "6"), numbers.values(), strict=True):
        shutil.copytree(reader.folder / "models" / "digits" / made, digits / number)
    yield {method: f"digits/{number}" for method, number in numbers.items()}
    for number in numbers.values():
        shutil.rmtree(digits / number)


def test_each_variant_says_what_it_was_made_of_which_is_as_it_was(reader):
    folder = reader.folder / "models"
    source = (MODELS / "digits" / "4" / "model.onnx").read_bytes()
    assert (folder / "digits" / "4" / "model.onnx").read_bytes() == source
    for number, method in (("5", "int8-static"), ("6", "fp16")):
        made = onnx.load(folder / "digits" / number / "model.onnx")
        said = {entry.key: entry.value for entry in made.metadata_props}
        origin, conversion = (json.loads(said[f"understudy.{what}"]) for what in ("origin", "conversion"))
        assert origin == {"model": "digits/4", "sha256": hashlib.sha256(source).hexdigest()}
        assert conversion["method"] == method
    assert [each.name for each in folder.iterdir()] == ["digits"], "nothing is left aside"
    configured = (MODELS / "digits" / "config.yaml").read_text()
    assert (folder / "digits" / "config.yaml").read_text() == configured, "tuning took what was there"


def test_a_rollout_keeps_the_variant_that_agrees_and_pays_and_takes_the_other_off(node, live):
    def ended(method: str, phase: str):
        document = rollout(live[method], GUARDS, mirror=100) | {"stable": "digits/4"}
        with piloted(node, f"variant-{method}", document) as pilot, pilot.load(20, connections=2):
            return pilot.wait_phase(phase, 90)["reason"], {row["guard"]: row for row in pilot.view["guards"]}

    with ThreadPoolExecutor(2) as threads:
        kept, gone = threads.map(ended, live, ("promoted", "rolled_back"))
    assert "for at least 1.3 times as fast" in kept[0]
    assert "speed: harmful: the canary's model was at least 1.3 times as fast as stable's in" in gone[0]
    assert "of 0 " not in gone[0]
