import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tensors import tensors

from serving.errors import InvalidInput, Unsupported
from serving.wire.bf16 import BF16, widened
from serving.wire.plain_json import as_json
from serving.wire.protocol import decode_announced
from serving.wire.tensors import to_bytes

flags = st.dictionaries(st.sampled_from(["binary_data_output", "priority"]), st.booleans())


def values(array):
    return widened(array) if array.dtype == BF16 else array


@given(st.lists(tensors(finite=False), max_size=3), flags, st.booleans())
def test_a_server_reads_of_the_json_what_another_reads_of_the_binary(found, parameters, named):
    inputs, tail = [], b""
    for number, (datatype, array) in enumerate(found):
        data = bytes(to_bytes(array))
        tail += data
        said = {"binary_data_size": len(data), "content_type": "np"}
        inputs.append({"name": f"x{number}", "datatype": datatype, "shape": array.shape, "parameters": said})
    outputs = {"outputs": [{"name": "y", "parameters": {"binary_data": True}}]} if named else {}
    message = {"id": "a", "inputs": inputs, "parameters": parameters, **outputs, "more": 1}
    head = orjson.dumps(message)
    text = as_json(head + tail, len(head))
    assert b"binary" not in text
    read = orjson.loads(text)
    assert (read["id"], read["more"]) == ("a", 1)
    assert ("priority" in read.get("parameters", {})) == ("priority" in parameters)
    binary, plain = decode_announced(head + tail, len(head))[1], decode_announced(text, None)[1]
    assert binary.keys() == plain.keys()
    for name, array in binary.items():
        assert array.dtype == plain[name].dtype
        np.testing.assert_array_equal(values(array), values(plain[name]))


def test_what_json_cannot_say_is_refused():
    with pytest.raises(Unsupported, match="with its name"):
        as_json(b"abc", 0)
    said = {"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}
    head = orjson.dumps({"inputs": [said]})
    with pytest.raises((InvalidInput, Unsupported), match="no UTF-8 text"):
        as_json(head + b"\1\0\0\0\xff", len(head))
    with pytest.raises(InvalidInput):
        as_json(head + b"\1\0\0\0", len(head))
