"""The page on the client and its README are done as they are written, on a node that other tests share."""

import os

import pytest

from harness.fences import Reader, beside, fences, follow, matches
from harness.system import ROOT, eventually

PAGE, README = ROOT / "docs" / "client.md", ROOT / "client" / "README.md"
MODEL = "offers"
SECONDS = 60.0


@pytest.fixture
def reader(node, tmp_path):
    somebody = beside(node, tmp_path)
    path = os.pathsep.join((str(ROOT), str(ROOT / "client")))
    found = {**somebody.environment, "PYTHONPATH": path, "NO_PROXY": "127.0.0.1"}
    yield Reader(tmp_path, found, somebody.replace)
    node.admin.delete(f"/v1/rollouts/{MODEL}").raise_for_status()


def taken(node) -> dict[str, int]:
    return {row["name"]: row["taken"] for row in node.view(MODEL)["outcomes"]}


def test_every_command_of_the_page_does_what_it_says(node, reader):
    assert follow(PAGE, reader, SECONDS, node.all_targets_ready) == 5
    [example] = fences(README)
    (reader.folder / example.title).write_text(reader.typed(example.text))
    assert matches("[...] by digits/...", reader.run(f"python {example.title}", SECONDS))
    # anna, bert, the first of a hundred; anna of the README bought before, as a user
    eventually(lambda: taken(node)["conversion"] >= 3, "control has the conversions")
    eventually(lambda: taken(node)["label"] == 1, "control has the label")


def test_the_page_names_every_error_and_option():
    import understudy_client
    from understudy_client.options import Options

    text = PAGE.read_text()
    for name in understudy_client.__all__:
        if name not in {"LeftOut", "ModelMetadata", "OutcomesTaken", "TensorSpec", "Answer", "AsyncAnswer"}:
            assert name in text, name
    for option in Options.__slots__:
        assert option == "url" or f"| `{option}` |" in text, option
