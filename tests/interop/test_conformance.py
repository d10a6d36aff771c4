"""A part of `python -m benchmarks.conformance`: each does what the page of the whole run says of it."""

import json
import sys

from harness.system import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks is no installed package

from benchmarks.bench import DOCS
from benchmarks.conformance import judge
from benchmarks.conformance.__main__ import run
from benchmarks.conformance.cases import node_cases, stored_cases

SLOW_TO_MAKE = {"averagepool", "lppool", "maxpool"}
"""Pools are in the sample as PyTorch exported them."""

ALWAYS = {
    "test_reduce_prod_default_axes_keepdims_random",
}
"""Kinds that were answered wrongly once, and have no operator of their own."""


def sample(recorded):
    """One model for each operator that is answered, the first by its name."""
    cases = [*node_cases(without=SLOW_TO_MAKE), *stored_cases()]
    right = [case for case in cases if recorded[case.name]["binary"] == judge.RIGHT]
    chosen = {case.name: case for case in right if case.name in ALWAYS}
    covered = set()
    for case in sorted(right, key=lambda case: (-len(case.operators), case.name)):
        if not case.operators <= covered:
            chosen[case.name] = case
            covered |= case.operators
    return list(chosen.values())


def test_a_model_for_each_operator_is_answered_as_the_page_says():
    recorded = json.loads((DOCS / "conformance.json").read_text())["models"]
    cases = sample(recorded)
    print(len(cases))
    rows = run(cases)
    said = {case.name: [recorded[case.name][way] for way in ("binary", "json")] for case in cases}
    assert {row.name: [row.binary.outcome, row.json.outcome] for row in rows} == said
