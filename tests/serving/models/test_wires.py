"""A wire of the tests' own, arrays as .npy files, beside the protocol's: through runtime and batches."""

import asyncio
import io
import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
from graphs import put, unary

from serving.errors import BadGateway, InvalidInput
from serving.models.files.repository import Repository
from serving.models.runtime import Runtime
from serving.telemetry.cells import Metrics
from serving.wire.codec import WIRES, Wire, codecs
from serving.wire.message import OIP_HTTP, Call
from serving.wire.protocol import InferRequest, InferResponse
from serving.wire.tensors import Signature, TensorSpec


def written(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def decoded(body, json_length):
    assert json_length is None
    try:
        array = np.load(io.BytesIO(body))
    except ValueError as error:
        raise InvalidInput(f"no .npy: {error}") from None
    return InferRequest(None, {}, {"x": array}, None, frozenset(), None)


def encoded(_request, arrays):
    return written(arrays[0]), None


def of_a_server(body, json_length):
    if not body:
        raise BadGateway("nothing")
    return InferResponse("", None, None, {"y": np.load(io.BytesIO(body))})


def npy(name, version, signature):
    assert (name, version, signature.inputs[0].name) == ("m", "1", "x")
    return SimpleNamespace(decode=decoded, encode=encoded)


@pytest.fixture
def served_by(tmp_path, monkeypatch):
    """Run work with the model `m`, y = -x, executed like this; the wire `npy` is known too."""
    monkeypatch.setitem(WIRES, "npy", Wire(200, npy, of_a_server))
    metrics = Metrics(tmp_path / "metrics", "test")

    def run(work, config):
        put(tmp_path / "models", "m", 1, unary("Neg"), config)

        async def main():
            runtime = Runtime(Repository(tmp_path / "models"), metrics, None, 1)
            try:
                await work(await runtime.load("m", "1"))
            finally:
                await runtime.close()

        asyncio.run(main())

    yield run
    metrics._index.close()


def in_npy(row):
    return Call({}, written(np.float32([row])), time.perf_counter(), wire="npy")


def in_json(row):
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": row}
    return Call({}, json.dumps({"inputs": [tensor]}).encode(), time.perf_counter())


def check(reply, call, row):
    """The answer is on the wire of its call."""
    if call.wire == "npy":
        got = of_a_server(reply.body, reply.json_length).outputs["y"][0].tolist()
    else:
        got = json.loads(reply.body)["outputs"][0]["data"]
    assert got == [-number for number in row]


def test_calls_of_two_wires_share_a_run_and_each_is_answered_on_its_own(served_by):
    rows = [[float(number)] * 4 for number in range(6)]

    async def work(served):
        batches, run = [], served._model.run

        def counted(feeds, names):
            batches.append(len(feeds["x"]))
            return run(feeds, names)

        served._model = SimpleNamespace(run=counted, outside=None)
        calls = [(in_npy if place % 2 else in_json)(row) for place, row in enumerate(rows)]
        for reply, call, row in zip(served.many(calls), calls, rows, strict=True):
            check(reply, call, row)
        assert batches == [6]
        for call, row in zip(calls, rows, strict=True):
            check(served.one(call), call, row)

    served_by(work, "execution: inline\n")


def test_calls_of_two_wires_wait_in_one_queue(served_by):
    rows = [[float(number)] * 4 for number in range(6)]

    async def work(served):
        calls = [(in_npy if place % 2 else in_json)(row) for place, row in enumerate(rows)]
        replies = await asyncio.gather(*(served.one(call) for call in calls))
        for reply, call, row in zip(replies, calls, rows, strict=True):
            check(reply, call, row)

    served_by(work, "execution: pooled\nbatching: {max: 8}\n")


def test_what_is_wrong_on_one_wire_is_no_fault_of_its_neighbours(served_by):
    async def work(served):
        bad = Call({}, b"no file", time.perf_counter(), wire="npy")
        good, wrong, other = served.many([in_json([1.0] * 4), bad, in_npy([2.0] * 4)])
        assert isinstance(wrong, InvalidInput)
        assert good.status == other.status == 200

    served_by(work, "execution: inline\n")


def test_every_wire_has_a_number_of_its_own():
    numbers = [wire.number for wire in WIRES.values()]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) >= 0
    assert max(numbers) < 256


def test_a_model_has_a_codec_of_every_wire_and_a_call_is_the_protocols_unless_it_says_otherwise():
    signature = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 4)),))
    assert codecs("m", "1", signature).keys() == WIRES.keys()
    call = in_json([1.0, 2.0, 3.0, 4.0])
    assert call.wire == OIP_HTTP
    request = codecs("m", "1", signature)[call.wire].decode(call.body, call.json_length)
    assert request.inputs["x"].tolist() == [[1, 2, 3, 4]]
