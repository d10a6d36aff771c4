"""The page of the prediction log's ledger is what its figures say, and they add up."""

import json
import sys

from harness.system import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks is no installed package

from benchmarks.robustness.ledger_page import REASONS, page

DOCS = ROOT / "docs" / "benchmarks"
FOUND = json.loads((DOCS / "ledger.json").read_text(encoding="utf-8"))


def test_the_page_is_what_the_figures_say():
    assert page(FOUND) == (DOCS / "ledger.md").read_text(encoding="utf-8")


def test_every_answer_of_every_part_is_accounted_for():
    for each in (FOUND["kills"]["figures"], *FOUND["s3"]["figures"]):
        counts = each["outcomes"]
        dropped = sum(counts[reason] for reason in REASONS)
        assert counts["requests"] == counts["sampled_out"] + counts["written"] + dropped
        assert counts["rows"] == counts["written"]
        assert (each["check"], each["differences"]) == (0, [])
    for each in FOUND["s3"]["figures"]:
        assert each["clients"] + each["failed"] == each["outcomes"]["requests"]
