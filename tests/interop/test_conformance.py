"""A part of `python -m benchmarks.conformance`: each does what the page of the whole run says of it."""

import json
import sys

import pytest

from harness.system import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks is no installed package

from benchmarks.conformance import judge
from benchmarks.conformance.__main__ import in_company, run
from benchmarks.conformance.cases import node_cases, stored_cases
from benchmarks.conformance.neighbours import influenced, with_rows
from benchmarks.tools.bench import DOCS

SLOW_TO_MAKE = {"averagepool", "lppool", "maxpool"}
"""Pools are in the sample as PyTorch exported them."""

ALWAYS = {
    "test_castlike_BFLOAT16_to_FLOAT",
    "test_castlike_FLOAT_to_BFLOAT16",
    "test_castlike_INT4_to_FLOAT",  # a type that the protocol lacks
    "test_celu_bfloat16",  # newer than this onnxruntime
    "test_constant",  # no inputs
    "test_expand_shape_model1",  # runs with some values only, as the next ones
    "test_reshape_extended_dims",
    "test_resize_upsample_sizes_cubic",
    "test_sequence_model8",
    "test_slice_neg_steps",
    "test_unsqueeze_unsorted_axes",
    "test_identity_sequence",
    "test_isinf",  # infinities and NaN in JSON
    "test_isnan_float16",
    "test_reduce_max_empty_set",
    "test_reduce_max_empty_set_bool",  # data that onnxruntime refuses
    "test_reduce_prod_default_axes_keepdims_random",  # other bits at another address
}
"""Kinds that were answered wrongly or refused once, or are refused for a reason."""

EVERY = 40
"""Of the models that have rows, so many are passed over for each that is asked by many at once."""


@pytest.fixture(scope="module")
def cases():
    return [*node_cases(without=SLOW_TO_MAKE), *stored_cases()]


def sample(cases, recorded):
    """One model for each operator that is answered, and what is always tried."""
    chosen = {case.name: case for case in cases if case.name in ALWAYS}
    assert chosen.keys() == ALWAYS
    covered = set()
    right = [case for case in cases if recorded[case.name]["binary"] == judge.RIGHT]
    for case in sorted(right, key=lambda case: (-len(case.operators), case.name)):
        if not case.operators <= covered:
            chosen[case.name] = case
            covered |= case.operators
    return list(chosen.values())


def test_a_model_for_each_operator_is_answered_as_the_page_says(cases):
    recorded = json.loads((DOCS / "conformance.json").read_text())["models"]
    chosen = sample(cases, recorded)
    said = {case.name: [recorded[case.name][way] for way in ("binary", "json")] for case in chosen}
    assert {row.name: [row.binary.outcome, row.json.outcome] for row in run(chosen)} == said


def test_no_neighbour_changes_an_answer(cases):
    found = in_company([case for case in cases if with_rows(case) is not None][::EVERY])
    assert influenced(found) == []
    assert sum(one.runs for one in found) < sum(one.requests for one in found)  # rows were joined
