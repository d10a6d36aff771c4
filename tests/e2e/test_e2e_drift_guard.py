"""Guard `drift` of a real canary: pairs are counted in its sandbox, and control says where answers shift."""

from ruamel.yaml import YAML

from harness.fences import fences, matches
from harness.pilot import piloted
from harness.rows import body
from harness.system import ROOT, eventually

ROWS = 60
PAGE = list(fences(ROOT / "docs" / "drift.md"))


def test_shares_of_both_sides_are_told_and_proven_to_be_alike(node):
    [document] = [
        YAML(typ="safe").load(block.text)
        for block in PAGE
        if "guards" in block.text and block.language == "yaml"
    ]
    [sentence] = [block.text.strip() for block in PAGE if block.text.startswith("proven: of")]
    with piloted(node, "shifting", document["digits"]) as pilot:
        eventually(pilot.ready, "the canary is ready")
        for number in [*range(ROWS), *range(ROWS)]:
            node.client.post(pilot.infer, content=body(number)).raise_for_status()

        def proven():
            found = pilot.guard("drift")
            assert f"of {ROWS} pairs" in found["reason"], "each body counts once"
            return found["verdict"] == "proven" and found

        found = eventually(proven, "it is proven")
    assert found["mode"] == "observe"
    assert matches(sentence, found["reason"]), found
