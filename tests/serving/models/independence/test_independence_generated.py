"""Graphs made at random: what is proven never differs beyond rounding on onnxruntime itself."""

import pytest

from benchmarks.independence.survey import generated, onnx_tests

SOME, MANY = 800, 20_000


def of_many(first, last):
    found = generated(first, last)
    assert found.wrong == []
    return found


def test_generated_graphs_that_are_proven_give_together_what_they_give_alone():
    found = of_many(0, SOME)
    assert found.proven > 0.9 * found.independent > 0.3 * SOME
    assert found.dependent > 0.3 * SOME


@pytest.mark.slow
def test_many_generated_graphs_that_are_proven_give_together_what_they_give_alone():
    assert of_many(1_000_000, 1_000_000 + MANY).proven > 0.4 * MANY


@pytest.mark.slow
def test_the_onnx_projects_models_that_are_proven_give_together_what_they_give_alone():
    assert onnx_tests().wrong == []
