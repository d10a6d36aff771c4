"""Protobuf's wire format by hand: what protobuf wrote is read, and what is none is said to be none."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from serving.grpc.messages import message
from serving.wire.protobuf import fields_of, read_varint, varint

NUMBERS = st.integers(0, 2**64 - 1)


@given(NUMBERS)
def test_a_number_is_read_as_it_was_written(number):
    data = varint(number)
    assert read_varint(memoryview(b"x" + data + b"x"), 1) == (number, 1 + len(data))


@given(st.text(), st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.binary()))
def test_fields_are_those_that_protobuf_wrote_and_make_up_the_message(name, shape, raw):
    said = message("ModelInferRequest")(model_name=name, raw_input_contents=raw)
    said.inputs.add(shape=shape)
    data = said.SerializeToString()
    found = list(fields_of(memoryview(data)))
    assert b"".join(data[field.begin : field.end] for field in found) == data
    assert [bytes(field.value) for field in found if field.number == 7] == raw
    assert [bytes(field.value) for field in found if field.number == 1] == ([name.encode()] if name else [])
    assert [bytes(field.value) for field in found if field.number == 5] == [
        said.inputs[0].SerializeToString()
    ]


@given(st.binary())
def test_noise_is_a_message_or_is_said_to_be_none(data):
    with contextlib.suppress(ValueError, IndexError):
        assert sum(field.end - field.begin for field in fields_of(memoryview(data))) == len(data)
