"""tritonclient.http, as it is installed, against the inference server and against the router."""

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
import zoo
from tritonclient.utils import InferenceServerException

from harness.system import serving


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(server.host, concurrency=4) as client:
        yield client


def tensor(name, datatype, array, *, binary=True):
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def several_inputs(*, binary=True):
    arrays = {
        "a": zoo.sample("FP32", (4, 2), finite=True),
        "b": np.array([1, -(2**62)]),
        "c": np.array(["é", ""], dtype=np.object_),
    }
    datatypes = {"a": "FP32", "b": "INT64", "c": "BYTES"}
    return arrays, [tensor(name, datatypes[name], array, binary=binary) for name, array in arrays.items()]


def test_the_server_is_live_and_ready(client, server):
    assert client.is_server_live()
    assert client.is_server_ready()
    for name in server.names:
        assert client.is_model_ready(name)
        assert client.is_model_ready(name, "1")
    assert not client.is_model_ready("unknown")


def test_the_server_describes_itself(client):
    metadata = client.get_server_metadata()
    assert metadata["name"] == "understudy"
    assert {"binary_tensor_data", "statistics", "model_configuration", "model_repository"} <= set(
        metadata["extensions"]
    )


def test_a_model_is_described_as_onnx_has_it(client):
    expected = {
        "name": "several",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "b", "datatype": "INT64", "shape": [-1]},
            {"name": "c", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "text", "datatype": "BYTES", "shape": [-1]},
            {"name": "twice", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "minus", "datatype": "INT64", "shape": [-1]},
        ],
    }
    for version in ("", "1"):
        described = client.get_model_metadata("several", version)
        assert {key: value for key, value in described.items() if key != "parameters"} == expected


def test_a_model_has_a_configuration(client):
    config = client.get_model_config("several")
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("several", "onnxruntime", 0)
    assert config["input"][0] == {"name": "a", "data_type": "TYPE_FP32", "dims": [-1, 2]}
    assert config["output"][0] == {"name": "text", "data_type": "TYPE_STRING", "dims": [-1]}
    assert client.get_model_config("several", "1") == config


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (0, 4)], ids=str)
@pytest.mark.parametrize("datatype", zoo.DATATYPES)
def test_binary_results_equal_onnxruntime_bit_for_bit(client, repository, datatype, shape):
    name, x = zoo.echo_name(datatype), zoo.sample(datatype, shape)
    result = client.infer(name, [tensor("x", datatype, x)])
    expected = zoo.direct(repository, name, x=x)["y"]
    assert zoo.bits(result.as_numpy("y")) == zoo.bits(expected) == zoo.bits(x)


@pytest.mark.parametrize("datatype", zoo.DATATYPES)
def test_json_results_equal_onnxruntime(client, repository, datatype):
    name, x = zoo.echo_name(datatype), zoo.sample(datatype, finite=True)
    output = triton.InferRequestedOutput("y", binary_data=False)
    result = client.infer(name, [tensor("x", datatype, x, binary=False)], outputs=[output])
    assert "data" in result.get_output("y")
    assert zoo.bits(result.as_numpy("y")) == zoo.bits(zoo.direct(repository, name, x=x)["y"])


@pytest.mark.parametrize("way_in", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_nan_and_infinities_go_in_and_come_out_in_json_as_what_they_are(client, datatype, way_in):
    x = zoo.not_finite(datatype)
    output = triton.InferRequestedOutput("y", binary_data=False)
    result = client.infer(
        zoo.echo_name(datatype), [tensor("x", datatype, x, binary=way_in)], outputs=[output]
    )
    assert np.array_equal(result.as_numpy("y"), x, equal_nan=True)


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (0, 4)], ids=str)
@pytest.mark.parametrize("binary", [True, False])
def test_bf16_is_taken_in_binary_and_given_in_either_form(client, binary, shape):
    bits = np.random.default_rng(1).integers(0x3000, 0x4FFF, shape).astype(np.uint16)
    x = bits.view(ml_dtypes.bfloat16)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("y", "w")]
    result = client.infer("bfloat16", [tensor("x", "BF16", x)], outputs=outputs)
    assert zoo.bits(result.as_numpy("y")) == zoo.bits(x + x)
    assert zoo.bits(result.as_numpy("w")) == zoo.bits(x.astype(np.float32))
    assert client.get_model_config("bfloat16")["input"][0]["data_type"] == "TYPE_BF16"


def test_shared_memory_is_refused_in_words(client):
    region = triton.InferInput("x", [3, 5], "FP32")
    region.set_shared_memory("region", 60)
    with pytest.raises(InferenceServerException, match="shared memory is not offered; send") as refusal:
        client.infer("echo-fp32", [region])
    assert refusal.value.status() == "501"
    output = triton.InferRequestedOutput("y")
    output.set_shared_memory("region", 60)
    with pytest.raises(InferenceServerException, match="shared memory is not offered; send") as refusal:
        client.infer("echo-fp32", [tensor("x", "FP32", zoo.sample("FP32"))], outputs=[output])
    assert refusal.value.status() == "501"


def test_a_timeout_of_nothing_is_none(client):
    x = zoo.sample("FP32")
    result = client.infer("echo-fp32", [tensor("x", "FP32", x)], timeout=0)
    assert zoo.bits(result.as_numpy("y")) == zoo.bits(x)


@pytest.mark.parametrize(("way_in", "way_out"), [(True, False), (False, True)])
@pytest.mark.parametrize("datatype", ["FP16", "INT64", "BYTES"])
def test_json_and_binary_mix(client, datatype, way_in, way_out):
    x = zoo.sample(datatype, finite=True)
    output = triton.InferRequestedOutput("y", binary_data=way_out)
    inputs = [tensor("x", datatype, x, binary=way_in)]
    result = client.infer(zoo.echo_name(datatype), inputs, outputs=[output])
    assert zoo.bits(result.as_numpy("y")) == zoo.bits(x)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("name", "datatype"), [("scalar", "FP64"), ("scalar-text", "BYTES")])
def test_scalars_keep_their_rank(client, name, datatype, binary):
    x = np.array("text" if datatype == "BYTES" else 0.1, dtype=zoo.DATATYPES[datatype][1])
    output = triton.InferRequestedOutput("y", binary_data=binary)
    result = client.infer(name, [tensor("x", datatype, x, binary=binary)], outputs=[output])
    assert zoo.bits(result.as_numpy("y")) == zoo.bits(x)


@pytest.mark.parametrize("binary", [True, False])
def test_several_inputs_and_outputs(client, repository, binary):
    arrays, inputs = several_inputs(binary=binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("text", "twice", "minus")]
    result = client.infer("several", inputs, model_version="1", outputs=outputs, request_id="a/b 1")
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("a/b 1", "several", "1")
    for name, expected in zoo.direct(repository, "several", **arrays).items():
        assert zoo.bits(result.as_numpy(name)) == zoo.bits(expected)


def test_only_the_requested_outputs_come_in_the_order_asked_for(client):
    arrays, inputs = several_inputs()
    outputs = [
        triton.InferRequestedOutput("minus", binary_data=True),
        triton.InferRequestedOutput("text", binary_data=False),
    ]
    result = client.infer("several", inputs, outputs=outputs)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["minus", "text"]
    assert zoo.bits(result.as_numpy("minus")) == zoo.bits(-arrays["b"])
    assert result.as_numpy("text").tolist() == ["é", ""]
    assert result.as_numpy("twice") is None


@pytest.mark.parametrize("rows", [1, 7, 512])
def test_a_real_model_gives_the_bits_of_onnxruntime(client, repository, rows):
    metadata = client.get_model_metadata("digits")
    [described] = metadata["inputs"]
    x = np.random.default_rng(rows).uniform(0, 16, (rows, *described["shape"][1:])).astype(np.float32)
    result = client.infer("digits", [tensor(described["name"], described["datatype"], x)])
    expected = zoo.direct(repository, "digits", **{described["name"]: x})
    assert expected.keys() == {output["name"] for output in metadata["outputs"]}
    for name, array in expected.items():
        assert zoo.bits(result.as_numpy(name)) == zoo.bits(array)


@pytest.mark.parametrize("size", [(2, 3), (600, 600)], ids=["small", "large"])
@pytest.mark.parametrize("response", [None, "gzip", "deflate"])
@pytest.mark.parametrize("request_", [None, "gzip", "deflate"])
def test_bodies_may_be_compressed_both_ways(client, request_, response, size):
    x = zoo.sample("INT16", size)
    result = client.infer(
        "echo-int16",
        [tensor("x", "INT16", x)],
        request_compression_algorithm=request_,
        response_compression_algorithm=response,
    )
    assert zoo.bits(result.as_numpy("y")) == zoo.bits(x)


def test_a_compressed_answer_says_so(client):
    x = np.zeros((100, 100), np.int32)
    body, json_length = client.generate_request_body([tensor("x", "INT32", x)])
    headers = {"Inference-Header-Content-Length": json_length, "Accept-Encoding": "gzip"}
    answer = client._post("v2/models/echo-int32/infer", body, headers, None)
    assert answer.get("content-encoding") == "gzip"
    assert int(answer.get("content-length")) < x.nbytes / 10
    assert len(answer.read()) < x.nbytes / 10


def test_asynchronous_requests_get_their_own_answers(client):
    arrays = [zoo.sample("FP64", (2, 3), seed) for seed in range(24)]
    pending = [client.async_infer("echo-fp64", [tensor("x", "FP64", array)]) for array in arrays]
    for array, request in zip(arrays, pending, strict=True):
        assert zoo.bits(request.get_result().as_numpy("y")) == zoo.bits(array)


def test_statistics_count_each_request_once(client):
    def counted(name="echo-uint8", version=""):
        [entry] = client.get_inference_statistics(name, version)["model_stats"]
        return entry

    before = counted()
    for _ in range(5):
        client.infer("echo-uint8", [tensor("x", "UINT8", zoo.sample("UINT8"))])
    with pytest.raises(InferenceServerException):
        client.infer("echo-uint8", [tensor("wrong", "UINT8", zoo.sample("UINT8"))])
    after = counted(version="1")
    assert (after["name"], after["version"]) == ("echo-uint8", "1")
    assert after["inference_count"] - before["inference_count"] == 5
    assert after["execution_count"] - before["execution_count"] == 5
    for phase in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert after["inference_stats"][phase]["count"] - before["inference_stats"][phase]["count"] == 5
    for phase in ("success", "compute_input", "compute_infer", "compute_output"):
        assert after["inference_stats"][phase]["ns"] > before["inference_stats"][phase]["ns"]
    assert after["inference_stats"]["fail"]["count"] - before["inference_stats"]["fail"]["count"] == 1


def test_statistics_of_all_models_name_each(client, server):
    entries = client.get_inference_statistics()["model_stats"]
    assert sorted(entry["name"] for entry in entries) == server.names


def test_the_repository_index_lists_what_is_served(client, server):
    index = client.get_model_repository_index()
    assert sorted(row["name"] for row in index) == server.names
    assert {(row["version"], row["state"], row["reason"]) for row in index} == {("1", "READY", "")}


def test_loading_is_refused_unless_it_was_allowed(client):
    for ask in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException) as refusal:
            ask("several")
        assert refusal.value.status() == "501"


@pytest.mark.parametrize(
    ("status", "words", "model", "name", "datatype", "shape"),
    [
        ("404", "unknown model 'nobody'", "nobody", "x", "FP32", (1, 1)),
        ("400", "inputs[0] 'y': the model has none of that name; known: x", "echo-fp32", "y", "FP32", (1, 1)),
        ("400", "datatype 'INT32', the model takes FP32", "echo-fp32", "x", "INT32", (1, 1)),
        ("400", "the shape has 1 dimensions", "echo-fp32", "x", "FP32", (1,)),
        ("400", "'inputs' lacks 'b', 'c'", "several", "a", "FP32", (1, 2)),
        ("400", "dimension 1 of the shape is 3, the model takes 2", "several", "a", "FP32", (1, 3)),
    ],
)
def test_errors_name_the_place_of_the_fault(client, status, words, model, name, datatype, shape):
    with pytest.raises(InferenceServerException) as refusal:
        client.infer(model, [tensor(name, datatype, zoo.sample(datatype, shape))])
    assert refusal.value.status() == status
    assert words in refusal.value.message()


def test_what_is_not_offered_is_refused_and_never_ignored(client):
    x = tensor("x", "FP32", zoo.sample("FP32"))
    with pytest.raises(InferenceServerException, match="stateful models are not served") as refusal:
        client.infer("echo-fp32", [x], sequence_id=7, sequence_start=True)
    assert refusal.value.status() == "501"
    with pytest.raises(InferenceServerException, match="classification") as refusal:
        client.infer("echo-fp32", [x], outputs=[triton.InferRequestedOutput("y", class_count=2)])
    assert refusal.value.status() == "501"
    with pytest.raises(InferenceServerException) as refusal:
        client.infer("echo-fp32", [x], model_version="9")
    assert refusal.value.status() == "404"


def test_priority_timeout_and_own_parameters_are_taken(client):
    x = zoo.sample("FP32")
    result = client.infer(
        "echo-fp32",
        [tensor("x", "FP32", x)],
        priority=3,
        timeout=20_000_000,
        parameters={"mine": 1, "note": "é", "flag": True},
        headers={"x-trace": "1"},
        query_params={"who": "me"},
    )
    assert zoo.bits(result.as_numpy("y")) == zoo.bits(x)


def test_models_are_loaded_and_unloaded_where_that_is_allowed(repository, tmp_path):
    with (
        serving(tmp_path, models=repository, options=("--allow-load",)) as system,
        triton.InferenceServerClient(system.url.removeprefix("http://")) as client,
    ):
        x = zoo.sample("FP32")
        client.unload_model("echo-fp32")
        assert not client.is_model_ready("echo-fp32")
        states = {row["name"]: row["state"] for row in client.get_model_repository_index()}
        assert (states["echo-fp32"], states["echo-fp64"]) == ("UNAVAILABLE", "READY")
        with pytest.raises(InferenceServerException) as refusal:
            client.infer("echo-fp32", [tensor("x", "FP32", x)])
        assert refusal.value.status() == "404"
        client.load_model("echo-fp32")
        assert client.is_model_ready("echo-fp32")
        result = client.infer("echo-fp32", [tensor("x", "FP32", x)])
        assert zoo.bits(result.as_numpy("y")) == zoo.bits(x)
        with pytest.raises(InferenceServerException, match="nobody") as refusal:
            client.load_model("nobody")
        assert refusal.value.status() == "404"
        with pytest.raises(InferenceServerException, match="'config' is not supported"):
            client.load_model("echo-fp32", config="{}")
