"""Of what is redacted nothing is in a frame, whatever form it came in."""

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.answered import Answered
from router.mirror.frame import packed, unpacked
from router.record.files.rows import row_of
from router.record.redaction import redacted
from router.rollout.values import Examples, Record, Rollout, Target
from serving.errors import InvalidInput, ModelFailed
from serving.wire.handler import status_of
from serving.wire.message import JSON_LENGTH_HEADER, Call, Reply
from serving.wire.protocol import decode_announced, decode_response

SECRET = 987654.25
SECRET_BYTES = np.float32(SECRET).tobytes()
SECRETS = (str(SECRET).encode(), SECRET_BYTES, b"98765", b"sesame")


def tensor(name, value, *, binary):
    entry = {"name": name, "datatype": "FP32", "shape": [2]}
    if binary:
        return {**entry, "parameters": {"binary_data_size": 8, "note": "sesame"}}, np.float32(
            [value] * 2
        ).tobytes()
    return {**entry, "data": [value] * 2, "parameters": {"note": "sesame"}}, b""


@st.composite
def bodies(draw, side):
    """A body with tensors, some of which hold the secret, in JSON or binary; its JSON length."""
    entries, tail = [], b""
    for name in draw(st.permutations(["secret", "x", "y"])):
        value = SECRET if name == "secret" else draw(st.sampled_from([1.5, -2.0]))
        entry, data = tensor(name, value, binary=draw(st.booleans()))
        entries.append(entry)
        tail += data
    message = {"id": "c-1", "parameters": {"note": "sesame"}, "extra": [SECRET], side: entries}
    head = orjson.dumps(message)
    if draw(st.booleans()):
        head = head.replace(b'"secret"', b'"s\\u0065cret"')
    return (head + tail, len(head)) if tail or draw(st.booleans()) else (head, None)


def call(body, length, **headers):
    head = {} if length is None else {JSON_LENGTH_HEADER: str(length).encode()}
    return Call({**head, **headers}, body, 1.0)


def frame_of(asked, outcome, names, *, inputs=True):
    kept, end = redacted(asked, outcome, names, inputs=inputs)
    answered = Answered(kept, end, "stable", "m/1", "stable", 1, 0, 1.5)
    data = packed(b"m", answered, said=b'{"instance": "w"}')
    return data, unpacked(memoryview(data), 0)[0]


@given(bodies("inputs"), bodies("outputs"), st.booleans())
def test_no_byte_of_a_redacted_tensor_is_in_a_frame(asked, answer, inputs):
    data, frame = frame_of(call(*asked), Reply(200, *answer), {"secret"}, inputs=inputs)
    assert not any(secret in data for secret in SECRETS)
    row = row_of(frame, 0.0)
    kept = {"input_x", "input_y"} if inputs else set()
    assert row.tensors.keys() == kept | {"output_x", "output_y"}
    assert row.values["client_request_id"] == "c-1"
    assert row.values["logging_error"] is None


@given(bodies("inputs"), bodies("outputs"))
def test_without_inputs_the_answer_stays_as_it_was_and_has_the_id(asked, answer):
    _, frame = frame_of(call(*asked), Reply(200, *answer), (), inputs=False)
    assert (frame.request, frame.reference, frame.reference_json) == (b"", *answer)
    row = row_of(frame, 0.0)
    assert row.values["client_request_id"] == "c-1"
    assert row.tensors.keys() == {"output_secret", "output_x", "output_y"}


@given(bodies("inputs"), bodies("outputs"))
def test_what_is_not_redacted_stays_as_it_was(asked, answer):
    _, frame = frame_of(call(*asked), Reply(200, *answer), {"secret"})
    row = row_of(frame, 0.0)
    inputs, outputs = decode_announced(*asked)[1], decode_response(*answer).outputs
    for name in ("x", "y"):
        assert np.array_equal(row.tensors[f"input_{name}"], inputs[name])
        assert np.array_equal(row.tensors[f"output_{name}"], outputs[name])


FAILURES = [
    InvalidInput(f"inputs[0] 'secrat': {SECRET} is not an integer"),
    ModelFailed(f"failed at {SECRET}", "reason"),
    RuntimeError(SECRET),
    GeneratorExit(),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@given(asked=bodies("inputs"))
def test_of_a_failure_the_kind_and_the_id_are_kept(asked, failure):
    data, frame = frame_of(call(*asked), failure, {"secret"})
    assert not any(secret in data for secret in SECRETS)
    row = row_of(frame, 0.0)
    assert (row.values["status_code"], row.tensors) == (status_of(failure), {})
    assert row.values["client_request_id"] == "c-1"


@given(st.binary(max_size=40), st.none() | st.integers(0, 60))
def test_what_cannot_be_read_is_left_out_whole(noise, length):
    body = SECRET_BYTES + noise
    for outcome in (Reply(200, body, length), InvalidInput("no")):
        data, _ = frame_of(call(body, length), outcome, {"secret"})
        assert SECRET_BYTES not in data


def test_a_body_without_json_names_no_input_and_is_left_out():
    data, frame = frame_of(call(SECRET_BYTES * 2, 0), Reply(200, b"{}"), {"secret"})
    assert SECRET_BYTES not in data
    assert row_of(frame, 0.0).values["input_raw"] is None


def test_numbers_that_are_not_finite_and_those_beyond_64_bits_come_through():
    text = (
        '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [NaN, Infinity, 1]}], "id": "i"}'
    )
    kept, _ = redacted(Call({}, text.encode(), 0.0), Reply(200, b"{}"), {"secret"}, inputs=True)
    [array] = decode_announced(kept.body, None)[1].values()
    assert np.array_equal(array, np.float32([np.nan, np.inf, 1]), equal_nan=True)
    huge = text.replace("1]", f"{2**80}]").encode()
    kept, _ = redacted(Call({}, huge, 0.0), Reply(200, b"{}"), {"secret"}, inputs=True)
    assert decode_announced(kept.body, None)[1]["x"][2] == np.float32(2**80)


def test_names_are_those_of_records_and_of_examples():
    rollout = Rollout("m", Target("m/1"), record=Record(redact=("a",)), examples=Examples(redact=("b",)))
    assert rollout.redacted == {"a", "b"}
