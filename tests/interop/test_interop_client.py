"""Our own Python client, against the inference server and against the router, on every datatype."""

import ml_dtypes
import numpy as np
import pytest
import zoo

import understudy_client as us


@pytest.fixture(scope="module")
def client(server):
    with us.Client(server.url, timeout=60.0, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("datatype", zoo.DATATYPES)
@pytest.mark.parametrize("shape", [(3, 5), (0, 2), (400, 3)])
@pytest.mark.parametrize("binary", [True, None, False])
def test_every_datatype_comes_back_as_it_went(client, datatype, shape, binary):
    array = zoo.sample(datatype, shape)
    found = client.infer(zoo.echo_name(datatype), {"x": array}, binary=binary)["y"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    if datatype == "BYTES":
        assert found.tolist() == array.tolist()
    elif binary is False and array.dtype.kind == "f":
        assert np.array_equal(found, array, equal_nan=True)
    else:
        assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
@pytest.mark.parametrize("binary", [True, None, False])
def test_what_is_not_finite_comes_back(client, datatype, binary):
    array = zoo.not_finite(datatype)
    found = client.infer(zoo.echo_name(datatype), array, binary=binary)["y"]
    assert np.array_equal(found, array, equal_nan=True)


@pytest.mark.parametrize("binary", [True, None, False])
def test_bf16_is_taken_from_floats_and_comes_as_float32(client, binary):
    numbers = np.array([[1.0, -2.5], [3.0e38 / 4, 0.0]], np.float32).astype(ml_dtypes.bfloat16)
    for array in (numbers, numbers.astype(np.float32)):
        answer = client.infer("bfloat16", array, binary=binary)
        assert answer["y"].dtype == answer["w"].dtype == np.float32
        assert np.array_equal(answer["w"], numbers.astype(np.float32))
        assert np.array_equal(answer["y"], 2 * numbers.astype(np.float32))


def test_scalars_and_several_inputs(client):
    assert client.infer("scalar", 2.5)["y"].tolist() == 2.5
    assert client.infer("scalar-text", "alone")["y"].tolist() == "alone"
    given = {"a": [[1.0, 2.0]], "b": [1, -(2**62)], "c": ["é", ""]}
    answer = client.infer("several", given, outputs=["minus", "text"])
    assert {name: array.tolist() for name, array in answer.outputs.items()} == {
        "minus": [-1, 2**62],
        "text": ["é", ""],
    }
    assert client.infer("several", given)["twice"].tolist() == [[2.0, 4.0]]
