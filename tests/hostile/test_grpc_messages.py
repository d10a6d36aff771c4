"""Messages over gRPC that lie, or are too much of something: a code, words, bounded memory, nothing told."""

import struct

import grpc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.grpc_asking import INFER, OWN, PLAIN, ROW, STREAM, answer, asking, field, workers
from harness.search import examples
from harness.secrets_told import told
from serving.grpc.bounds import MAX_BYTES_BESIDE_RAW, MAX_PARTS
from serving.grpc.messages import SERVICE, message, methods

BAD, LARGE, NOT_FOUND, NOT_OFFERED = "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "NOT_FOUND", "UNIMPLEMENTED"
IRIS = field(1, b"iris")


def typed(datatype, shape=(1, 4), **contents):
    said = asking(datatype=datatype, shape=shape)
    for name, values in contents.items():
        getattr(said.inputs[0].contents, name).extend(values)
    return said


def changed(said, change):
    change(said)
    return said


def parameter(holder, name, **value):
    return lambda said: [setattr(holder(said).parameters[name], kind, each) for kind, each in value.items()]


def of_request(name, **value):
    return changed(asking(ROW), parameter(lambda said: said, name, **value))


def of_input(name, **value):
    return changed(asking(ROW), parameter(lambda said: said.inputs[0], name, **value))


def of_output(name, **value):
    def output(said):
        return said.outputs[0] if said.outputs else said.outputs.add(name="label")

    return changed(asking(ROW), parameter(output, name, **value))


def texts(*elements):
    return b"".join(struct.pack("<I", length) + data for length, data in elements)


CASES = {
    "raw too short": (asking(ROW[:-1]), BAD, "inputs[0] 'features': 15 bytes"),
    "raw empty": (asking(b""), BAD, "inputs[0] 'features': 0 bytes"),
    "raw too long": (asking(ROW * 2), BAD, "inputs[0] 'features': 32 bytes"),
    "raw of none": (asking(), BAD, "'fp32_contents' has 0 elements"),
    "raw of two": (asking(ROW, ROW), BAD, "'raw_input_contents' has the bytes of 2 inputs, 'inputs' names 1"),
    "no input": (changed(asking(), lambda said: said.inputs.pop()), BAD, "'inputs' lacks 'features'"),
    "raw beside typed": (
        changed(typed("FP32", fp32_contents=[1] * 4), lambda said: said.raw_input_contents.append(ROW)),
        BAD,
        "'contents' beside 'raw_input_contents'; send one of the two",
    ),
    "typed in two fields": (
        typed("FP32", fp32_contents=[1] * 4, int_contents=[1]), BAD, "not in 'int_contents'",
    ),
    "typed in another's field": (typed("FP32", int64_contents=[1] * 4), BAD, "'fp32_contents'"),
    "typed too few": (typed("FP32", fp32_contents=[1] * 3), BAD, "has 3 elements, the shape [1, 4] has 4"),
    "typed beyond its width": (typed("UINT8", uint_contents=[1, 2, 3, 256]), BAD, "256 is no UINT8"),
    "typed where there is no field": (typed("FP16", fp32_contents=[1] * 4), BAD, "send it raw"),
    "negative length": (asking(ROW, shape=(-1, 4)), BAD, "inputs[0] 'features'"),
    "least length": (asking(ROW, shape=(-(2**63), 4)), BAD, "inputs[0] 'features'"),
    "no rows": (asking(b"", shape=(0, 4)), "OK", ""),
    "no dimension": (asking(ROW[:4], shape=()), BAD, "the shape has 0 dimensions, the model takes"),
    "product over 2^64": (asking(ROW, shape=(2**62, 4)), BAD, "inputs[0] 'features'"),
    "typed product over 2^64": (typed("FP32", (2**62, 4), fp32_contents=[1] * 4), BAD, "has 4 elements"),
    "zero beside a huge one": (asking(b"", shape=(0, 2**62)), BAD, "inputs[0] 'features'"),
    "65 dimensions": (asking(ROW, shape=(1,) * 64 + (4,)), BAD, "the shape has 65 dimensions"),
    "typed of 400 dimensions": (typed("FP32", (2**62,) * 400, fp32_contents=[1]), BAD, "64 are the limit"),
    "datatype that lies": (asking(ROW, datatype="INT32"), BAD, "datatype 'INT32', the model takes FP32"),
    "no datatype": (asking(ROW, datatype=""), BAD, "datatype ''"),
    "datatype in small letters": (asking(ROW, datatype="fp32"), BAD, "datatype 'fp32'"),
    "datatype without end": (asking(ROW, datatype="X" * 9999), BAD, "..."),
    "text for numbers": (asking(texts((3, b"abc")), datatype="BYTES"), BAD, "datatype 'BYTES'"),
    "input twice": (
        changed(asking(ROW, ROW), lambda said: said.inputs.append(said.inputs[0])), BAD, "named twice",
    ),
    "output twice": (
        changed(asking(ROW), lambda said: [said.outputs.add(name="label") for _ in "12"]), BAD, "named twice",
    ),
    "unknown output": (changed(asking(ROW), lambda said: said.outputs.add(name="x")), BAD, "known: label"),
    "unknown model": (asking(ROW, model_name="nobody"), NOT_FOUND, "unknown model 'nobody'"),
    "model without end": (asking(ROW, model_name="a" * 100_000), NOT_FOUND, "unknown model 'aaa"),
    "model of wide letters": (asking(ROW, model_name="\U0001f600" * 50_000), NOT_FOUND, "unknown model"),
    "model that is a path": (asking(ROW, model_name="../../etc/passwd"), NOT_FOUND, "unknown model"),
    "unknown version": (asking(ROW, model_version="9" * 5000), NOT_FOUND, "..."),
    "timeout of text": (of_request("timeout", string_param="soon"), BAD, "'timeout' must be microseconds"),
    "timeout below zero": (of_request("timeout", int64_param=-1), BAD, "'timeout' must be microseconds"),
    "timeout of NaN": (of_request("timeout", double_param=float("nan")), "OK", ""),
    "timeout of a flag": (of_request("timeout", bool_param=True), BAD, "'timeout' must be microseconds"),
    "sequence": (of_request("sequence_id", uint64_param=2**64 - 1), NOT_OFFERED, "stateful models"),
    "size that lies": (of_input("binary_data_size", int64_param=15), BAD, "'binary_data_size' is 15"),
    "size of text": (of_input("binary_data_size", string_param="16"), BAD, "'binary_data_size' is '16'"),
    "size over 2^63": (of_input("binary_data_size", uint64_param=2**64 - 1), BAD, "'binary_data_size' is"),
    "shared memory": (of_input("shared_memory_region", string_param="x"), NOT_OFFERED, "send and get data"),
    "shared memory out": (of_output("shared_memory_region", string_param="x"), NOT_OFFERED, "send and get"),
    "classification": (of_output("classification", int64_param=3), NOT_OFFERED, "the output itself"),
    "no message": (b"\xff" * 50, BAD, "the message is no ModelInferRequest"),
    "cut short": (PLAIN[:-1], BAD, "the message is no ModelInferRequest"),
    "length over 2^32": (IRIS + b"\x2a\xff\xff\xff\xff\x7f", BAD, "the message is no ModelInferRequest"),
    "no UTF-8": (field(1, b"\xff\xfe") + PLAIN, BAD, "the message is no ModelInferRequest"),
    "groups in groups": (b"\x0b" * 5000, BAD, "the message is no ModelInferRequest"),
    "empty": (b"", NOT_FOUND, "unknown model ''"),
}  # fmt: skip


@pytest.fixture(scope="module")
def channel(up):
    with grpc.insecure_channel(f"127.0.0.1:{up.grpc_port}", OWN) as open_:
        yield open_


def bytes_of(said):
    return said if isinstance(said, bytes) else said.SerializeToString()


@pytest.mark.parametrize("kind", CASES)
def test_what_lies_is_refused_in_words_that_name_the_place(kind, up, channel):
    said, code, words = CASES[kind]
    data, before = bytes_of(said), workers(up).keys()
    found, details = answer(channel, data)
    assert (found, words in details) == (code, True), details
    assert len(details.encode()) < 2_100, "more would not fit into metadata"
    assert not told(details, data.decode("latin-1"))
    assert answer(channel, PLAIN) == ("OK", "")
    assert workers(up).keys() == before


def test_a_stream_says_the_same_of_each_and_goes_on(channel):
    response = message("ModelStreamInferResponse")
    given_ = [data for said, _, _ in CASES.values() for data in (bytes_of(said), PLAIN)]
    answers = [response.FromString(data) for data in channel.stream_stream(STREAM)(iter(given_), timeout=60)]
    assert len(answers) == len(given_)
    for (kind, (_, code, words)), one, plain in zip(CASES.items(), answers[::2], answers[1::2], strict=True):
        assert bool(one.error_message) == (code != "OK"), kind
        assert words in one.error_message, kind
        assert (plain.error_message, plain.infer_response.model_version) == ("", "1"), kind


SIZE = 10_000_000
MANY = "inputs, outputs, parameters"
BESIDE = f"{MAX_BYTES_BESIDE_RAW} are the limit; send tensors raw"
FEATURES = field(1, b"features") + field(2, b"FP32")
TOO_MUCH = {
    "inputs": (IRIS + b"\x2a\x00" * (SIZE // 2), BAD, MANY),
    "outputs": (IRIS + b"\x32\x00" * (SIZE // 2), BAD, MANY),
    "raw tensors": (IRIS + b"\x3a\x00" * (SIZE // 2), BAD, MANY),
    "parameters": (IRIS + b"\x22\x00" * (SIZE // 2), BAD, MANY),
    "parameters of an input": (IRIS + field(5, FEATURES + b"\x22\x00" * (SIZE // 2)), BAD, MANY),
    "parameters of an output": (IRIS + field(6, b"\x12\x00" * (SIZE // 2)), BAD, MANY),
    "unknown fields": (IRIS + b"\x7a\x00" * (SIZE // 2), BAD, MANY),
    "dimensions": (IRIS + field(5, FEATURES + field(3, b"\x01" * SIZE)), BAD, "more dimensions than 64"),
    "dimensions one by one": (IRIS + field(5, FEATURES + b"\x18\x01" * (SIZE // 2)), BAD, MANY),
    "numbers": (IRIS + field(5, FEATURES + field(5, field(3, b"\x01" * SIZE))), LARGE, BESIDE),
    "texts": (IRIS + field(5, FEATURES + field(5, b"\x42\x00" * (SIZE // 2))), LARGE, BESIDE),
    "a name": (field(1, b"a" * SIZE), LARGE, BESIDE),
    "numbers up to the limit": (
        IRIS + field(5, field(1, b"features") + field(2, b"UINT64") + field(3, b"\x80\x80\x40")
                     + field(5, field(5, b"\x01" * (1 << 20)))), BAD, "the model takes FP32",
    ),
    "more than a message may be": (bytes((64 << 20) + 1), LARGE, "larger than max (67108865 vs. 67108864)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_what_two_bytes_would_become_hundreds_of_is_refused_unread(kind, up, channel):
    data, code, words = TOO_MUCH[kind]
    [(pid, before)] = workers(up).items()
    found, details = answer(channel, data)
    assert (found, words in details) == (code, True), details
    assert workers(up)[pid] < before + (150 << 20), "the message itself, and little else"


def test_messages_that_were_refused_are_not_kept(up, channel):
    data = field(1, b"a" * (MAX_BYTES_BESIDE_RAW + 1))
    answer(channel, data)
    [(pid, before)] = workers(up).items()
    for _ in range(15):
        assert answer(channel, data)[0] == LARGE
    assert workers(up)[pid] < before + 6 * len(data), "of 15 of them"


def test_as_many_columns_as_parts_are_read():
    from serving.errors import InvalidInput
    from serving.grpc.bounds import refuse_overfull

    columns = (MAX_PARTS - 1) // 4
    refuse_overfull(IRIS + field(5, FEATURES + field(3, b"\x01\x04")) * columns)
    with pytest.raises(InvalidInput, match=f"more than {MAX_PARTS}"):
        refuse_overfull(IRIS + field(5, FEATURES + field(3, b"\x01\x04")) * (columns + 1))


ASKED = sorted(method.name for method in methods() if method.name != "ModelStreamInfer")


@pytest.mark.parametrize("method", ASKED)
def test_every_method_refuses_what_is_no_message_of_its_own(method, channel):
    path = f"/{SERVICE}/{method}"
    request = next(each.input_type.name for each in methods() if each.name == method)
    code, words = answer(channel, b"\xff" * 50, path)
    assert (code, words) == (BAD, f"the message is no {request}")
    if method != "ModelInfer":
        code, words = answer(channel, bytes(70_000), path)
        assert (code, words) == (LARGE, f"the message has 70000 bytes, 65536 is the most of a {request}")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"/{SERVICE}/SystemSharedMemoryRegister", "SystemSharedMemoryRegister is not offered here"),
        (f"/{SERVICE}/" + "a" * 5000, "..."), (f"/{SERVICE}/../ModelInfer", "ModelInfer is not offered here"),
        (INFER.lower(), "not found"), ("/other.Service/Method", "not found"), ("/", "not found"),
    ],
)  # fmt: skip
def test_what_is_no_method_is_not_offered(path, words, channel):
    code, details = answer(channel, PLAIN, path)
    assert (code, words.lower() in details.lower()) == (NOT_OFFERED, True), details
    assert len(details) < 2_100


def test_what_inflates_is_refused_unread(up, channel):
    [(pid, before)] = workers(up).items()
    bomb = asking(bytes(30 << 20)).SerializeToString()
    code, words = answer(channel, bomb, compression=grpc.Compression.Gzip)
    assert (code, words) == (NOT_OFFERED, "Compression algorithm 'gzip' is disabled.")
    assert workers(up)[pid] < before + (10 << 20)


METADATA = [
    ("x-request-id", "a" * 14_000), ("authorization", "Bearer " + "a" * 9_000), ("traceparent", "0" * 100),
    ("x-understudy-target", "../" * 2_000), ("x-understudy-target", "stable "),
    ("te-bin", bytes(range(256))),
    ("inference-header-content-length", "0"), ("content-encoding", "gzip"), ("transfer-encoding", "chunked"),
    ("x-understudy-compute-ns", "1"),
]  # fmt: skip


@pytest.mark.parametrize("line", METADATA, ids=lambda line: line[0] if isinstance(line, tuple) else None)
def test_metadata_change_nothing_that_they_are_not_asked_for(line, channel):
    code, words = answer(channel, PLAIN, metadata=(line,))
    assert code in ({BAD} if line[0] == "x-understudy-target" else {"OK"}), words
    assert not told(words, str(line))


def test_metadata_beyond_their_bounds_are_refused(channel):
    code, words = answer(channel, PLAIN, metadata=(("x", "a" * 20_000),))
    assert (code, "metadata size exceeds" in words) == (LARGE, True), words
    assert answer(channel, PLAIN) == ("OK", "")


NEARLY = [bytes_of(said) for said, _, _ in CASES.values() if len(bytes_of(said)) < 2_000]


@st.composite
def nearly(draw):
    """A message with stretches of it replaced, or of another one's in their place."""
    data = draw(st.sampled_from(NEARLY))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        put = draw(st.binary(max_size=6)) if draw(st.booleans()) else draw(st.sampled_from(NEARLY))
        data = data[:at] + put + data[at + draw(st.sampled_from((0, 1, len(put)))) :]
    return data


def holds(channel, data):
    code, words = answer(channel, data)
    assert code in {"OK", BAD, LARGE, NOT_FOUND, NOT_OFFERED}, (code, words, data)
    assert bool(words) == (code != "OK")
    assert not told(words, data.decode("latin-1"))


SENT = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@settings(SENT, max_examples=examples(100))
@example(data=PLAIN)
@given(data=nearly())
def test_nothing_nearly_right_is_more_than_refused_over_grpc(channel, data):
    holds(channel, data)


@pytest.mark.slow
@settings(SENT, max_examples=20_000)
@given(data=nearly())
def test_nothing_nearly_right_is_more_than_refused_over_grpc_for_minutes(channel, data):
    holds(channel, data)
