"""KServe's V1 as its own Python client speaks it, against the inference server and against the router."""

import asyncio

import httpx
import numpy as np
import pytest
import zoo

from harness.rows import digits, outputs_of


def with_client(work):
    """Run a coroutine function on a client of its own."""
    from kserve import InferenceRESTClient, RESTConfig  # which reads the command line of whoever imports it

    async def run():
        async with InferenceRESTClient(RESTConfig(protocol="v1", timeout=30)) as client:
            return await work(client)

    return asyncio.run(run())


def predict(server, model, instances):
    """What it is answered."""
    data = {"instances": instances}
    return with_client(lambda client: client.infer(server.url, data, model_name=model))["predictions"]


def test_a_model_is_ready_or_not(server):
    assert with_client(lambda client: client.is_model_ready(server.url, "digits")) is True
    with pytest.raises(httpx.HTTPStatusError, match="unknown model 'unknown'"):
        with_client(lambda client: client.is_model_ready(server.url, "unknown"))


def test_predictions_are_the_outputs_row_by_row(server):
    found, expected = predict(server, "digits", digits()[:5].tolist()), outputs_of("digits/1")
    assert [row["label"] for row in found] == expected["label"][:5].tolist()
    assert np.allclose([row["probabilities"] for row in found], expected["probabilities"][:5], atol=1e-6)


def test_of_one_output_the_predictions_are_its_values(server):
    for datatype in ("INT64", "FP32", "BYTES", "BOOL"):
        array = zoo.sample(datatype, (3, 2), finite=True)
        found = predict(server, zoo.echo_name(datatype), array.tolist())
        assert np.array(found, array.dtype).tolist() == array.tolist()


def test_rows_of_several_inputs_are_objects(server):
    rows = [{"a": [1.0, 2.0], "b": 1, "c": "é"}, {"a": [3.0, 4.0], "b": -(2**62), "c": ""}]
    assert predict(server, "several", rows) == [
        {"text": "é", "twice": [2.0, 4.0], "minus": -1},
        {"text": "", "twice": [6.0, 8.0], "minus": 2**62},
    ]
