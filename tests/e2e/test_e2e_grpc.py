"""The gRPC door of a node, by clients that others wrote: the same router, the same words, one count."""

import asyncio
import itertools
import json
import os
import signal
import ssl
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.utils import InferenceServerException

from harness.certificates import Authority
from harness.fences import fences
from harness.hostile import hostile
from harness.rows import body
from harness.system import ROOT, Up, eventually, free_port, running
from harness.triton_grpc import triton, triton_aio
from serving.admission.api_keys import line_of

ROLLOUTS = """
digits:
  stable: digits/1
  canary: {model: digits/2, weight: 50, mirror: 100}
  sticky: {header: x-user-id}
  compare: {label: exact, probabilities: {atol: 0.05}}
iris:
  stable: iris/1
"""
LATE = """
late:
  stable: {{model: digits/2, url: '{url}'}}
  timeout: 60s
"""
ROW = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    port = free_port()
    options = ("--grpc-workers", "2", "--grpc-port", str(port), "--max-body-bytes", "2000000")
    with hostile() as behind:
        rollouts = ROLLOUTS + LATE.format(url=behind.url)
        with running(tmp_path_factory.mktemp("grpc"), rollouts, options=options) as system:
            system.grpc, system.behind = f"127.0.0.1:{port}", behind
            yield system


@pytest.fixture
def client(up):
    with triton.InferenceServerClient(up.grpc) as asked:
        yield asked


def asking(values, name="features"):
    given = triton.InferInput(name, values.shape, "FP32")
    given.set_data_from_numpy(values)
    return [given]


def as_message(values, model="iris", name="features"):
    said = triton.service_pb2.ModelInferRequest(model_name=model)
    said.inputs.add(name=name, datatype="FP32", shape=values.shape)
    said.raw_input_contents.append(values.tobytes())
    return said


def pixels():
    return np.array(json.loads(body(0))["inputs"][0]["data"], np.float32).reshape(1, -1)


def pixel_name(client):
    return client.get_model_metadata("digits").inputs[0].name


def test_tritons_client_asks_all_that_it_can(up, client):
    assert [client.is_server_live(), client.is_server_ready(), client.is_model_ready("iris")] == [True] * 3
    assert client.get_server_metadata().name == "understudy"
    metadata = client.get_model_metadata("iris", as_json=True)
    assert metadata == {**up.client.get("/v2/models/iris").json(), **metadata, "versions": ["1"]}
    config = client.get_model_config("iris", as_json=True)["config"]
    assert (config["name"], config["backend"], config["input"][0]["data_type"]) == (
        "iris", "onnxruntime", "TYPE_FP32",
    )  # fmt: skip
    index = client.get_model_repository_index(as_json=True)["models"]
    assert {(row["name"], row["version"], row["state"]) for row in index} == {
        ("digits", "1", "READY"), ("digits", "2", "READY"), ("iris", "1", "READY"), ("late", "2", "READY"),
    }  # fmt: skip
    before = client.get_inference_statistics("iris").model_stats[0].inference_count
    answer = client.infer("iris", asking(ROW), request_id="mine")
    assert (answer.get_response().id, answer.as_numpy("label").tolist()) == ("mine", [0])
    over_http = up.client.post(
        "/v2/models/iris/infer",
        json={"inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP32", "data": ROW.tolist()}]},
    ).json()
    np.testing.assert_array_equal(
        answer.as_numpy("probabilities").ravel(), np.float32(over_http["outputs"][1]["data"])
    )
    eventually(
        lambda: client.get_inference_statistics("iris").model_stats[0].inference_count >= before + 2, "both"
    )


def test_failures_have_the_codes_of_grpc_and_the_words_of_the_protocol(client):
    def refused(*arguments, **options):
        with pytest.raises(InferenceServerException) as failure:
            client.infer(*arguments, **options)
        return failure.value.status(), failure.value.message()

    assert refused("nobody", asking(ROW)) == ("StatusCode.NOT_FOUND", "unknown model 'nobody'")
    assert refused("iris", asking(ROW, "other")) == (
        "StatusCode.INVALID_ARGUMENT",
        "inputs[0] 'other': the model has none of that name; known: features",
    )
    assert refused("iris", asking(ROW), headers={"x-understudy-target": "other"}) == (
        "StatusCode.INVALID_ARGUMENT",
        "x-understudy-target 'other' is not a target of 'iris'; known: stable",
    )
    assert refused("iris", asking(np.zeros((125_000, 4), np.float32)))[0] == "StatusCode.RESOURCE_EXHAUSTED"
    for call in (
        lambda: client.load_model("iris"),
        lambda: client.register_system_shared_memory("a", "b", 1),
        lambda: client.get_trace_settings("iris"),
    ):
        with pytest.raises(InferenceServerException) as failure:
            call()
        assert failure.value.status() == "StatusCode.UNIMPLEMENTED"
        assert "not offered here" in failure.value.message() or "rollouts" in failure.value.message()


def test_requests_are_drawn_counted_and_mirrored_as_over_http(up, client):
    rows, name = pixels(), pixel_name(client)
    before = {
        role: up.metric("understudy_requests_total", model="digits", role=role, code="200")
        for role in ("stable", "canary")
    }
    by = {"1": 0, "2": 0}
    for user in range(60):
        versions = {
            client.infer("digits", asking(rows, name), headers={"x-user-id": str(user)})
            .get_response()
            .model_version
            for _ in range(2)
        }
        assert len(versions) == 1  # a user stays where it is
        by[versions.pop()] += 2
    assert all(by.values())
    eventually(
        lambda: (
            {
                role: up.metric("understudy_requests_total", model="digits", role=role, code="200")
                - before[role]
                for role in before
            }
            == {"stable": by["1"], "canary": by["2"]}
        ),
        "each counted once",
    )
    eventually(
        lambda: up.metric("understudy_comparison_total", model="digits") > 0, "what is mirrored is compared"
    )
    forced = client.infer("digits", asking(rows, name), headers={"x-understudy-target": "canary"})
    assert forced.get_response().model_version == "2"
    assert client.infer("digits", asking(rows, name), "1").get_response().model_version == "1"


def test_metadata_says_who_answered_and_gives_the_request_id_back(up, client):
    rows, name = pixels(), pixel_name(client)
    said = as_message(rows, "digits", name)
    with grpc.insecure_channel(up.grpc) as channel:
        stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)
        metadata = (("x-request-id", "mine"), ("x-understudy-target", "canary"))
        _, call = stub.ModelInfer.with_call(said, metadata=metadata)
        told = dict(call.trailing_metadata())
        assert (told["x-request-id"], told["x-understudy-target"]) == ("mine", "digits/2")
        with pytest.raises(grpc.RpcError) as failure:
            stub.ModelInfer(said, metadata=(*metadata[:1], ("x-understudy-target", "other")))
        assert dict(failure.value.trailing_metadata())["x-request-id"] == "mine"


def test_a_deadline_that_passes_is_a_timeout_and_a_client_that_cancels_has_left(up):
    def counted(code):
        return up.metric("understudy_requests_total", model="late", role="stable", code=code)

    def asked():
        return up.behind.asked

    said = as_message(pixels(), "late", "pixels")
    up.behind.manner = "hang"
    with grpc.insecure_channel(up.grpc) as channel:
        stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as failure:
            stub.ModelInfer(said, timeout=0.5)
        assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        before = asked()
        leaving = stub.ModelInfer.future(said, timeout=600)
        eventually(lambda: asked() > before, "it is under way")
        leaving.cancel()
        with pytest.raises(grpc.RpcError) as failure:
            next(stub.ModelStreamInfer(iter([said]), timeout=0.5))
        assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: (counted("504"), counted("499")) == (2, 1), "each as what it was")


def test_a_stream_answers_each_request_in_its_order_and_one_that_fails_alone(client):
    told = []
    client.start_stream(callback=lambda result, error: told.append((result, error)))
    for number in range(5):
        values = asking(ROW, "other" if number == 2 else "features")
        client.async_stream_infer("iris", values, request_id=str(number))
    client.stop_stream()
    assert [error is not None for _, error in told] == [False, False, True, False, False]
    assert [result.get_response().id for result, error in told if error is None] == ["0", "1", "3", "4"]
    assert "known: features" in told[2][1].message()


def test_many_at_once_by_the_asynchronous_client(up):
    async def ask():
        async with triton_aio.InferenceServerClient(up.grpc) as client:
            return await asyncio.gather(*(client.infer("iris", asking(ROW)) for _ in range(100)))

    assert all(answer.as_numpy("label").tolist() == [0] for answer in asyncio.run(ask()))


def test_kserves_client_is_answered(up):
    from kserve import InferenceGRPCClient
    from kserve.protocol.infer_type import InferInput, InferRequest

    async def ask():
        client = InferenceGRPCClient(up.grpc)
        assert await client.is_server_live()
        assert await client.is_model_ready("iris")
        given = InferInput("features", [1, 4], "FP32")
        answers = []
        for binary in (True, False):  # raw, and in a field
            given.set_data_from_numpy(ROW, binary_data=binary)
            answers.append(await client.infer(InferRequest("iris", [given])))
        await client.close()
        return answers

    assert [answer.outputs[0].as_numpy().tolist() for answer in asyncio.run(ask())] == [[0], [0]]


def test_health_and_reflection_are_the_standard_ones(up):
    with grpc.insecure_channel(up.grpc) as channel:
        for name in ("", "inference.GRPCInferenceService"):
            assert health_of(channel, name) == health_pb2.HealthCheckResponse.SERVING
        told = ProtoReflectionDescriptorDatabase(channel)
        assert "inference.GRPCInferenceService" in told.get_services()
        [file] = [told.FindFileContainingSymbol("inference.GRPCInferenceService")]
        assert "ModelStreamInfer" in {method.name for method in file.service[0].method}
        assert told.FindFileContainingSymbol("grpc.health.v1.Health").package == "grpc.health.v1"


def test_a_worker_that_is_killed_comes_back_and_clients_connect_again(up, client):
    workers = grpc_workers(up)
    assert len(workers) == 2
    killed = min(workers)
    os.kill(killed, signal.SIGKILL)

    def answered():
        try:
            return client.infer("iris", asking(ROW)).as_numpy("label").tolist() == [0]
        except InferenceServerException:
            return False

    eventually(answered, "the other one, or its successor, answers")
    eventually(lambda: len(grpc_workers(up) - {killed}) == 2, "a successor")


def test_the_example_of_the_page_does_what_it_says(up, tmp_path):
    [example] = [fence for fence in fences(ROOT / "docs" / "grpc.md") if fence.title == "ask.py"]
    told = subprocess.run(
        [sys.executable, "-c", example.text.replace("localhost:8001", up.grpc)],
        capture_output=True, text=True, timeout=240, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert told.stdout == "label [0] by 1\n"


def grpc_workers(up):
    def command(pid):
        return Path(f"/proc/{pid}/cmdline").read_bytes()

    return {pid for pid in up.pids("worker") if b"grpc_worker" in command(pid)}


def test_keys_certificates_and_limits_are_those_of_the_http_door(tmp_path):
    authority, port = Authority(tmp_path), free_port()
    cert, key, keys = tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "keys"
    for path, data in zip((cert, key), authority.issue()[:2], strict=True):
        path.write_bytes(data)
    keys.write_text(f"{line_of('client', 'right')}\n{line_of('greedy', 'more')}\n")
    options = (
        "--grpc-workers", "1", "--grpc-port", str(port), "--tls-cert", str(cert), "--tls-key", str(key),
        "--api-keys", str(keys), "--rate-limit", "0.01", "--rate-burst", "3", "--max-connections", "50",
    )  # fmt: skip
    up = Up(tmp_path, ROLLOUTS, options=options, environment={"UNDERSTUDY_DRAIN_SECONDS": "0"})
    try:
        with grpc.secure_channel(
            f"127.0.0.1:{port}", grpc.ssl_channel_credentials(authority.ca.read_bytes())
        ) as channel:
            eventually(lambda: health_of(channel) == health_pb2.HealthCheckResponse.SERVING, "ready", 120)
            refused = [ask_raw(channel, given) for given in ((), (("authorization", "Bearer wrong"),))]
            assert [(code, words) for code, words, _ in refused] == [
                (grpc.StatusCode.UNAUTHENTICATED, "a valid API key is needed")
            ] * 2
            mine = (("x-api-key", "right"),)
            assert [ask_raw(channel, mine)[0] for _ in range(3)] == [grpc.StatusCode.OK] * 3
            code, words, metadata = ask_raw(channel, mine)
            assert (code, words) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")
            assert int(metadata["retry-after"]) > 0
            assert ask_raw(channel, (("authorization", "Bearer more"),))[0] == grpc.StatusCode.OK

            number = authority.issue()
            for path, data in zip((cert, key), number[:2], strict=True):
                path.write_bytes(data)
            eventually(lambda: shown(port) == number[2], "the new certificate")

            refused = asyncio.run(streams_refused(port, authority, 200, lambda: health_of(channel)))
            assert sum(refused.values()) == 200 - 50 // 2
            assert {code for code, _ in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            assert any("25 streams are open here, the most" in words for _, words in refused)
    finally:
        assert up.end() == 0, up.process.log.read_text()[-4000:]


def health_of(channel, name=""):
    asked = health_pb2.HealthCheckRequest(service=name)
    try:
        return health_pb2_grpc.HealthStub(channel).Check(asked, timeout=5).status
    except grpc.RpcError:
        return None


def ask_raw(channel, metadata):
    """Code, words and trailing metadata of one request."""
    said = as_message(ROW)
    stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)
    try:
        _, call = stub.ModelInfer.with_call(said, metadata=metadata)
    except grpc.RpcError as failure:
        return failure.code(), failure.details(), dict(failure.trailing_metadata())
    return grpc.StatusCode.OK, "", dict(call.trailing_metadata())


def shown(port):
    """The number of the certificate that a new connection is shown."""
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


async def streams_refused(port, authority, count, health):
    """With what how many of so many streams, opened at once and asked nothing, are turned away.

    Calls have room beside those that are held.
    """
    trust = grpc.ssl_channel_credentials(authority.ca.read_bytes())
    own = [("grpc.use_local_subchannel_pool", 1)]  # a connection of each
    channels = [grpc.aio.secure_channel(f"127.0.0.1:{port}", trust, own) for _ in range(count // 100)]
    stubs = [triton.service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]
    streams = [stub.ModelStreamInfer() for stub in stubs for _ in range(100)]
    ends = [asyncio.create_task(stream.code()) for stream in streams]
    for end in itertools.islice(asyncio.as_completed(ends), count - 50 // 2):
        await end
    assert await asyncio.to_thread(health) == health_pb2.HealthCheckResponse.SERVING
    refused = Counter([(await each.code(), await each.details()) for each in streams if each.done()])
    for channel in channels:
        await channel.close()
    return refused
