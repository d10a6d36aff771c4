"""The decoder that remembers says what the one that does not says, of every body in any order."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.search import examples
from serving.errors import ServingError
from serving.wire.protocol import decode_request
from serving.wire.remembered_json import MAX_TEXTS, RequestDecoder
from serving.wire.tensors import Signature, TensorSpec

OUTPUT = (TensorSpec("label", "INT64", (-1,)), TensorSpec("score", "FP32", (-1, 3)))
ONE = Signature((TensorSpec("x", "FP32", (-1, 2)),), OUTPUT)
SIGNATURES = [
    ONE,
    Signature((TensorSpec("x", "INT8", (-1, 2)),), OUTPUT),
    Signature((TensorSpec("x", "BOOL", (-1, 2)),), OUTPUT),
    Signature((TensorSpec("x", "BYTES", (-1, 2)),), OUTPUT),
    Signature((TensorSpec("x", "FP64", (-1, 2)), TensorSpec("y", "INT16", (2,))), OUTPUT),
    Signature((TensorSpec("x", "FP32", None),), OUTPUT),
    Signature((TensorSpec("x", "BF16", (-1, 2)),), OUTPUT),
    Signature((TensorSpec("x", "FP16", (-1, 2)), TensorSpec("y", "INT16", (2,), optional=True)), OUTPUT),
]


def said(decode, body, json_length):
    """All that came of decoding, comparable."""
    try:
        request = decode(body, json_length)
    except ServingError as error:
        return type(error), str(error)
    inputs = [
        (name, array.dtype.str, array.shape, array.tobytes() if array.dtype.kind != "O" else array.tolist())
        for name, array in request.inputs.items()
    ]
    rest = (request.id, request.parameters, request.outputs, request.binary, request.timeout_seconds)
    return inputs, rest, {name: type(value) for name, value in request.parameters.items()}


def same(signature, bodies):
    decoder = RequestDecoder(signature)
    for body, json_length in bodies:
        assert said(decoder.decode, body, json_length) == said(
            lambda body, length: decode_request(body, length, signature), body, json_length
        )


# ---------------------------------------------------------------------- JSON

numbers = st.one_of(
    st.floats(-10, 10).map(lambda x: round(x, 2)),
    st.integers(-300, 300),
    st.sampled_from(
        [None, math.nan, -math.inf, "NaN", "Infinity", True, "1", 1e39, 10**30, [1], {}, "]", "[", '"data":[']
    ),
)
plain = st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=2, max_size=2)
data = st.one_of(plain, plain, st.lists(numbers, max_size=5), st.lists(plain, max_size=2))
members = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["a", '"data":[', "]", "é"]),
        "parameters": st.sampled_from(
            [{}, {"binary_data_output": True}, {"timeout": 0}, {"a": None}, {"a": 1}, {"a": True}]
        ),
        "outputs": st.sampled_from(
            [[{"name": "label"}], [{"name": "score"}, {"name": "label"}], [{"name": "?"}]]
        ),
        "data": st.just([1]),
    },
)  # fmt: skip
styles = st.sampled_from([None, (",", ":"), (" , ", " :  ")])


def document(signature, values, extra, *, extra_first):
    inputs = []
    for spec in signature.inputs:
        rows = len(values) // 2 if spec.name == "x" else 2
        shape = [rows, 2] if spec.name == "x" else [2]
        tensor = {"name": spec.name, "shape": shape, "datatype": spec.datatype, "data": values}
        inputs.append(dict(reversed(tensor.items())) if extra_first else tensor)
    return {**extra, "inputs": inputs} if extra_first else {"inputs": inputs, **extra}


@st.composite
def conversations(draw):
    """What one or two clients send: mostly the same request with other data, now and then a broken one."""
    signature = draw(st.sampled_from([ONE, ONE, *SIGNATURES]))
    clients = draw(st.lists(st.tuples(members, styles, st.booleans()), min_size=1, max_size=2))
    bodies = []
    for _ in range(draw(st.integers(1, 8))):
        extra, separators, first = draw(st.sampled_from(clients))
        message = document(signature, draw(data), extra, extra_first=first)
        body = json.dumps(message, separators=separators, ensure_ascii=False).encode()
        if draw(st.integers(0, 5)) == 0:
            at = draw(st.integers(0, len(body)))
            piece = draw(st.sampled_from([b"", b"]", b"[", b'"', b",", b"1", b' "data":[', b"]],[", b"\xff"]))
            body = body[:at] + piece + body[at + draw(st.integers(0, 2)) :]
        bodies.append((body, None))
    return signature, bodies


@settings(max_examples=examples(400))
@given(conversations())
def test_a_conversation_in_json_is_read_as_without_a_memory(conversation):
    same(*conversation)


FRAME = '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":%s}],"id":"7"}'


@pytest.mark.parametrize(
    "text",
    [
        "[1.5,2]", "[ 1.5 , 2 ]", "[1]", "[1,2,3]", "[]", "[1,]", "[1,2", "1,2]", '["1",2]', "[null,1]",
        "[true,1]", "[1e39,1]", "[1e999,1]", "[[1,2]]", "[1,2],[3]", '[1,2],"x":[3]', '[1,2],"shape":[2,1',
        '[1,2],"data":[3,4]', "[1,2]]", "[-0.0,1e-50]", "[01,2]", "[NaN,1]", "[Infinity,-Infinity]",
        '["NaN","-Infinity"]', "[NaN,1e999]", "[-NaN,1]", "{}", '"ab"',
    ],
)  # fmt: skip
def test_what_stands_in_a_known_frame_is_read_as_anywhere(text):
    known = [(FRAME % f"[{n},{n}]").encode() for n in range(3)]
    same(ONE, [(body, None) for body in (*known, (FRAME % text).encode(), *known)])


@pytest.mark.parametrize("text", ["[NaN,1]", "[null,1]", '["Infinity",1]', "[-Infinity,Infinity]"])
def test_what_is_not_finite_is_read_as_anywhere_also_where_it_comes_again_and_again(text):
    same(
        ONE, [((FRAME % each).encode(), None) for each in [text, text, "[1,2]", text, "[1,2]", "[1,2]", text]]
    )


@pytest.mark.parametrize(
    "frame",
    [
        '{"id":"\\"data\\":[]","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":%s}]}',
        '{"id":"]","data":[],"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":%s}]}',
        '{"inputs":[{"data":[9,9],"name":"x","shape":[1,2],"datatype":"FP32","data":%s}]}',
        '{"inputs":[{"data":%s,"name":"x","shape":[1,2],"datatype":"FP32","data":[9,9]}]}',
        '{"inputs":[],"inputs":[{"data":%s,"name":"x","shape":[1,2],"datatype":"FP32"}]}',
        '{"data":%s,"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[9,9]}]}',
        '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"data":1},"data":%s}]}',
    ],
)
def test_a_frame_is_never_taken_for_another(frame):
    same(ONE, [((frame % f"[{n},{n + 1}]").encode(), None) for n in range(5)])


# ---------------------------------------------------------------------- binary


def binary_document(signature, rows, extra):
    inputs, tail = [], b""
    for spec in signature.inputs:
        shape = [rows, 2] if spec.name == "x" else [2]
        if spec.datatype == "BYTES":
            part = b"\1\0\0\0a" * (2 * rows)
        else:
            part = bytes(int(np.prod(shape)) * spec.dtype.itemsize)
        inputs.append(
            {"name": spec.name, "shape": shape, "datatype": spec.datatype,
             "parameters": {"binary_data_size": len(part)}}
        )  # fmt: skip
        tail += part
    return json.dumps({"inputs": inputs, **extra}).encode(), tail


@settings(max_examples=examples(200))
@given(
    st.sampled_from(SIGNATURES),
    st.lists(st.tuples(st.integers(0, 2), members, st.binary(max_size=3), st.booleans()), max_size=4),
    st.sampled_from([bytes, bytearray]),
)
def test_a_conversation_in_binary_is_read_as_without_a_memory(signature, requests, kind):
    bodies = []
    for rows, extra, noise, cut in requests * 2:
        text, tail = binary_document(signature, rows, extra)
        tail = noise + tail[len(noise) :]
        bodies.append((kind(text + (tail[1:] if cut else tail)), len(text)))
        bodies.append((kind(text + tail), len(text) - 1))
    same(signature, bodies)


@pytest.mark.parametrize("json_length", [-1, 0, 10**6])
def test_a_json_length_outside_the_body_is_refused_also_of_a_known_request(json_length):
    text, tail = binary_document(ONE, 1, {})
    same(ONE, [(text + tail, len(text)), (text + tail, len(text)), (text + tail, json_length)])


@pytest.mark.parametrize(("spaces", "is_view"), [(0, True), (1, False), (4, False)])
def test_a_large_array_of_a_known_request_is_a_view_where_numpy_could_have_put_it(spaces, is_view):
    text, tail = binary_document(ONE, 4096, {})
    text += b" " * (-len(text) % 16 + spaces)
    decoder = RequestDecoder(ONE)
    for _ in range(2):
        body = text + tail
        array = decoder.decode(body, len(text)).inputs["x"]
        assert np.shares_memory(array, np.frombuffer(body, np.uint8)) == is_view
        assert array.ctypes.data % 16 == 0
        assert not (is_view and array.flags.writeable)


def test_memory_is_bounded():
    decoder = RequestDecoder(ONE)
    for number in range(2 * MAX_TEXTS):
        text, tail = binary_document(ONE, 1, {"id": str(number)})
        decoder.decode(text + tail, len(text))
        for values in ([1, 2], [3, 4]):
            decoder.decode(
                json.dumps(document(ONE, values, {"id": str(number)}, extra_first=True)).encode(), None
            )
    assert 0 < len(decoder._binaries) <= MAX_TEXTS
    assert 0 < len(decoder._frames) <= MAX_TEXTS
