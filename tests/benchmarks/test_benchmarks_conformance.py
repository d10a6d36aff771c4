"""How benchmarks.conformance judges; tests/interop/test_conformance.py runs a part of it."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.system import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks is no installed package

from benchmarks.conformance import judge
from benchmarks.conformance.cases import Case
from benchmarks.conformance.judge import Alone, Answer, close, same, same_values
from benchmarks.conformance.neighbours import ROUNDING, _difference, with_rows

FLOATS = np.array([1, np.inf, np.nan], np.float32)


def case(*foreign):
    return Case("test_x", "node", b"", frozenset(), foreign, ({},), ([],), 1e-3, 1e-7)


def outcome(answer, expected, *, exact=True, random=False, failure=""):
    alone = Alone("", (failure,), ({} if failure else {"y": expected},), random)
    answer = answer if isinstance(answer, Answer) else Answer({"y": answer})
    return judge.judge(case(), alone, "", [answer], exact=exact).outcome


def test_the_same_is_the_same_in_every_bit():
    other_nan = FLOATS.copy()
    other_nan.view(np.uint32)[2] ^= 1
    assert same(FLOATS, FLOATS.copy())
    assert not same(FLOATS, other_nan)
    assert same_values(FLOATS, other_nan)
    assert not same(FLOATS, FLOATS.astype(np.float64))
    assert not same(FLOATS, FLOATS.reshape(3, 1))
    assert not same(np.array([0.0]), np.array([-0.0]))
    assert not same_values(np.array([0.0]), np.array([-0.0]))
    assert not same_values(FLOATS, np.array([1, np.nan, np.nan], np.float32))


def test_texts_are_the_same_as_str_and_as_utf8():
    assert same(np.array(["é", ""], object), np.array(["é".encode(), b""], object))
    assert not same(np.array(["é"], object), np.array([["é"]], object))


def test_close_is_as_onnx_has_it():
    assert close(np.float32([1]), np.float32([1.0005]), 1e-3, 1e-7)
    assert not close(np.float32([1]), np.float32([1.01]), 1e-3, 1e-7)
    assert not close(np.float32([1]), np.float64([1]), 1e-3, 1e-7)
    assert not close(np.int64([1]), np.int64([2]), 1.0, 1.0)
    assert close(np.array(["a"], object), np.array(["a"]), 0, 0)


@pytest.mark.parametrize(
    ("answer", "expected", "options", "found"),
    [
        (FLOATS, FLOATS, {}, judge.RIGHT),
        (FLOATS + 1, FLOATS, {}, judge.WRONG),
        (FLOATS + 1, FLOATS, {"random": True}, judge.RIGHT),
        (FLOATS[:2], FLOATS, {"random": True}, judge.WRONG),
        (Answer({"z": FLOATS}), FLOATS, {}, judge.WRONG),
        (Answer({}, "400: no"), FLOATS, {}, judge.REFUSED_DATA),
        (Answer({}, "500: no"), FLOATS, {"failure": "it cannot"}, judge.ALONE_REFUSES_DATA),
        (FLOATS, FLOATS, {"failure": "it cannot"}, judge.EXCESS),
        (Answer({}, "BF16", unsendable=True), FLOATS, {}, judge.NOT_IN_JSON),
    ],
)
def test_an_answer_is_judged_by_what_onnxruntime_does(answer, expected, options, found):
    assert outcome(answer, expected, **options) == found


def test_a_model_that_is_not_loaded_is_judged_by_whose_fault_it_is():
    loads, refuses = Alone("", ("",), ({"y": FLOATS},)), Alone("unknown operator")
    assert judge.judge(case(), loads, "no", [], exact=True) == judge.Verdict(judge.REFUSED_MODEL, "no")
    assert judge.judge(case("int4"), loads, "no", [], exact=True).outcome == judge.LACKS_TYPE
    assert judge.judge(case("int4"), refuses, "no", [], exact=True).outcome == judge.ALONE_REFUSES_MODEL
    assert judge.judge(case(), refuses, "", [], exact=True).outcome == judge.EXCESS


def test_the_worst_data_set_counts():
    alone = Alone("", ("", ""), ({"y": FLOATS}, {"y": FLOATS}))
    answers = [Answer({"y": FLOATS + 1}), Answer({"y": FLOATS})]
    assert judge.judge(case(), alone, "", answers, exact=True).outcome == judge.WRONG


def test_a_difference_counts_in_units_in_the_last_place_of_the_largest_value():
    wanted = np.array([1e-3, 1, np.inf, np.nan], np.float32)
    assert _difference(wanted.copy(), wanted) == 0
    rounded = np.where(wanted == 1, np.nextafter(wanted, np.float32(2)), wanted)
    assert _difference(rounded, wanted) == 1
    assert _difference(wanted * np.float32(1.001), wanted) > ROUNDING
    assert _difference(wanted[:3], wanted) == np.inf
    assert _difference(np.array([1e-3, 1, 1, np.nan], np.float32), wanted) == np.inf
    assert _difference(np.array([1]), np.array([2])) == np.inf


def add(*shape, constant=False):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "aby"]
    node = helper.make_node("Add", ["a", "a" if constant else "b"], ["y"])
    graph = helper.make_graph([node], "add", values[: 1 if constant else 2], values[2:])
    array = np.arange(6, dtype=np.float32).reshape(shape)
    inputs = {"a": array} if constant else {"a": array, "b": array[:1]}
    model = helper.make_model(graph).SerializeToString()
    return Case("add", "node", model, frozenset({"Add"}), (), (inputs,), ([array + array],), 0, 0)


def test_a_case_has_rows_where_all_its_tensors_have_as_many():
    assert with_rows(add(3, 2)) is None  # b is broadcast
    assert with_rows(add(1, 6, constant=True)) is None
    case = with_rows(add(3, 2, constant=True))
    assert [feeds["a"].tolist() for feeds in case.inputs] == [
        *([[0, 1], [2, 3], [4, 5]], [[0, 1], [2, 3]]),
        *([[0, 1]], [[2, 3]], [[4, 5]]),
    ]
    graph = onnx.load_from_string(case.model).graph
    dimensions = [info.type.tensor_type.shape.dim[0] for info in (*graph.input, *graph.output)]
    assert [dimension.dim_param for dimension in dimensions] == ["rows", "rows"]
