"""Messages to and from the process of Python steps: whatever comes, it is a message or told to be none."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.search import examples
from serving.models.python_steps.sandbox import _is_described, _misfit
from serving.models.python_steps.wire import (
    Ended,
    Garbled,
    receive,
    receive_header,
    send,
    tensors_of,
)
from serving.wire.tensors import TensorSpec, from_bytes

NUMBERS = st.sampled_from(["<f4", "<f8", "<i8", "<u2", "?"])
ARRAYS = NUMBERS.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@contextmanager
def pair():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def soon():
    return time.monotonic() + 60.0


@settings(max_examples=examples(50))
@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=3))
def test_arrays_come_as_they_were_sent(arrays):
    with pair() as (one, other):
        described, parts = tensors_of(arrays)
        sender = threading.Thread(target=send, args=(one, {"tensors": described}, parts, soon()))
        sender.start()
        header = receive_header(other, soon())
        assert all(map(_is_described, header["tensors"]))
        for tensor, (name, array) in zip(header["tensors"], arrays.items(), strict=True):
            data = memoryview(receive(other, tensor["size"], soon()))
            came = from_bytes(data, TensorSpec(name, tensor["datatype"], None), tensor["shape"], array.size)
            assert (tensor["name"], came.dtype, came.shape) == (name, array.dtype, array.shape)
            assert came.tobytes() == array.tobytes()
        sender.join()


@settings(max_examples=examples(100))
@given(st.binary(max_size=64))
def test_other_bytes_are_an_object_or_no_message(data):
    with pair() as (one, other):
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        with suppress(Garbled, Ended):
            assert isinstance(receive_header(other, soon()), dict)


@given(JSON)
def test_nothing_is_taken_for_a_described_tensor_that_cannot_be_received(tensor):
    assert _is_described(tensor) is False or {"name", "datatype", "shape", "size"} <= tensor.keys()


def test_a_deadline_and_a_closed_end_are_told_apart():
    with pair() as (one, other):
        with pytest.raises(TimeoutError):
            receive(one, 1, time.monotonic())
        with pytest.raises(TimeoutError):
            receive(one, 1, time.monotonic() + 0.01)
        other.close()
        with pytest.raises(Ended):
            receive(one, 1, soon())
        with pytest.raises(Ended):
            send(one, {}, [bytes(1 << 20)], soon())


SPECS = (TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "BYTES", ()))


@given(st.lists(st.integers(0, 3), max_size=3), st.sampled_from(["FP32", "INT64", "BYTES"]))
def test_an_answer_fits_only_with_the_datatype_rank_and_lengths_declared(shape, datatype):
    tensors = [
        {"name": "b", "datatype": "BYTES", "shape": []},
        {"name": "a", "datatype": datatype, "shape": shape},
    ]
    fits = datatype == "FP32" and len(shape) == 2 and shape[1] == 2
    assert (_misfit(tensors, SPECS) == "") is fits
    assert _misfit([*tensors, tensors[0]], SPECS) == "it returned 'a', 'b', 'b', and 'a', 'b' is declared"
    assert _misfit([], SPECS) == "it returned nothing, and 'a', 'b' is declared"


def test_arrays_that_are_not_contiguous_are_sent_in_their_own_order():
    array = np.arange(6, dtype="f4").reshape(2, 3).T
    described, [part] = tensors_of({"a": array})
    assert described == [{"name": "a", "datatype": "FP32", "shape": [3, 2], "size": 24}]
    assert bytes(part) == array.tobytes("C")
