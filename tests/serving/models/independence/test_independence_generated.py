"""Graphs made at random: what is proven never differs beyond rounding on onnxruntime itself."""

import pytest

from benchmarks.independence.survey import generated, many, onnx_tests
from harness.search import examples

SOME, MANY = 500, 20_000


def test_generated_graphs_that_are_proven_give_together_what_they_give_alone():
    some = examples(SOME)
    found = generated(0, some)
    assert found.wrong == []
    assert found.proven > 0.9 * found.independent > 0.3 * some
    assert found.dependent > 0.3 * some


@pytest.mark.slow
def test_many_generated_graphs_that_are_proven_give_together_what_they_give_alone():
    found = many(MANY)
    assert found.wrong == []
    assert found.proven > 0.4 * MANY


@pytest.mark.slow
def test_the_onnx_projects_models_that_are_proven_give_together_what_they_give_alone():
    assert onnx_tests().wrong == []
