"""The page on approvals is done as it is written: tokens are made, and two people answer."""

import os
import sys
from pathlib import Path

from harness.fences import Reader, fences, matches
from harness.system import ROOT, Up, eventually

PAGE = ROOT / "docs" / "approvals.md"
SECONDS = 60.0


def test_tokens_are_made_and_two_people_answer_as_the_page_says(tmp_path):
    blocks = list(fences(PAGE))
    rollouts = next(block.text for block in blocks if block.title == "rollouts.yaml")
    tokens, approve, reject = [block for block in blocks if block.language == "sh"]
    approved, rejected = [block for block in blocks if block.language == "text"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    reader = Reader(tmp_path, {"PATH": path, "COLUMNS": "300"}, {})
    said = reader.run(tokens.text, SECONDS)
    assert matches("tokens.yaml: ann was added\ntokens.yaml: ben was added", said), said
    assert oct((tmp_path / "tokens.yaml").stat().st_mode)[-3:] == "600"

    options = ("--tokens", str(tmp_path / "tokens.yaml"))
    environment = {"UNDERSTUDY_TOKEN": "nodes", "UNDERSTUDY_DRAIN_SECONDS": "0"}
    up = Up(tmp_path, rollouts, options=options, environment=environment)
    up.admin.headers["authorization"] = "Bearer nodes"
    try:
        up.wait_ready()
        reader.environment = {**reader.environment, "UNDERSTUDY_CONTROL": up.admin_url}
        eventually(lambda: up.view("digits")["waiting_for"] is not None, "it waits for people")
        for block, expected in ((approve, approved), (reject, rejected)):
            told = reader.run(block.text, SECONDS)
            assert matches(expected.text, told), told
        assert up.view("digits")["waiting_for"] is None, "ben has stopped it"
        late = reader.run(f"{approve.text.strip()}; echo exit $?", SECONDS)
        assert matches("...digits waits for no approval: ...\nexit 1", late), late
    finally:
        assert up.end() == 0, up.process.log.read_text()[-4000:]
