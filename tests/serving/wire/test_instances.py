"""Rows of V1 become the request that V2 would have, and its answer one prediction a row."""

import json

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from serving.errors import BadGateway, InvalidInput, ServingError, Unsupported
from serving.wire.bf16 import BF16
from serving.wire.instances import read_instances, write_predictions
from serving.wire.protocol import InferRequest, ResponseEncoder, decode_request
from serving.wire.tensors import DATATYPES, Signature, TensorSpec

IRIS = Signature(
    (TensorSpec("features", "FP32", (-1, 4)),),
    (TensorSpec("label", "INT64", (-1,)), TensorSpec("probabilities", "FP32", (-1, 3))),
)
PEOPLE = Signature(
    (
        TensorSpec("age", "INT64", (-1, 1)),
        TensorSpec("city", "BYTES", (-1, 1)),
        TensorSpec("note", "FP32", (-1,), optional=True),
    ),
    (TensorSpec("score", "FP64", (-1,)),),
)
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]


def asked(instances, signature=IRIS, **members) -> InferRequest:
    """What V2 makes of it."""
    found = read_instances(orjson.dumps({"instances": instances, **members}), signature)
    return decode_request(found.body, found.json_length, signature)


def answered(signature, *arrays, binary=True) -> dict:
    """What V1 makes of an answer."""
    wanted = frozenset(signature.output_by_name) if binary else frozenset()
    request = InferRequest(None, {}, {}, None, wanted, None)
    body, json_length = ResponseEncoder("m", "1", signature).encode(request, arrays)
    return json.loads(write_predictions(body, json_length, len(arrays[0])))


@pytest.mark.parametrize("instances", [ROWS, [{"features": row} for row in ROWS]])
def test_rows_are_the_value_or_an_object_with_it(instances):
    request = asked(instances, signature_name="serving_default")
    assert np.array_equal(request.inputs["features"], np.array(ROWS, np.float32))
    assert request.binary == {"label", "probabilities"}


def test_several_inputs_come_by_name_and_single_values_are_rows_of_one():
    people = [{"age": 31, "city": "Bern"}, {"city": "Oslo", "age": 44}]
    inputs = asked(people, PEOPLE).inputs
    assert inputs["age"].tolist() == [[31], [44]]
    assert inputs["city"].tolist() == [["Bern"], ["Oslo"]]
    assert asked([{**row, "note": None} for row in people], PEOPLE).inputs["note"].shape == (2,)
    assert asked([{"age": [31], "city": ["Bern"]}], PEOPLE).inputs["age"].tolist() == [[31]]


@given(st.sampled_from(sorted(set(DATATYPES) - {"BYTES", "BF16"})), st.data())
def test_what_is_asked_row_by_row_is_what_was_meant(datatype, data):
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, max_side=3))
    array = data.draw(npst.arrays(DATATYPES[datatype], shape))
    if array.dtype.kind == "f":
        array = np.where(np.isfinite(array), array, 0).astype(array.dtype)
    signature = Signature((TensorSpec("x", datatype, (-1,) * len(shape)),), ())
    assert np.array_equal(asked(array.tolist(), signature).inputs["x"], array)


@pytest.mark.parametrize(
    ("body", "signature", "words"),
    [
        (b"no", IRIS, "not valid JSON"),
        (b"[]", IRIS, "must be a JSON object"),
        (b"{}", IRIS, "'instances' must be a list of one row or more"),
        (b'{"instances": []}', IRIS, "one row or more"),
        (b'{"instances": {"features": [1]}}', IRIS, "one row or more"),
        (b'{"instances": [[1, 2, 3]]}', IRIS, "'instances': 'features': dimension 1 of the shape is 3"),
        (b'{"instances": [[1, 2, 3, 4], [1, 2]]}', IRIS, "disagrees with dimension 1"),
        (b'{"instances": [[1, 2, 3, 4], 5]}', IRIS, "disagrees with dimension 1"),
        (b'{"instances": [[1, 2, 3, "4"]]}', IRIS, "element 3 of 'data', '4', is no FP32"),
        (b'{"instances": [5]}', IRIS, "the shape has 1 dimensions"),
        (
            b'{"instances": [{"feature": [1]}]}',
            IRIS,
            "instances.0. has 'feature', the model takes 'features'",
        ),
        (b'{"instances": [[1]]}', PEOPLE, "instances.0. must be an object with 'age', 'city', got a list"),
        (b'{"instances": [{"age": 1}]}', PEOPLE, "instances.0. lacks 'city'"),
        (b'{"instances": [{"age": 1, "city": "a"}, {"age": 1}]}', PEOPLE, "instances.1. must have the same"),
        (b'{"instances": [{"age": 1, "city": "a"}, [1]]}', PEOPLE, "instances.1. must have the same"),
        (
            b'{"instances": [{"age": 1.5, "city": "a"}]}',
            PEOPLE,
            "'age': element 0 of 'data', 1.5, is no INT64",
        ),
    ],
)
def test_what_is_no_request_is_refused_with_its_place(body, signature, words):
    with pytest.raises(InvalidInput, match=words):
        read_instances(body, signature)


@pytest.mark.parametrize(
    "signature",
    [
        Signature((TensorSpec("x", "FP32", ()),), ()),
        Signature((TensorSpec("x", "FP32", (1, 4)),), ()),
        Signature((TensorSpec("x", "FP32", (-1,)),), (TensorSpec("sum", "FP32", ()),)),
    ],
)
def test_a_model_without_rows_is_not_offered(signature):
    with pytest.raises(Unsupported, match="no place for 2 rows; ask by V2"):
        read_instances(b'{"instances": [1, 2]}', signature)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=3), st.lists, max_leaves=8))
def test_whatever_comes_is_a_request_or_refused(instances):
    try:
        asked(instances)
    except ServingError:
        return
    assert len(instances) > 0


@pytest.mark.parametrize("binary", [True, False])
def test_an_answer_has_a_prediction_for_each_row(binary):
    labels, probabilities = np.array([0, 2]), np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]], np.float32)
    assert answered(IRIS, labels, probabilities, binary=binary) == {
        "predictions": [
            {"label": 0, "probabilities": [0.1, 0.2, 0.7]},
            {"label": 2, "probabilities": [0.3, 0.3, 0.4]},
        ]
    }


def echo(datatype: str, rank: int) -> Signature:
    return Signature((), (TensorSpec("y", datatype, (-1,) * rank),))


def test_of_one_output_the_predictions_are_its_values():
    assert answered(echo("FP64", 1), np.array([1.5, 2.5])) == {"predictions": [1.5, 2.5]}
    assert answered(echo("FP16", 2), np.array([[0.25], [2]], np.float16)) == {"predictions": [[0.25], [2.0]]}
    assert answered(echo("BOOL", 1), np.array([True, False])) == {"predictions": [True, False]}
    assert answered(echo("BYTES", 1), np.array(["a", "é"], object)) == {"predictions": ["a", "é"]}
    halves = np.array([0x3F80, 0xC020], "<u2").view(BF16)
    assert answered(echo("BF16", 1), halves) == {"predictions": [1.0, -2.5]}


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_what_is_not_finite_is_written_as_in_v2(datatype):
    array = np.array([[0.25, np.nan], [np.inf, -np.inf]], DATATYPES[datatype])
    rows = [[0.25, None], ["Infinity", "-Infinity"]]
    assert answered(echo(datatype, 2), array) == {"predictions": rows}
    several = Signature((), (TensorSpec("y", datatype, (-1, 2)), TensorSpec("n", "UINT8", (-1,))))
    assert answered(several, array, np.array([1, 2], np.uint8)) == {
        "predictions": [{"y": rows[0], "n": 1}, {"y": rows[1], "n": 2}]
    }


@pytest.mark.parametrize(
    ("output", "rows", "words"),
    [
        ({"datatype": "FP32", "shape": [2], "data": [1, 2]}, 3, r"the shape \[2\] for 3 instances"),
        ({"datatype": "FP32", "shape": [], "data": [1]}, 1, r"the shape \[\] for 1 instances"),
    ],
)
def test_an_answer_that_has_not_a_row_for_each_is_none(output, rows, words):
    body = orjson.dumps({"model_name": "m", "outputs": [{"name": "y", **output}]})
    with pytest.raises(BadGateway, match=words):
        write_predictions(body, None, rows)


def test_bytes_that_are_no_text_have_no_form():
    tail = b"\1\0\0\0\xff"
    item = {"name": "y", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(tail)}}
    head = orjson.dumps({"model_name": "m", "outputs": [item]})
    with pytest.raises(BadGateway, match="not UTF-8"):
        write_predictions(head + tail, len(head), 1)
