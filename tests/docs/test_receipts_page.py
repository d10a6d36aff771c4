"""The page on receipts is done as it is written, on a node that other tests share."""

import pytest

from harness.fences import beside, fences, matches
from harness.system import ROOT, eventually

PAGE = ROOT / "docs" / "receipts.md"
MODEL = "flowers"
SECONDS = 60.0


@pytest.fixture
def reader(node, tmp_path):
    yield beside(node, tmp_path)
    node.admin.delete(f"/v1/rollouts/{MODEL}").raise_for_status()


def test_every_command_of_the_page_does_what_it_says(node, reader):
    blocks, commands = list(fences(PAGE)), 0
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language == "yaml":
            (reader.folder / block.title).write_text(block.text)
        elif block.language == "sh":
            commands += 1
            said = reader.run(block.text, SECONDS)
            expected = after.text if after is not None and after.language == "text" else ""
            assert matches(expected, said), f"{block}:\n{block.text}\n{said}"
            if "apply" in block.text:
                eventually(lambda: node.view(MODEL)["in_force_everywhere"], "in force")
    assert commands == 5
