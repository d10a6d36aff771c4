"""Rollouts that labels and segments decide: what stand-ins answer, and that the page is what was measured."""

import sys

import orjson

from harness.system import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks is no installed package

from benchmarks.outcomes import live_report
from benchmarks.outcomes.live import CANDIDATES, STABLE, _decided
from benchmarks.outcomes.live_server import PIXELS, answered


def test_the_page_is_what_was_measured() -> None:
    found = orjson.loads(live_report.RAW.read_bytes())
    assert live_report.page(found) == live_report.RAW.with_suffix(".md").read_text(encoding="utf-8")
    assert {run["case"] for run in found["runs"]} == CANDIDATES.keys()


def test_equal_models_fail_the_same_requests_and_are_wrong_about_others() -> None:
    def said(path: str, *chances: float, segment: int = 3) -> bytes:
        accuracy, errors, errors_there, place = path.split("/")
        row = [7.0, float(segment), *chances, *[0.0] * (PIXELS - 5)]
        return answered(row, float(accuracy), float(errors), float(errors_there), int(place))

    equal, there = CANDIDATES["equal"], CANDIDATES["fails 10 times as often in one of 20 segments"]
    right, wrong = said(STABLE, 0.5, 0.0, 0.95), said(equal, 0.5, 0.0, 0.95)
    assert (b'"data":[7]' in right, b'"data":[8]' in wrong) == (True, True)
    assert said(STABLE, 0.04, 0.0, 0.0) == said(equal, 0.04, 0.0, 0.0)
    assert said(STABLE, 0.04, 0.0, 0.0).startswith(b"HTTP/1.1 500")
    assert said(there, 0.4, 0.0, 0.0, segment=0).startswith(b"HTTP/1.1 500")
    assert said(there, 0.4, 0.0, 0.0).startswith(b"HTTP/1.1 200")


def test_pairs_count_from_the_first_verdict_on_accuracy() -> None:
    words = "of 1,234 labels of label only the canary was right about 5"
    for verdict, pairs in (("proven", 1234), ("harmful", 1234), ("undecided", 0)):
        guard = {"guard": "accuracy", "verdict": verdict, "reason": f"{verdict}: {words}"}
        assert _decided({"guards": [guard]}) == pairs
    assert _decided(None) == 0
