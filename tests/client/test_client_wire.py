"""What the client writes the server reads, and what it writes the client reads: against the server's code."""

import contextlib
import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from serving.wire.bf16 import BF16
from serving.wire.protocol import InferRequest, ResponseEncoder, decode_request
from serving.wire.tensors import DATATYPES, Signature, TensorSpec
from understudy_client import InvalidAnswer, InvalidData
from understudy_client.wire.bf16 import rounded, widened
from understudy_client.wire.protocol import BINARY_BYTES, read_answer, write_request
from understudy_client.wire.tensors import WIRE, Tensor

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NONE_BINARY: frozenset[str] = frozenset()


def echo(datatype: str, rank: int) -> Signature:
    return Signature((TensorSpec("x", datatype, (-1,) * rank),), (TensorSpec("y", datatype, (-1,) * rank),))


@st.composite
def tensors(draw):
    datatype = draw(st.sampled_from(sorted(WIRE)))
    shape = draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    elements = texts if datatype == "BYTES" else None
    return Tensor("x", datatype, draw(npst.arrays(WIRE[datatype], shape, elements=elements)))


def same(got, expected, *, nan_is_nan: bool = True) -> bool:
    """Whether two arrays are the same, bit for bit; but all NaN of JSON are one."""
    if got.dtype != expected.dtype or got.shape != expected.shape:
        return False
    if got.dtype.hasobject:
        return got.tolist() == expected.tolist()
    if nan_is_nan and got.dtype.kind == "f":
        return np.array_equal(got, expected, equal_nan=True) and np.array_equal(
            np.signbit(got)[~np.isnan(got)], np.signbit(expected)[~np.isnan(expected)]
        )
    return got.tobytes() == expected.tobytes()


def at_server(tensor: Tensor) -> np.ndarray:
    """The array that the server should have."""
    return tensor.array.view(BF16) if tensor.datatype == "BF16" else tensor.array


@given(tensors(), st.sampled_from([True, False, None]))
@example(Tensor("x", "FP32", np.array([np.nan, np.inf, -np.inf, -0.0], "<f4")), False)
def test_the_server_reads_the_tensor_that_the_client_wrote(tensor, binary):
    body = write_request([tensor], binary=binary)
    request = decode_request(body.content, body.json_length, echo(tensor.datatype, tensor.array.ndim))
    got, expected = request.inputs["x"], at_server(tensor)
    if binary is not False or tensor.datatype != "BF16":
        assert same(got, expected, nan_is_nan=binary is False)
    else:
        assert same(widened(got.view("<u2")), widened(tensor.array))
    assert request.binary == (NONE_BINARY if binary is False else {"y"})


@given(tensors(), st.booleans())
def test_the_client_reads_the_tensor_that_the_server_wrote(tensor, binary):
    encoder = ResponseEncoder("m", "3", echo(tensor.datatype, tensor.array.ndim))
    request = InferRequest("r", {}, {}, None, frozenset({"y"}) if binary else NONE_BINARY, None)
    content, json_length = encoder.encode(request, [at_server(tensor)])
    decoded = read_answer(content, None if json_length is None else str(json_length))
    assert (decoded.model_name, decoded.model_version, decoded.id) == ("m", "3", "r")
    expected = widened(tensor.array) if tensor.datatype == "BF16" else tensor.array
    assert same(decoded.outputs["y"], expected, nan_is_nan=not binary)
    assert decoded.outputs["y"].flags.writeable
    assert decoded.outputs["y"].flags.aligned


@given(npst.arrays(np.float32, st.integers(0, 20)))
def test_bf16_is_rounded_as_ml_dtypes_does(numbers):
    ours = widened(rounded(numbers))
    assert np.array_equal(ours, numbers.astype(ml_dtypes.bfloat16).astype(np.float32), equal_nan=True)


def test_the_client_has_the_datatypes_of_the_server():
    assert list(WIRE) == list(DATATYPES)
    assert all(WIRE[name].itemsize == dtype.itemsize for name, dtype in DATATYPES.items())


@pytest.mark.parametrize(
    ("tensor", "binary"),
    [
        (Tensor("x", "FP32", np.zeros(BINARY_BYTES // 4, "<f4")), False),
        (Tensor("x", "FP32", np.zeros(BINARY_BYTES // 4 + 1, "<f4")), True),
        (Tensor("x", "FP32", np.array([np.nan], "<f4")), True),
        (Tensor("x", "FP16", np.zeros(1, "<f2")), True),
        (Tensor("x", "BF16", np.zeros(1, "<u2")), True),
        (Tensor("x", "BYTES", np.array([b"\xff"], object)), True),
        (Tensor("x", "BYTES", np.array(["text"], object)), False),
    ],
)
def test_by_default_what_is_large_or_has_no_json_travels_in_binary(tensor, binary):
    assert (write_request([tensor]).json_length is not None) is binary


def test_bytes_that_are_no_text_are_not_written_as_json():
    tensor = Tensor("words", "BYTES", np.array(["a", b"\xff"], object))
    with pytest.raises(InvalidData, match="'words': element 1 is not UTF-8"):
        write_request([tensor], binary=False)


def test_a_parameter_without_a_form_in_json_is_refused():
    with pytest.raises(InvalidData, match="no form in JSON"):
        write_request([], parameters={"x": object()})


def answer(**changes) -> bytes:
    output = {"name": "y", "datatype": "INT8", "shape": [2], "data": [1, 2], **changes}
    return json.dumps({"model_name": "m", "outputs": [output]}).encode()


@pytest.mark.parametrize(
    ("body", "json_length", "words"),
    [
        (b"<html>", None, "no JSON"),
        (b"[]", None, "without 'outputs'"),
        (b"[" * 100_000, None, "no JSON"),
        (answer(data=[1]), None, "1 elements for the shape"),
        (answer(data=[1, 300]), None, "out of range"),
        (answer(data=[1, 2.5]), None, "not every element is an integer"),
        (answer(data=[[1], 2]), None, "lists and of values"),
        (answer(data="12"), None, "no list"),
        (answer(datatype="FP32", data=[1, "x"]), None, "'x' is no number"),
        (answer(datatype="FP32", data=[1, True]), None, "not every element is a number"),
        (answer(datatype="BOOL", data=[1, 2]), None, "out of range"),
        (answer(datatype="BYTES", data=[1, "x"]), None, "not every element is text"),
        (answer(datatype="FP8"), None, "not of the protocol"),
        (answer(datatype=["FP32"]), None, "not of the protocol"),
        (answer(shape=[-2]), None, "no list of at most"),
        (answer(shape=[1] * 99), None, "no list of at most"),
        (answer(name=1), None, "no name"),
        (answer(parameters={"binary_data_size": 2}), None, "0 are there"),
        (answer() + b"x", str(len(answer())), "belong to no output"),
        (answer(), "-1", "inference-header-content-length"),
        (answer(), "99999", "inference-header-content-length"),
        (answer(), "²", "inference-header-content-length"),
    ],
)
def test_an_answer_that_contradicts_itself_is_none(body, json_length, words):
    with pytest.raises(InvalidAnswer, match=words):
        read_answer(body, json_length)


@pytest.mark.parametrize(
    ("datatype", "shape", "tail", "words"),
    [
        ("INT16", [2], b"123", "3 bytes"),
        ("BOOL", [2], b"\0\2", "neither 0 nor 1"),
        ("BYTES", [1], b"\5\0\0\0abc", "not 1 elements"),
        ("BYTES", [2], b"\1\0\0\0a", "not 2 elements"),
        ("BYTES", [0], b"\1\0\0\0a", "not 0 elements"),
    ],
)
def test_a_binary_tensor_of_the_wrong_size_is_none(datatype, shape, tail, words):
    item = {"name": "y", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(tail)}}
    head = json.dumps({"outputs": [item]}).encode()
    with pytest.raises(InvalidAnswer, match=words):
        read_answer(head + tail, str(len(head)))


def test_bytes_that_are_no_text_come_as_bytes():
    tail = b"\1\0\0\0a\1\0\0\0\xff"
    item = {"name": "y", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(tail)}}
    head = json.dumps({"outputs": [item]}).encode()
    assert read_answer(head + tail, str(len(head))).outputs["y"].tolist() == ["a", b"\xff"]


@given(st.binary(max_size=80), st.none() | st.integers(-1, 90).map(str))
def test_whatever_comes_is_an_answer_or_an_error_of_ours(body, json_length):
    with contextlib.suppress(InvalidAnswer):
        read_answer(body, json_length)
