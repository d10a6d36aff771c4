"""The KServe Python client, as it is installed, speaking protocol v2."""

import asyncio

import httpx
import numpy as np
import pytest
import zoo


def with_client(work):
    """Run a coroutine function on a client of its own."""
    from kserve import InferenceRESTClient, RESTConfig  # which reads the command line of whoever imports it

    async def run():
        async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=30)) as client:
            return await work(client)

    return asyncio.run(run())


def infer(server, model, tensors, *, binary, request_id=None, **options):
    """The response to arrays by (name, datatype)."""
    from kserve import InferInput, InferRequest

    inputs = []
    for (name, datatype), array in tensors.items():
        made = InferInput(name, list(array.shape), datatype)
        made.set_data_from_numpy(array, binary_data=binary)
        inputs.append(made)
    request = InferRequest(model, inputs, request_id=request_id, **options)
    return with_client(lambda client: client.infer(server.url, request, model_name=model))


def test_the_server_and_its_models_are_live_and_ready(server):
    assert with_client(lambda client: client.is_server_live(server.url)) is True
    assert with_client(lambda client: client.is_server_ready(server.url)) is True
    assert with_client(lambda client: client.is_model_ready(server.url, "several")) is True
    assert with_client(lambda client: client.is_model_ready(server.url, "unknown")) is False


@pytest.mark.parametrize("datatype", zoo.DATATYPES)
def test_binary_results_equal_onnxruntime(server, repository, datatype):
    name, x = zoo.echo_name(datatype), zoo.sample(datatype, finite=True)
    response = infer(server, name, {("x", datatype): x}, binary=True, parameters={"binary_data_output": True})
    [output] = response.outputs
    assert (output.name, output.datatype, response.model_name) == ("y", datatype, name)
    assert zoo.bits(output.as_numpy()) == zoo.bits(zoo.direct(repository, name, x=x)["y"])


@pytest.mark.parametrize("datatype", [datatype for datatype in zoo.DATATYPES if datatype != "FP16"])
def test_json_results_equal_onnxruntime(server, repository, datatype):
    name, x = zoo.echo_name(datatype), zoo.sample(datatype, finite=True)
    [output] = infer(server, name, {("x", datatype): x}, binary=False).outputs
    assert zoo.bits(output.as_numpy()) == zoo.bits(zoo.direct(repository, name, x=x)["y"])


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_nan_and_infinities_come_out_in_json_as_what_they_are(server, datatype):
    x = zoo.not_finite(datatype)
    [output] = infer(server, zoo.echo_name(datatype), {("x", datatype): x}, binary=True).outputs
    assert np.array_equal(output.as_numpy(), x, equal_nan=True)


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_what_the_client_writes_as_null_is_nan(server, datatype):
    x = zoo.not_finite(datatype)
    [output] = infer(server, zoo.echo_name(datatype), {("x", datatype): x}, binary=False).outputs
    assert np.array_equal(output.as_numpy(), np.where(np.isfinite(x), x, np.nan), equal_nan=True)


def test_half_precision_goes_in_as_bytes_and_comes_out_either_way(server):
    x = zoo.sample("FP16", finite=True)
    for parameters in ({}, {"binary_data_output": True}):
        [output] = infer(server, "echo-fp16", {("x", "FP16"): x}, binary=True, parameters=parameters).outputs
        assert zoo.bits(output.as_numpy()) == zoo.bits(x)


def test_outputs_are_selected_and_the_id_comes_back(server):
    from kserve.protocol.infer_type import RequestedOutput

    tensors = {
        ("a", "FP32"): zoo.sample("FP32", (3, 2), finite=True),
        ("b", "INT64"): np.array([5, -6]),
        ("c", "BYTES"): np.array(["é", "z"], dtype=np.object_),
    }
    wanted = [RequestedOutput("minus", {"binary_data": True}), RequestedOutput("text")]
    response = infer(server, "several", tensors, binary=True, request_id="17", request_outputs=wanted)
    assert response.id == "17"
    assert [output.name for output in response.outputs] == ["minus", "text"]
    assert response.outputs[0].as_numpy().tolist() == [-5, 6]
    assert response.outputs[1].as_numpy().tolist() == ["é", "z"]


def test_a_real_model_gives_the_bits_of_onnxruntime(server, repository):
    metadata = httpx.get(f"{server.url}/v2/models/digits", trust_env=False).json()
    [described] = metadata["inputs"]
    shape = (3, *described["shape"][1:])
    x = np.random.default_rng(1).uniform(0, 16, shape).astype(np.float32)
    response = infer(server, "digits", {(described["name"], "FP32"): x}, binary=False)
    expected = zoo.direct(repository, "digits", **{described["name"]: x})
    assert {output.name for output in response.outputs} == expected.keys()
    for output in response.outputs:
        assert zoo.bits(output.as_numpy()) == zoo.bits(expected[output.name])


def test_errors_come_in_the_words_of_the_server(server):
    x = {("x", "FP32"): zoo.sample("FP32", finite=True)}
    with pytest.raises(httpx.HTTPStatusError, match="unknown model 'nobody'") as refusal:
        infer(server, "nobody", x, binary=False)
    assert refusal.value.response.status_code == 404
    with pytest.raises(httpx.HTTPStatusError, match="the model takes FP64") as refusal:
        infer(server, "echo-fp64", x, binary=True)
    assert refusal.value.response.status_code == 400
