import contextlib
import json
import math
import random

import ml_dtypes
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from harness.search import examples
from serving.errors import BadGateway, InvalidInput, ServingError, Unsupported
from serving.wire.protocol import (
    InferRequest,
    ResponseEncoder,
    decode_request,
    decode_response,
    encode_error,
)
from serving.wire.tensors import DATATYPES, Signature, TensorSpec

IRIS = Signature(
    (TensorSpec("features", "FP32", (-1, 4)),),
    (TensorSpec("label", "INT64", (-1,)), TensorSpec("probabilities", "FP32", (-1, 3))),
)
TWO = Signature(
    (TensorSpec("ids", "INT64", (-1,)), TensorSpec("words", "BYTES", (-1,))),
    (TensorSpec("score", "FP64", (-1,)),),
)
FEATURES = {"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}
ANSWER = [np.array([2]), np.array([[0.1, 0.2, 0.7]], np.float32)]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def body_of(**members) -> bytes:
    return orjson.dumps({"inputs": [FEATURES], **members})


def iris(**members) -> InferRequest:
    return decode_request(body_of(**members), None, IRIS)


def iris_tensor(**changes) -> InferRequest:
    tensor = {key: value for key, value in {**FEATURES, **changes}.items() if value is not ...}
    return decode_request(orjson.dumps({"inputs": [tensor]}), None, IRIS)


def binary(head: dict, tail: bytes, signature: Signature = IRIS) -> InferRequest:
    text = orjson.dumps(head)
    return decode_request(text + tail, len(text), signature)


def binary_head(size: object = 16, **members) -> dict:
    tensor = {"name": "features", "shape": [1, 4], "datatype": "FP32"}
    return {"inputs": [{**tensor, "parameters": {"binary_data_size": size}}], **members}


def echo(datatype: str, rank: int) -> Signature:
    return Signature((TensorSpec("x", datatype, (-1,) * rank),), (TensorSpec("y", datatype, (-1,) * rank),))


@st.composite
def arrays(draw, *, finite: bool = False, min_dims: int = 0, min_side: int = 0):
    datatype = draw(st.sampled_from(sorted(DATATYPES)))
    shape = draw(npst.array_shapes(min_dims=min_dims, max_dims=3, min_side=min_side, max_side=4))
    elements = texts if datatype == "BYTES" else None
    if finite and datatype.startswith("FP"):
        width = DATATYPES[datatype].itemsize * 8
        elements = st.floats(width=width, allow_nan=False, allow_infinity=False)
    elif finite and datatype == "BF16":
        elements = st.tuples(st.integers(0, 0xFFFF).filter(lambda bits: bits & 0x7F80 != 0x7F80))
    return datatype, draw(npst.arrays(DATATYPES[datatype], shape, elements=elements))


def assert_same(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert got.tolist() == expected.tolist() if got.dtype.hasobject else got.tobytes() == expected.tobytes()


# ---------------------------------------------------------------------- requests


def test_a_request_is_its_inputs_by_name_and_nothing_more():
    request = iris()
    assert request.inputs["features"].tolist() == np.float32([[5.1, 3.5, 1.4, 0.2]]).tolist()
    assert (request.id, request.parameters, request.outputs) == (None, {}, None)
    assert (request.binary, request.timeout_seconds) == (frozenset(), None)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_body_may_be_any_kind_of_bytes_and_arrays_are_read_only(kind):
    head = orjson.dumps(binary_head())
    head += b" " * (-len(head) % 16)
    body = kind(head + np.float32([1, 2, 3, 4]).tobytes())
    features = decode_request(body, len(head), IRIS).inputs["features"]
    assert features.tolist() == [[1, 2, 3, 4]]
    assert not features.flags.writeable
    assert decode_request(kind(body_of()), None, IRIS).inputs["features"].shape == (1, 4)


def test_json_and_binary_inputs_may_be_mixed_in_any_order():
    head = {
        "inputs": [
            {"name": "words", "shape": [2], "datatype": "BYTES", "data": ["a", "é"]},
            {"name": "ids", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}},
        ]
    }
    request = binary(head, (7).to_bytes(8, "little"), TWO)
    assert request.inputs["ids"].tolist() == [7]
    assert request.inputs["words"].tolist() == ["a", "é"]


def test_unknown_members_are_let_through_and_the_last_of_a_duplicate_key_counts():
    assert iris(model_name="other", extra={"deep": [None]}).inputs
    assert decode_request(body_of()[:-1] + b',"id":"a","id":"b"}', None, IRIS).id == "b"


def test_optional_members_may_be_null():
    request = iris(id=None, parameters=None, outputs=None)
    assert (request.id, request.outputs) == (None, None)
    assert iris_tensor(parameters=None).inputs


def test_requested_outputs_keep_their_order():
    request = iris(outputs=[{"name": "probabilities"}, {"name": "label"}])
    assert request.outputs == ("probabilities", "label")
    assert iris(outputs=[]).outputs is None


def test_what_an_output_says_of_binary_wins_over_what_the_request_says():
    assert iris(parameters={"binary_data_output": True}).binary == {"label", "probabilities"}
    outputs = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    assert iris(parameters={"binary_data_output": True}, outputs=outputs).binary == {"probabilities"}
    outputs = [{"name": "label", "parameters": {"binary_data": True}}, {"name": "probabilities"}]
    assert iris(outputs=outputs).binary == {"label"}


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(1_500_000, 1.5), ("250", 0.00025), (1, 1e-6), (0, None), ("0", None), (None, None)],
)
def test_a_timeout_is_microseconds_as_a_number_or_text(timeout, seconds):
    assert iris(parameters={"timeout": timeout}).timeout_seconds == seconds


@pytest.mark.parametrize("timeout", [-1, 1.5, True, False, "", "1.5", "-3", "\u0661", "9" * 30])
def test_any_other_timeout_is_refused(timeout):
    with pytest.raises(InvalidInput, match="parameter 'timeout' must be microseconds"):
        iris(parameters={"timeout": timeout})


@pytest.mark.parametrize("name", ["sequence_id", "sequence_start", "sequence_end"])
def test_sequences_are_not_supported(name):
    with pytest.raises(Unsupported, match=name):
        iris(parameters={name: 1})


def test_a_sequence_of_nothing_is_none():
    assert iris(parameters={"sequence_id": 0, "sequence_start": False, "sequence_end": False}).inputs


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("classification", "classification is not offered"),
        ("shared_memory_region", "shared memory is not offered; send and get data in the body"),
    ],
)
def test_extensions_that_would_change_an_output_are_not_silently_ignored(option, words):
    with pytest.raises(Unsupported, match=rf"^outputs\[0\] 'label': '{option}': {words}"):
        iris(outputs=[{"name": "label", "parameters": {option: 3}}])


@pytest.mark.parametrize("more", [{}, {"binary_data_size": 16}, {"shared_memory_byte_size": 16}])
@pytest.mark.parametrize("data", [..., [1, 2, 3, 4]])
def test_an_input_in_shared_memory_is_refused_in_words(data, more):
    words = r"^inputs\[0\] 'features': 'shared_memory_region': shared memory is not offered; send"
    with pytest.raises(Unsupported, match=words):
        iris_tensor(data=data, parameters={"shared_memory_region": "r", **more})


def test_null_parameters_are_as_if_they_were_absent():
    request = iris(parameters={"timeout": None, "binary_data_output": None, "mine": None, "yours": 1})
    assert (request.parameters, request.timeout_seconds, request.binary) == ({"yours": 1}, None, frozenset())
    options = {"binary_data": None, "classification": None, "shared_memory_region": None}
    assert iris(outputs=[{"name": "label", "parameters": options}]).outputs == ("label",)
    assert iris_tensor(parameters={"binary_data_size": None, "shared_memory_region": None}).inputs
    assert iris(parameters={"sequence_id": None}).inputs


def test_other_parameters_are_kept_as_they_came():
    parameters = {"priority": 3, "headers": "x", "mine": 1.5, "flag": True}
    assert iris(parameters=parameters).parameters == parameters


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"id": 5}, "'id' must be text, got 5"),
        ({"inputs": None}, "'inputs' must be a list, got null"),
        ({"inputs": {}}, "'inputs' must be a list, got an object"),
        ({"inputs": []}, "'inputs' lacks 'features'"),
        ({"inputs": [1]}, r"inputs\[0\] must be an object, got 1"),
        ({"inputs": [FEATURES, FEATURES]}, r"inputs\[1\] 'features': named twice"),
        (
            {"inputs": [FEATURES, {"name": "z"}]},
            r"inputs\[1\] 'z': the model has none of that name; known: f",
        ),
        ({"inputs": [{"name": []}]}, r"inputs\[0\] a list: the model has none of that name"),
        ({"inputs": [{}]}, r"inputs\[0\] null: the model has none of that name"),
        ({"parameters": []}, "'parameters' must be an object, got a list"),
        ({"parameters": {"a": [1]}}, "parameter 'a' must be text, a number or a boolean, got a list"),
        ({"parameters": {"binary_data_output": 1}}, "parameter 'binary_data_output' must be a boolean"),
        ({"outputs": {}}, "'outputs' must be a list, got an object"),
        ({"outputs": False}, "'outputs' must be a list, got false"),
        ({"outputs": ["label"]}, r"outputs\[0\] must be an object, got 'label'"),
        ({"outputs": [{"name": "labels"}]}, r"outputs\[0\] 'labels': the model has none of that name"),
        ({"outputs": [{"name": "label"}] * 2}, r"outputs\[1\] 'label': named twice"),
        ({"outputs": [{"name": "label", "parameters": 1}]}, r"outputs\[0\] 'parameters' must be an object"),
        (
            {"outputs": [{"name": "label", "parameters": {"binary_data": "yes"}}]},
            r"outputs\[0\] parameter 'binary_data' must be a boolean, got 'yes'",
        ),
    ],
)
def test_a_malformed_request_is_refused_with_the_place_of_the_fault(members, message):
    with pytest.raises(InvalidInput, match="^" + message):
        iris(**members)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datatype": "FP64"}, "datatype 'FP64', the model takes FP32"),
        ({"datatype": "BF16"}, "datatype 'BF16', the model takes FP32"),
        ({"datatype": ...}, "datatype null, the model takes FP32"),
        ({"datatype": []}, "datatype a list, the model takes FP32"),
        ({"shape": [1, 3]}, "dimension 1 of the shape is 3, the model takes 4"),
        ({"shape": [4]}, "the shape has 1 dimensions"),
        ({"shape": ...}, "'shape' must be a list of integers, got null"),
        ({"shape": [2, 4]}, r"'data' has 4 elements, shape \[2, 4\] takes 8"),
        ({"shape": [2**63, 4]}, "'data' has 4 elements"),
        ({"data": ...}, "neither 'data' nor 'binary_data_size' is given"),
        ({"data": None}, "neither 'data' nor 'binary_data_size' is given"),
        ({"data": {}}, "'data' must be a list, got an object"),
        ({"data": [1, 2, 3, "4"]}, "element 3 of 'data', '4', is no FP32"),
        ({"data": [1, 2, 3, 1e39]}, r"element 3 of 'data', 1e\+39, is out of the range of FP32"),
        ({"parameters": {"binary_data_size": 16}}, "both 'data' and 'binary_data_size' are given"),
        ({"parameters": {"binary_data_size": 16}, "data": ...}, "'binary_data_size' without the header"),
    ],
)
def test_a_tensor_that_the_model_does_not_take_is_refused_with_its_place(changes, message):
    with pytest.raises(InvalidInput, match=r"^inputs\[0\] 'features': " + message):
        iris_tensor(**changes)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xef\xbb\xbf{}",
        body_of() + b"x",
        body_of(id="a").replace(b'"a"', b'"\xff"'),
        body_of(id="a").replace(b'"a"', rb'"\ud800"'),
        body_of().replace(b"5.1", b"1e999"),
        body_of().replace(b"5.1", b"9" * 100_000),
        body_of().replace(b"5.1", b"NaN").replace(b"3.5", b"1e999"),
        body_of().replace(b"5.1", b"-NaN"),
        body_of().replace(b"5.1", b"[" * 1_000_000),
        body_of().replace(b"5.1", b"[" * 1_000_000 + b"]" * 1_000_000),
        body_of().replace(b"5.1", b"[" * 1_000 + b"]" * 1_000),
    ],
    ids=range(15),
)
def test_hostile_json_is_refused_in_few_words(text):
    with pytest.raises(InvalidInput) as caught:
        decode_request(text, None, IRIS)
    assert len(str(caught.value)) < 200


def test_the_literals_of_python_and_tritonclient_are_numbers():
    body = json.dumps({"inputs": [{**FEATURES, "data": [math.nan, math.inf, -math.inf, 1]}]}).encode()
    assert b"[NaN, Infinity, -Infinity, 1]" in body
    got = decode_request(body, None, IRIS).inputs["features"]
    assert np.array_equal(got, np.float32([[np.nan, np.inf, -np.inf, 1]]), equal_nan=True)
    assert iris_tensor(data=[1, None, "Infinity", "-Infinity"]).inputs["features"][0, 2] == np.inf


def test_a_number_of_any_length_is_a_number():
    body = body_of().replace(b"5.1", b"5." + b"1" * 100_000)
    assert decode_request(body, None, IRIS).inputs["features"][0, 0] == np.float32(5 + 1 / 9)


# ---------------------------------------------------------------------- what a model can do without

OPTIONAL = Signature(
    (TensorSpec("x", "FP32", (-1,)), TensorSpec("scale", "FP32", (1,), optional=True)),
    (TensorSpec("y", "FP32", (-1,)),),
)
X = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}
SCALE = {"name": "scale", "shape": [1], "datatype": "FP32", "data": [3]}


@pytest.mark.parametrize(("inputs", "names"), [([X], ["x"]), ([SCALE, X], ["scale", "x"])])
def test_an_optional_input_is_taken_where_it_is_given_and_left_out_where_it_is_not(inputs, names):
    assert list(decode_request(orjson.dumps({"inputs": inputs}), None, OPTIONAL).inputs) == names


def test_what_is_not_optional_has_to_be_given():
    with pytest.raises(InvalidInput, match=r"^'inputs' lacks 'x'$"):
        decode_request(orjson.dumps({"inputs": [SCALE]}), None, OPTIONAL)
    with pytest.raises(InvalidInput, match="'inputs' must be a list, got null"):
        decode_request(b"{}", None, OPTIONAL)


def test_a_raw_body_is_the_one_input_that_is_needed():
    assert decode_request(bytes(4), 0, OPTIONAL).inputs["x"].tolist() == [0]


@pytest.mark.parametrize("message", [{}, {"inputs": None}, {"inputs": []}])
def test_a_model_without_inputs_is_asked_with_none(message):
    nothing = Signature((), (TensorSpec("y", "FP32", (-1,)),))
    assert decode_request(orjson.dumps(message), None, nothing).inputs == {}
    with pytest.raises(InvalidInput, match="the model has none of that name; known: none"):
        decode_request(orjson.dumps({"inputs": [X]}), None, nothing)


@pytest.mark.parametrize("shape", [[], [3], [3, 1]])
def test_a_model_of_any_rank_is_asked_with_any_shape(shape):
    any_rank = Signature((TensorSpec("x", "FP32", None),), ())
    tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": [1] * math.prod(shape)}
    assert decode_request(orjson.dumps({"inputs": [tensor]}), None, any_rank).inputs["x"].shape == tuple(
        shape
    )
    with pytest.raises(InvalidInput, match="'x': a body without JSON has no shape"):
        decode_request(bytes(4), 0, any_rank)


# ---------------------------------------------------------------------- binary and raw bodies


@pytest.mark.parametrize("json_length", [-1, 10_000, 2**63])
def test_a_json_length_outside_the_body_is_refused(json_length):
    with pytest.raises(InvalidInput, match="is not within the body"):
        decode_request(body_of(), json_length, IRIS)


@pytest.mark.parametrize("size", [-1, 17, 2**63, 1.0, True, "16"])
def test_a_binary_size_that_is_no_size_within_the_body_is_refused(size):
    with pytest.raises(InvalidInput, match=r"^inputs\[0\] 'features': 'binary_data_size' is .*16 bytes are"):
        binary(binary_head(size), bytes(16))


def test_a_binary_size_that_is_not_that_of_the_shape_is_refused():
    with pytest.raises(InvalidInput, match=r"12 bytes of data, shape \[1, 4\] of FP32 takes 16"):
        binary(binary_head(12), bytes(12))


def test_bytes_that_belong_to_no_tensor_are_refused():
    with pytest.raises(InvalidInput, match="3 bytes of the body belong to no tensor"):
        binary(binary_head(), bytes(19))
    with pytest.raises(InvalidInput, match="1 bytes of the body belong to no tensor"):
        binary({"inputs": [FEATURES]}, b" ")


def test_a_raw_body_is_the_only_input_with_a_batch_of_one():
    request = decode_request(np.float32([1, 2, 3, 4]).tobytes(), 0, IRIS)
    assert request.inputs["features"].tolist() == [[1, 2, 3, 4]]
    assert request.binary == {"label", "probabilities"}


@pytest.mark.parametrize(
    ("datatype", "shape", "size", "expected"),
    [
        ("FP32", (-1, 2, -1), 24, (1, 2, 3)),
        ("INT64", (-1,), 8, (1,)),
        ("UINT8", (2, 2), 4, (2, 2)),
        ("FP16", (3, -1), 12, (3, 2)),
        ("FP32", (-1, 0, -1), 0, (1, 0, 0)),
    ],
)
def test_one_variable_dimension_of_a_raw_body_follows_from_its_size(datatype, shape, size, expected):
    signature = Signature((TensorSpec("x", datatype, shape),), ())
    assert decode_request(bytes(size), 0, signature).inputs["x"].shape == expected


def test_raw_text_is_one_element_without_a_length():
    signature = Signature((TensorSpec("x", "BYTES", (-1, 1)),), ())
    assert decode_request("né".encode(), 0, signature).inputs["x"].tolist() == [["né"]]
    with pytest.raises(InvalidInput, match="not UTF-8"):
        decode_request(b"\xff", 0, signature)
    with pytest.raises(InvalidInput, match="takes 2"):
        decode_request(b"a", 0, Signature((TensorSpec("x", "BYTES", (-1, 2)),), ()))


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_raw_body_of_the_wrong_size_is_refused(size):
    with pytest.raises(InvalidInput, match="takes 16"):
        decode_request(bytes(size), 0, IRIS)


def test_a_raw_body_whose_shape_is_not_known_is_refused():
    for signature in (TWO, Signature((TensorSpec("x", "FP32", (-1, -1, -1)),), ())):
        with pytest.raises(InvalidInput):
            decode_request(bytes(24), 0, signature)
    with pytest.raises(InvalidInput, match="takes 20"):
        decode_request(bytes(24), 0, Signature((TensorSpec("x", "FP32", (5, -1)),), ()))


# ---------------------------------------------------------------------- responses


def test_a_response_is_written_as_the_standard_says():
    body, json_length = ResponseEncoder("iris", "1", IRIS).encode(iris(id="a-7"), ANSWER)
    assert json_length is None
    assert orjson.loads(body) == {
        "model_name": "iris",
        "model_version": "1",
        "id": "a-7",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [1], "data": [2]},
            {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [0.1, 0.2, 0.7]},
        ],
    }


def test_an_id_is_left_out_where_there_was_none_and_an_empty_one_echoed():
    encoder = ResponseEncoder("iris", "1", IRIS)
    assert b'"id"' not in encoder.encode(iris(), ANSWER)[0]
    assert b'"id":""' in encoder.encode(iris(id=""), ANSWER)[0]


def test_only_requested_outputs_are_written_in_their_order():
    request = iris(
        outputs=[{"name": "probabilities"}, {"name": "label", "parameters": {"binary_data": True}}]
    )
    body, json_length = ResponseEncoder("iris", "1", IRIS).encode(request, ANSWER[::-1])
    outputs = orjson.loads(body[:json_length])["outputs"]
    assert [output["name"] for output in outputs] == ["probabilities", "label"]
    assert outputs[1]["parameters"] == {"binary_data_size": 8}
    assert body[json_length:] == (2).to_bytes(8, "little")


@pytest.mark.parametrize(
    "outputs",
    [ANSWER[:1], [*ANSWER, ANSWER[0]], [ANSWER[0].astype(np.int32), ANSWER[1]], ANSWER[::-1]],
)
def test_outputs_that_are_not_as_the_model_declares_are_a_fault_of_ours(outputs):
    with pytest.raises(ServingError) as caught:
        ResponseEncoder("iris", "1", IRIS).encode(iris(), outputs)
    assert caught.value.status == 500


def test_an_error_is_one_member():
    assert orjson.loads(encode_error('a "b"')) == {"error": 'a "b"'}


def request_for(signature: Signature, *, wanted: bool) -> InferRequest:
    return InferRequest(
        "i", {}, {}, None, frozenset(signature.output_by_name) if wanted else frozenset(), None
    )


@given(arrays(finite=True), st.booleans())
def test_a_response_reads_back_exactly(tensor, wanted):
    datatype, array = tensor
    signature = echo(datatype, array.ndim)
    strided = array.T if array.ndim else array
    body, json_length = ResponseEncoder("m", "3", signature).encode(
        request_for(signature, wanted=wanted), [strided]
    )
    response = decode_response(body, json_length)
    assert (response.model_name, response.model_version, response.id) == ("m", "3", "i")
    assert_same(response.outputs["y"], strided)


@given(arrays())
def test_a_binary_response_carries_non_finite_numbers_as_they_are(tensor):
    datatype, array = tensor
    signature = echo(datatype, array.ndim)
    body, json_length = ResponseEncoder("m", "3", signature).encode(
        request_for(signature, wanted=True), [array]
    )
    assert_same(decode_response(body, json_length).outputs["y"], array)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_a_response_says_what_is_not_finite_in_json_that_every_parser_takes(datatype):
    signature = echo(datatype, 2)
    array = np.array([[1, np.nan], [np.inf, -np.inf], [0.1, 5]], DATATYPES[datatype])
    encoder = ResponseEncoder("m", "1", signature)
    for given_array in (array, np.asfortranarray(array)):
        body, _ = encoder.encode(request_for(signature, wanted=False), [given_array])
        assert b'"data":[1.0,null,"Infinity","-Infinity",0.' in body
        assert orjson.loads(body)["outputs"][0]["data"][5] == 5.0
        assert np.array_equal(decode_response(body, None).outputs["y"], array, equal_nan=True)


def test_a_text_that_says_null_is_left_as_it_is():
    signature = echo("BYTES", 1)
    body, _ = ResponseEncoder("m", "1", signature).encode(
        request_for(signature, wanted=False), [np.array(["null", "NaN,null"], object)]
    )
    assert decode_response(body, None).outputs["y"].tolist() == ["null", "NaN,null"]


def test_the_literals_of_other_servers_are_read():
    body = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[4],"data":[NaN,Infinity,-Infinity,null]}]}'
    got = decode_response(body, None).outputs["y"]
    assert np.array_equal(got, np.float32([np.nan, np.inf, -np.inf, np.nan]), equal_nan=True)


def test_an_answer_may_hold_any_bytes():
    tail = b"\2\0\0\0\xff\xd8" + b"\1\0\0\0a"
    tensor = {"name": "y", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(tail)}}
    head = orjson.dumps({"outputs": [tensor]})
    assert decode_response(head + tail, len(head)).outputs["y"].tolist() == [b"\xff\xd8", "a"]


def test_a_response_of_a_server_without_versions_and_parameters_is_read():
    body = b'{"model_name":"m","outputs":[{"name":"y","datatype":"INT64","shape":[2,1],"data":[[1],[2]]}]}'
    response = decode_response(body, None)
    assert (response.model_version, response.id) == (None, None)
    assert response.outputs["y"].tolist() == [[1], [2]]
    assert decode_response(b'{"outputs":[]}', None).outputs == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"error":"x"}',
        b'{"outputs":{}}',
        b'{"outputs":[1]}',
        b'{"outputs":[{}]}',
        b'{"outputs":[{"name":"y","datatype":"INT64","shape":[2],"data":[1]}]}',
        b'{"outputs":[{"name":"y","datatype":"INT64","shape":[-1],"data":[1]}]}',
        b'{"outputs":[{"name":"y","datatype":"INT64","shape":["1"],"data":[1]}]}',
        b'{"outputs":[{"name":"y","datatype":"INT64","shape":[1],"data":[null]}]}',
        b'{"outputs":[{"name":"y","datatype":"BF8","shape":[1],"data":[1]}]}',
        b'{"outputs":[{"name":"y","datatype":"FP32","shape":[%s],"data":[1]}]}' % b",".join([b"1"] * 65),
        b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}',
        b'{"outputs":[%s]}' % b",".join([b'{"name":"y","datatype":"FP32","shape":[1],"data":[1]}'] * 2),
        b'{"model_name":1,"outputs":[]}',
        b'{"id":1,"outputs":[]}',
    ],
    ids=range(16),
)
def test_an_answer_that_contradicts_itself_is_a_bad_gateway(body):
    with pytest.raises(BadGateway, match="not a valid response: "):
        decode_response(body, None)


def test_a_response_cut_short_is_a_bad_gateway():
    request = iris(parameters={"binary_data_output": True})
    body, json_length = ResponseEncoder("iris", "1", IRIS).encode(request, ANSWER)
    for length in range(len(body)):
        with pytest.raises(BadGateway):
            decode_response(body[:length], json_length)


# ---------------------------------------------------------------------- tritonclient


@given(arrays(finite=True, min_dims=1), st.booleans())
def test_tritonclient_requests_are_understood(tensor, as_binary):
    datatype, array = tensor
    tensor_input = InferInput("x", list(array.shape), datatype)
    theirs = array.view(ml_dtypes.bfloat16) if datatype == "BF16" else array
    as_binary |= datatype in {"FP16", "BF16"}  # its own rule
    tensor_input.set_data_from_numpy(theirs, binary_data=as_binary)
    body, json_length = InferenceServerClient.generate_request_body([tensor_input], request_id="r")
    request = decode_request(body, json_length, echo(datatype, array.ndim))
    assert request.id == "r"
    assert request.binary == {"y"}
    assert_same(request.inputs["x"], array)


@given(arrays(finite=True, min_dims=1), st.booleans())
def test_tritonclient_understands_our_responses(tensor, as_binary):
    datatype, array = tensor
    signature = echo(datatype, array.ndim)
    tensor_input = InferInput("x", list(array.shape), datatype)
    theirs = array.view(ml_dtypes.bfloat16) if datatype == "BF16" else array
    tensor_input.set_data_from_numpy(theirs)
    body, json_length = InferenceServerClient.generate_request_body(
        [tensor_input], outputs=[InferRequestedOutput("y", binary_data=as_binary)]
    )
    request = decode_request(body, json_length, signature)
    answer, header_length = ResponseEncoder("m", "1", signature).encode(request, [request.inputs["x"]])
    result = InferenceServerClient.parse_response_body(answer, header_length=header_length)
    got = result.as_numpy("y")
    if datatype == "BYTES" and as_binary:
        got = np.vectorize(lambda text: text.decode(), otypes=[object])(got)
    assert_same(got, theirs)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_tritonclient_reads_what_is_not_finite_as_what_it_is(datatype):
    signature = echo(datatype, 1)
    array = np.array([np.nan, 1, np.inf, -np.inf, 0.1], DATATYPES[datatype])
    answer, _ = ResponseEncoder("m", "1", signature).encode(request_for(signature, wanted=False), [array])
    got = InferenceServerClient.parse_response_body(answer).as_numpy("y")
    assert np.array_equal(got, array, equal_nan=True)


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_what_tritonclient_writes_of_what_is_not_finite_is_understood(datatype):
    array = np.array([np.nan, 1, np.inf, -np.inf, 0.1], DATATYPES[datatype])
    tensor_input = InferInput("x", [5], datatype)
    tensor_input.set_data_from_numpy(array, binary_data=False)
    body, json_length = InferenceServerClient.generate_request_body([tensor_input])
    assert b"NaN" in body
    got = decode_request(body, json_length, echo(datatype, 1)).inputs["x"]
    assert np.array_equal(got, array, equal_nan=True)


def test_tritonclient_parameters_are_understood():
    tensor_input = InferInput("features", [1, 4], "FP32")
    tensor_input.set_data_from_numpy(np.zeros((1, 4), np.float32))
    body, json_length = InferenceServerClient.generate_request_body(
        [tensor_input], priority=2, timeout=5_000, parameters={"mine": "x"}
    )
    request = decode_request(body, json_length, IRIS)
    assert request.timeout_seconds == 0.005
    assert request.parameters["mine"] == "x"
    body, json_length = InferenceServerClient.generate_request_body(
        [tensor_input], outputs=[InferRequestedOutput("label", class_count=2)]
    )
    with pytest.raises(Unsupported, match="classification"):
        decode_request(body, json_length, IRIS)


# ---------------------------------------------------------------------- fuzz


MIXED = {
    "inputs": [
        {"name": "ids", "shape": [2], "datatype": "INT64", "data": [1, 2]},
        {"name": "words", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}},
    ]
}
SEEDS = [
    (body_of(id="a", outputs=[{"name": "label"}], parameters={"timeout": 5}), None, IRIS),
    (orjson.dumps(binary_head()) + bytes(16), len(orjson.dumps(binary_head())), IRIS),
    (orjson.dumps(MIXED) + b"\2\0\0\0ab", len(orjson.dumps(MIXED)), TWO),
    (bytes(16), 0, IRIS),
]
VALUES = [
    None,
    True,
    math.inf,
    math.nan,
    "NaN",
    -1,
    0,
    1.5,
    2**64 - 1,
    1e308,
    "",
    "a",
    "FP32",
    "BYTES",
    [],
    [[]],
    {},
    {"name": []},
]


def mutate_values(value: object, chance: random.Random) -> object:
    """The same JSON with some values replaced by others, some of them by lists and objects."""
    if chance.random() < 0.1:
        return chance.choice(VALUES)
    if isinstance(value, dict):
        return {key: mutate_values(item, chance) for key, item in value.items() if chance.random() > 0.03}
    if isinstance(value, list):
        return [mutate_values(item, chance) for item in value for _ in range(chance.choice([1] * 9 + [2]))]
    return value


def decodes_or_refuses(body: bytes, json_length: int | None, signature: Signature) -> None:
    """Any exception but those that say what is wrong with the body fails the test."""
    with contextlib.suppress(InvalidInput, Unsupported):
        request = decode_request(body, json_length, signature)
        needed = {spec.name for spec in signature.inputs if not spec.optional}
        assert needed <= request.inputs.keys() <= signature.input_by_name.keys()
    with contextlib.suppress(BadGateway):
        decode_response(body, json_length)


def test_the_seeds_of_the_fuzz_are_valid():
    for body, json_length, signature in SEEDS:
        decode_request(body, json_length, signature)


@given(st.sampled_from(SEEDS[:-1]), st.sampled_from(["inputs", "outputs"]), st.randoms(use_true_random=False))
@settings(max_examples=examples(500))
def test_no_replaced_value_does_more_than_be_refused(seed, member, chance):
    body, json_length, signature = seed
    head = orjson.loads(body[:json_length])
    head[member] = head.pop("inputs")  # so that it is sometimes a response
    text = json.dumps(mutate_values(head, chance)).encode()
    tail = b"" if json_length is None else body[json_length:]
    decodes_or_refuses(text + tail, None if json_length is None else len(text), signature)


@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=examples(500))
def test_no_changed_bytes_do_more_than_be_refused(seed, data):
    body, json_length, signature = seed
    begin = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(begin, min(begin + 4, len(body))))
    changed = body[:begin] + data.draw(st.binary(max_size=6)) + body[end:]
    length = data.draw(st.sampled_from([json_length, None, 0]) | st.integers(-2, len(body) + 2))
    decodes_or_refuses(changed, length, signature)
