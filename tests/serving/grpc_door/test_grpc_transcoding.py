"""gRPC's messages as HTTP's bodies and back: nothing is changed, and what is remembered is what is read."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.errors import InvalidInput, ServingError, Unsupported
from serving.grpc import messages
from serving.grpc.messages import message
from serving.grpc.transcoding import Answers, Requests, named, with_parameters
from serving.wire.message import Reply
from serving.wire.protobuf import varint
from serving.wire.protocol import ResponseEncoder, decode_request
from serving.wire.tensors import Signature, TensorSpec, to_bytes

REQUEST, RESPONSE = message("ModelInferRequest"), message("ModelInferResponse")
FIELDS = {
    "BOOL": ("bool_contents", np.bool_),
    "INT8": ("int_contents", np.int8),
    "INT16": ("int_contents", np.int16),
    "INT32": ("int_contents", np.int32),
    "INT64": ("int64_contents", np.int64),
    "UINT8": ("uint_contents", np.uint8),
    "UINT16": ("uint_contents", np.uint16),
    "UINT32": ("uint_contents", np.uint32),
    "UINT64": ("uint64_contents", np.uint64),
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
}
IRIS = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),))


def arrays():
    """An array of each datatype that has a field for its values, of up to two dimensions."""

    @st.composite
    def draw_one(draw):
        datatype = draw(st.sampled_from(sorted(FIELDS)))
        dtype = np.dtype(FIELDS[datatype][1])
        shape = draw(st.lists(st.integers(0, 3), min_size=1, max_size=2))
        count = int(np.prod(shape))
        data = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
        array = np.frombuffer(data, dtype).reshape(shape)
        return datatype, (array.view(np.uint8) % 2).view(np.bool_) if datatype == "BOOL" else array

    return draw_one()


def made(*tensors, raw=True, **members):
    request = REQUEST(model_name="m", **members)
    for name, (datatype, array) in tensors:
        item = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            request.raw_input_contents.append(bytes(to_bytes(array)))
        elif datatype == "BYTES":
            item.contents.bytes_contents.extend(array.ravel().tolist())
        else:
            getattr(item.contents, FIELDS[datatype][0]).extend(array.ravel().tolist())
    return request


def read(request, requests=None):
    return (requests or Requests()).read(request.SerializeToString())


def decoded(asked, *specs):
    return decode_request(asked.body, asked.json_length, Signature(specs, (TensorSpec("y", "FP32", (-1,)),)))


@given(arrays(), arrays(), st.booleans())
def test_values_arrive_bit_for_bit_raw_or_in_fields(one, other, raw):
    asked = read(made(("a", one), ("b", other), raw=raw))
    specs = [TensorSpec(n, d, (-1,) * v.ndim) for n, (d, v) in (("a", one), ("b", other))]
    inputs = decoded(asked, *specs).inputs
    for name, (_, array) in (("a", one), ("b", other)):
        got = inputs[name]
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        if raw or array.dtype.kind != "f":
            assert got.tobytes() == array.tobytes()
        else:  # a NaN is one whatever its bits
            np.testing.assert_array_equal(got, array)


def test_texts_arrive_raw_or_in_fields():
    texts = np.array([b"one", "zwölf".encode(), b""], object)
    for raw in (True, False):
        asked = read(made(("t", ("BYTES", texts)), raw=raw))
        assert decoded(asked, TensorSpec("t", "BYTES", (-1,))).inputs["t"].tolist() == ["one", "zwölf", ""]


LENGTHS = st.one_of(
    st.integers(0, 6), st.integers(0, 2**32 - 1), st.sampled_from([2**31 - 1, 2**31, 2**32 - 1])
)


@given(
    st.lists(st.tuples(LENGTHS, st.binary(max_size=6)), max_size=4),
    st.binary(max_size=5),
    st.integers(0, 2**40),
)
@example([(0xFFFFFFFF, b"abc")], b"", 1)
@example([(3, b"abc")], b"\x01", 1)
@example([], b"", 2**40)
def test_texts_whose_lengths_lie_are_refused_by_the_name_of_their_input(told, rest, count):
    """Raw elements with lengths of their own: as many as the shape says and nothing beside, or an error."""
    raw = b"".join(length.to_bytes(4, "little") + data for length, data in told) + rest
    request = REQUEST(model_name="m", raw_input_contents=[raw])
    request.inputs.add(name="t", datatype="BYTES", shape=[count])
    whole = [data for length, data in told if length == len(data)]
    honest = not rest and len(whole) == len(told) == count
    refused, got = "", []
    try:
        got = decoded(read(request), TensorSpec("t", "BYTES", (-1,))).inputs["t"].tolist()
    except InvalidInput as error:
        refused = str(error)
    if refused:
        assert "'t'" in refused
        assert not honest or "UTF-8" in refused
    else:
        # Lengths that lie in concert may be whole elements again; then they are those that the bytes say.
        assert len(got) == count
        assert b"".join(len(each.encode()).to_bytes(4, "little") + each.encode() for each in got) == raw


def test_id_parameters_outputs_and_version_go_on():
    request = made(("x", ("FP32", np.zeros((1, 4), np.float32))), id="7", model_version="3")
    request.parameters["timeout"].int64_param = 5_000_000
    request.parameters["empty"].SetInParent()
    request.outputs.add(name="y")
    asked = read(request)
    assert (asked.model, asked.version, asked.id) == ("m", "3", "7")
    got = decode_request(asked.body, asked.json_length, IRIS)
    assert (got.id, got.outputs, got.binary, got.timeout_seconds) == ("7", ("y",), frozenset({"y"}), 5.0)


@given(st.integers(0, 4), st.lists(st.sampled_from("xyz"), max_size=2), st.data())
def test_what_is_remembered_says_what_is_read_anew(rows, others, data):
    """Whatever came before, a message is read as by somebody who has seen none."""
    remembering = Requests()
    messages = []
    for name in ("x", *others):
        array = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
        messages.append(made((name, ("FP32", array))).SerializeToString())
    for _ in range(6):
        said = bytearray(data.draw(st.sampled_from(messages)))
        for _ in range(data.draw(st.integers(0, 3))):
            said[data.draw(st.integers(0, len(said) - 1))] = data.draw(st.integers(0, 255))
        outcomes = []
        for reader in (remembering, Requests()):
            try:
                outcomes.append(reader.read(bytes(said)))
            except ServingError as error:
                outcomes.append((type(error), str(error)))
        assert outcomes[0] == outcomes[1]


@given(st.binary(max_size=200))
@example(b"")
def test_any_bytes_are_read_or_refused_as_what_is_expected(data):
    with contextlib.suppress(ServingError):
        asked = Requests().read(data)
        decode_request(asked.body, asked.json_length, IRIS)


def floats(*shape):
    return "FP32", np.zeros(shape, np.float32)


def both():
    request = made(("x", floats(1, 4)))
    request.inputs[0].contents.fp32_contents.extend([0.0] * 4)
    return request


def lacking():
    request = made(("x", floats(1, 4)), ("z", floats(1)))
    del request.raw_input_contents[1]
    return request


def typed(datatype, field, values, shape):
    request = REQUEST(model_name="m")
    item = request.inputs.add(name="x", datatype=datatype, shape=shape)
    getattr(item.contents, field).extend(values)
    return request


def parameter(where, name):
    request = made(("x", floats(1, 4)))
    request.outputs.add(name="y")
    place = {"request": request, "input": request.inputs[0], "output": request.outputs[0]}[where]
    place.parameters[name].int64_param = 4
    return request


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        (both(), InvalidInput, "inputs[0] 'x': 'contents' beside 'raw_input_contents'; send one of the two"),
        (lacking(), InvalidInput, "'raw_input_contents' has the bytes of 1 inputs, 'inputs' names 2"),
        (
            typed("FP32", "fp64_contents", [1.0], [1]),
            InvalidInput,
            "inputs[0] 'x': FP32 has its values in 'fp32_contents', not in 'fp64_contents'",
        ),
        (
            typed("FP32", "fp32_contents", [1.0], [1, 4]),
            InvalidInput,
            "inputs[0] 'x': 'fp32_contents' has 1 elements, the shape [1, 4] has 4",
        ),
        (typed("INT8", "int_contents", [1, 300], [2]), InvalidInput, "inputs[0] 'x': 300 is no INT8"),
        (typed("UINT8", "uint_contents", [256], [1]), InvalidInput, "inputs[0] 'x': 256 is no UINT8"),
        (
            typed("FP16", "fp32_contents", [1.0], [1]),
            InvalidInput,
            "inputs[0] 'x': 'FP16' has no field in 'contents'; send it raw",
        ),
        (
            parameter("input", "binary_data_size"),
            InvalidInput,
            "inputs[0] 'x': 'binary_data_size' is 4, its bytes are 16",
        ),
        (
            parameter("input", "shared_memory_region"),
            Unsupported,
            (
                "inputs[0] 'x': 'shared_memory_region': shared memory is not offered; "
                "send and get data in the body"
            ),
        ),
    ],
)  # fmt: skip
def test_what_says_two_things_or_is_not_offered_is_refused_in_words(request_, kind, words):
    with pytest.raises(kind) as refused:
        read(request_)
    assert str(refused.value) == words


def test_a_shape_of_more_than_there_are_is_for_the_protocol_to_refuse():
    asked = read(typed("FP32", "fp32_contents", [], [-1, 4]))
    with pytest.raises(InvalidInput, match="shape"):
        decode_request(asked.body, asked.json_length, IRIS)


@given(arrays(), arrays(), st.sampled_from(["", "7"]), st.booleans())
def test_answers_are_what_the_model_gave(one, other, id_, binary):
    specs = [TensorSpec(n, d, (-1,) * v.ndim) for n, (d, v) in (("a", one), ("b", other))]
    signature = Signature((TensorSpec("x", "FP32", (-1, 4)),), tuple(specs))
    asked = read(made(("x", floats(1, 4)), id=id_))
    request = decode_request(asked.body, asked.json_length, signature)
    if not binary:
        request.binary = frozenset()
    reply = Reply(200, *ResponseEncoder("m", "1", signature).encode(request, [one[1], other[1]]))
    answers = Answers()
    for _ in range(2):  # learnt, then remembered
        answer = RESPONSE.FromString(answers.write(reply))
        assert (answer.model_name, answer.model_version, answer.id) == ("m", "1", id_)
        assert [output.name for output in answer.outputs] == ["a", "b"]
        for output, raw, (datatype, array) in zip(
            answer.outputs, answer.raw_output_contents, (one, other), strict=True
        ):
            assert (output.datatype, tuple(output.shape)) == (datatype, array.shape)
            if binary or array.dtype.kind != "f":
                assert raw == array.tobytes()


@given(st.integers(0, 2**63))
def test_varints_are_protobufs(number):
    request = REQUEST()
    request.parameters["n"].uint64_param = number
    assert request.SerializeToString().endswith(varint(number))


def test_parameters_are_added_to_a_response():
    response = RESPONSE(model_name="m").SerializeToString()
    got = RESPONSE.FromString(with_parameters(response, {"a": "b"}))
    assert (got.model_name, got.parameters["a"].string_param) == ("m", "b")


def test_the_model_of_a_message_is_known_without_reading_it():
    for version in ("", "3"):
        data = made(("x", floats(1, 4)), model_version=version).SerializeToString()
        assert named(data) == ("m", version or None)
    assert named(b"") is None
    assert named(b"\x12\x013") is None


def test_what_only_looks_like_tensors_is_not_remembered():
    """A message with a field that nobody knows, which ends as tensors would: protobuf passes it over."""
    tensor = np.arange(4, dtype=np.float32).tobytes()
    raw = b"\x3a" + varint(len(tensor)) + tensor
    head = made(("x", floats(1, 4)))
    del head.raw_input_contents[:]

    def with_unknown(last):
        hidden = raw[:-1] + last
        return head.SerializeToString() + raw + b"\x7a" + varint(len(hidden)) + hidden  # field 15

    reader = Requests()
    first = reader.read(with_unknown(raw[-1:]))
    assert reader.read(with_unknown(b"?")) == first == Requests().read(with_unknown(b"?"))


def test_the_compiled_messages_are_those_of_the_text(tmp_path):
    from grpc_tools import protoc

    folder, out = Path(messages.__file__).parent, tmp_path / "oip.desc"
    assert protoc.main(["", f"-I{folder}", f"--descriptor_set_out={out}", "oip.proto"]) == 0
    assert out.read_bytes() == (folder / "oip.desc").read_bytes()
