import asyncio
import json
import time

import numpy as np
import pytest
from graphs import FLOAT, INT64, graph, linear, node, put, unary, value
from structlog.testing import capture_logs

import serving.models.runtime as runtime_module
from serving.errors import InvalidInput, InvalidModel, NotFound, ServingError, Unavailable
from serving.models.files.repository import Repository
from serving.models.runtime import Runtime
from serving.telemetry.cells import Metrics, read
from serving.wire.message import Call


def infer(served, values, **parameters):
    tensor = {"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": values}
    body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    return served.one(Call({}, body, time.perf_counter()))


def outputs(reply):
    return json.loads(reply.body)["outputs"][0]["data"]


@pytest.fixture
def with_runtime(tmp_path, verified):
    """Run a coroutine function on a runtime over the models that the test put into `models`."""
    metrics = Metrics(tmp_path / "metrics", "test")

    def run(work):
        async def main():
            runtime = Runtime(Repository(tmp_path / "models"), metrics, verified, 1)
            try:
                return await work(runtime)
            finally:
                await runtime.close()

        return asyncio.run(main())

    yield run
    metrics._index.close()


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def test_what_was_refused_ahead_is_not_tried_again_until_its_files_change(models, with_runtime, monkeypatch):
    tried = []
    real = runtime_module.verify

    def counted(entries, **options):
        tried.append([entry.name for entry in entries])
        return real(entries, **options)

    monkeypatch.setattr(runtime_module, "verify", counted)
    for name in "abc":
        put(models, name, 1, b"junk")

    async def work(runtime):
        await runtime.verify_ahead(["a/1", "b/1", "c/1"])
        for _ in range(2):
            with pytest.raises(InvalidModel, match="it is no ONNX file"):
                await runtime.load("a", "1")
        put(models, "b", 1, unary())
        await runtime.load("b", "1")
        put(models, "c", 1, b"junk", "batching: {max: 2}")
        with pytest.raises(InvalidModel, match="it is no ONNX file"):
            await runtime.load("c", "1")

    with_runtime(work)
    assert tried == [["a", "b", "c"], ["a"], ["b"], ["c"]]


def test_a_model_is_loaded_used_and_unloaded(models, with_runtime):
    put(models, "m", 1, unary(), "execution: inline\n")
    changes = []

    async def work(runtime):
        runtime.changed = lambda: changes.append(sorted(runtime.ready))
        with pytest.raises(NotFound, match="model 'm' version 1 is not loaded"):
            runtime.get("m", "1")
        served = await runtime.load("m", "1")
        assert runtime.get("m", "1") is served is await runtime.load("m", "1")
        assert runtime.states == {"m/1": ("READY", "")}
        assert served.last_inference_ms == 0
        assert outputs(infer(served, [1.0, 2.0, 3.0, 4.0])) == [1, 2, 3, 4]
        assert served.last_inference_ms > 0
        await runtime.unload("m", "1")
        await runtime.unload("m", "1")
        with pytest.raises(NotFound, match="is not loaded: unloaded"):
            runtime.get("m", "1")
        assert changes == [["m/1"], []]

    with_runtime(work)


@pytest.mark.parametrize("execution", ["inline", "pooled"])
def test_a_model_runs_where_its_configuration_says_and_answers_the_same(models, with_runtime, execution):
    put(models, "m", 1, linear(), f"execution: {execution}\n")

    async def work(runtime):
        served = await runtime.load("m", "1")
        assert served.execution == execution
        answer = infer(served, [1.0, 2.0, 3.0, 4.0])
        reply = answer if execution == "inline" else await answer
        assert reply.status == 200
        return outputs(reply)

    assert len(with_runtime(work)) == 3


def test_a_quick_model_runs_inline_unless_it_batches(models, with_runtime):
    put(models, "quick", 1, unary(), "execution: auto\nbatching: {max: 1}\n")
    put(models, "batched", 1, unary(), "execution: auto\nbatching: {max: 4}\n")

    async def work(runtime):
        quick = await runtime.load("quick", "1")
        assert quick.execution == ("inline" if quick._model.run_seconds < 100e-6 else "pooled")
        assert (await runtime.load("batched", "1")).execution == "pooled"

    with_runtime(work)


def never_runs():
    three = [("three", np.array([3]))]
    reshape = [node("Reshape", ["x", "three"], ["y"])]
    return graph(reshape, [value("x", FLOAT, [1, 4])], [value("y", FLOAT, [3])], three)


def test_a_model_that_could_not_be_measured_is_pooled_and_says_so(models, with_runtime):
    put(models, "m", 1, never_runs())
    put(models, "joined", 1, (models / "m/1/model.onnx").read_bytes(), "batching: {max: 4}")

    async def work(runtime):
        served = await runtime.load("m", "1")
        assert (served.execution, served.max_rows) == ("pooled", 1)
        state, reason = runtime.states["m/1"]
        assert state == "READY"
        assert "name an .npz" in reason
        with pytest.raises(InvalidModel, match="4 rows cannot be tried without input"):
            await runtime.load("joined", "1")

    with_runtime(work)


def test_a_model_is_warmed_with_what_its_check_found(models, with_runtime):
    shape = [("shape", np.array([-1, 576]))]
    reshape = [node("Reshape", ["x", "shape"], ["y"])]
    put(models, "m", 1, graph(reshape, [value("x", FLOAT, ["n"])], [value("y", FLOAT, ["m", 576])], shape))

    async def work(runtime):
        served = await runtime.load("m", "1")
        assert runtime.states["m/1"] == ("READY", "")
        assert served.max_rows == 1
        assert served._model.run_seconds > 0

    with_runtime(work)


def test_a_model_that_is_refused_says_why_and_another_one_still_loads(models, with_runtime):
    put(models, "bad", 1, b"no model")
    put(models, "good", 1, unary())

    async def work(runtime):
        with pytest.raises(InvalidModel, match="model 'bad' version 1"):
            await runtime.load("bad", "1")
        state, reason = runtime.states["bad/1"]
        assert state == "UNAVAILABLE"
        with pytest.raises(NotFound) as refusal:
            runtime.get("bad", "1")
        assert reason in str(refusal.value)
        await runtime.load("good", "1")
        with pytest.raises(NotFound):
            await runtime.load("nobody", "1")
        assert list(runtime.ready) == ["good/1"]

    with_runtime(work)


def test_while_it_loads_a_model_is_not_ready_and_loads_of_one_are_one(models, with_runtime):
    put(models, "m", 1, unary())

    async def work(runtime):
        loads = [asyncio.ensure_future(runtime.load("m", "1")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="is loading"):
            runtime.get("m", "1")
        first, *others = await asyncio.gather(*loads)
        assert all(other is first for other in others)

    with_runtime(work)


def test_what_a_pooled_model_was_asked_before_it_is_unloaded_is_answered(models, with_runtime):
    put(models, "m", 1, unary(), "execution: pooled\n")

    async def work(runtime):
        served = await runtime.load("m", "1")
        asked = [asyncio.ensure_future(infer(served, [float(n), 0, 0, 0])) for n in range(20)]
        await asyncio.sleep(0)
        await runtime.unload("m", "1")
        assert [outputs(reply)[0] for reply in await asyncio.gather(*asked)] == list(range(20))
        with pytest.raises(Unavailable, match="is being unloaded"):
            await infer(served, [0.0, 0, 0, 0])

    with_runtime(work)


# ------------------------------------------------------------------ several calls in one run


def tensor(rows, **members):
    data = np.asarray(rows, "f4")
    return {
        "name": "x",
        "shape": list(data.shape),
        "datatype": "FP32",
        "data": data.ravel().tolist(),
    } | members


def document(rows, **members):
    return {"inputs": [tensor(rows)], **members}


def in_json(message):
    return {}, json.dumps(message).encode()


def in_binary(rows, **members):
    data = np.asarray(rows, "f4")
    item = {"name": "x", "shape": list(data.shape), "datatype": "FP32"}
    item["parameters"] = {"binary_data_size": data.nbytes}
    head = json.dumps({"inputs": [item], **members}).encode()
    return {b"inference-header-content-length": b"%d" % len(head)}, head + data.tobytes()


def rows(count, first=0.0):
    return (np.arange(4.0 * count) + first).reshape(count, 4)


REQUESTS = {
    "one row": in_json(document(rows(1))),
    "three rows": in_json(document(rows(3, 50), id="b")),
    "binary": in_binary(rows(2, 100), id="c"),
    "wants binary": in_json(document(rows(1, 7), parameters={"binary_data_output": True})),
    "wants an output by name": in_json(document(rows(1, 8), outputs=[{"name": "y"}])),
    "in good time": in_json(document(rows(1, 9), parameters={"timeout": 60_000_000})),
    "as many rows as are run together": in_json(document(rows(5, 200))),
    "more rows than are run together": in_json(document(rows(9, 300))),
    "no rows": in_json(document(np.zeros((0, 4)))),
    "too late": in_json(document(rows(1, 10), parameters={"timeout": 1})),
    "no JSON": ({}, b"{"),
    "other input": in_json({"inputs": [tensor(rows(1), name="z")]}),
    "other shape": in_json({"inputs": [tensor(np.zeros((1, 3)))]}),
    "unknown output": in_json(document(rows(1), outputs=[{"name": "q"}])),
}


def calls(requests):
    return [Call(headers, body, time.perf_counter()) for headers, body in requests]


def alone(served, call):
    try:
        reply = served.one(call)
    except ServingError as error:
        return error.status, str(error)
    return reply.status, reply.body


def told(outcome):
    if isinstance(outcome, Exception):
        return outcome.status, str(outcome)
    return outcome.status, outcome.body


def cells(family, target="m/1"):
    return read(family[0])[family[1]].series[target,]


def test_calls_answered_together_get_what_each_would_get_by_itself(models, with_runtime, tmp_path):
    put(models, "m", 1, unary("Neg"), "execution: inline\nbatching: {max: 5}\n")

    async def work(runtime):
        served = await runtime.load("m", "1")
        expected = [alone(served, call) for call in calls(REQUESTS.values())]
        before = {name: cells((tmp_path / "metrics", name)) for name in FAMILIES}
        outcomes = served.many(calls(REQUESTS.values()))
        assert dict(zip(REQUESTS, map(told, outcomes), strict=True)) == dict(
            zip(REQUESTS, expected, strict=True)
        )
        after = {name: cells((tmp_path / "metrics", name)) for name in FAMILIES}
        return {name: np.subtract(after[name], before[name]) for name in FAMILIES}

    counted = with_runtime(work)
    good = 9
    runs, failures, batches, waits = (counted[name] for name in FAMILIES)
    assert sum(runs[:-1]) == good
    assert failures[0] == len(REQUESTS) - good
    assert sum(batches[:-1]) > 0
    assert sum(waits[:-1]) > sum(batches[:-1])
    assert batches[-1] > sum(waits[:-1]), "rows"


FAMILIES = (
    "understudy_inference_seconds",
    "understudy_inference_failures",
    "understudy_batch_size",
    "understudy_queue_seconds",
)


def test_a_row_that_the_model_cannot_take_fails_its_own_request_only(models, with_runtime):
    table = graph(
        [node("Gather", ["table", "x"], ["y"])],
        [value("x", INT64, ["rows"])],
        [value("y", FLOAT, ["rows"])],
        [("table", np.arange(3, dtype="f4"))],
    )
    put(models, "m", 1, table, "execution: inline\n")

    def look_up(index):
        item = {"name": "x", "shape": [1], "datatype": "INT64", "data": [index]}
        return in_json({"inputs": [item]})

    async def work(runtime):
        served = await runtime.load("m", "1")
        good, bad, other = served.many(calls([look_up(1), look_up(7), look_up(2)]))
        assert outputs(good) == [1]
        assert outputs(other) == [2]
        assert bad.status == 400
        assert good.compute_seconds > 0, "each ran by itself"

    with_runtime(work)


def test_time_in_a_shared_run_is_nobodys_own(models, with_runtime):
    put(models, "m", 1, linear(), "execution: inline\n")

    async def work(runtime):
        served = await runtime.load("m", "1")
        [lone] = served.many(calls([REQUESTS["one row"]]))
        assert lone.compute_seconds > 0
        assert lone.shared is False
        both = served.many(calls([REQUESTS["one row"]] * 2))
        assert [(reply.compute_seconds, reply.shared) for reply in both] == [(0, True), (0, True)]

    with_runtime(work)


def test_calls_share_a_run_only_where_rows_are_independent_and_the_configuration_lets_them(
    models, with_runtime
):
    centred = graph(
        [node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1), node("Sub", ["x", "mean"], ["y"])],
        [value("x", FLOAT, ["rows", 4])],
        [value("y", FLOAT, ["rows", 4])],
    )
    put(models, "centred", 1, centred, "execution: inline\n")
    put(models, "single", 1, unary(), "execution: inline\nbatching: {max: 1}\n")
    put(models, "pooled", 1, unary(), "execution: pooled\nbatching: {max: 8}\n")
    put(models, "inline", 1, unary(), "execution: inline\n")

    async def work(runtime):
        joins = {}
        for name in ("centred", "single", "pooled", "inline"):
            joins[name] = (await runtime.load(name, "1")).joins
        assert joins == {"centred": False, "single": False, "pooled": False, "inline": True}

    with_runtime(work)


def test_decoded_requests_run_together_have_the_outputs_that_each_has_alone(models, with_runtime):
    put(models, "joins", 1, unary("Neg"), "execution: inline\nbatching: {max: 5}\n")
    put(models, "single", 1, unary("Neg"), "execution: inline\nbatching: {max: 1}\n")
    asked = ["one row", "three rows", "binary", "as many rows as are run together", "no rows"]

    async def work(runtime):
        served = await runtime.load("joins", "1")
        requests = [served.decode(call.body, call.json_length) for call in calls(map(REQUESTS.get, asked))]
        joined = served.run_together(requests)
        assert [outputs is not None for outputs in joined] == [True, True, False, False, False]
        for request, outputs in zip(requests, joined, strict=True):
            alone = (await served.run(request, time.perf_counter())).outputs
            np.testing.assert_array_equal(outputs or alone, alone)
        assert (await runtime.load("single", "1")).run_together(requests) == [None] * len(asked)

    with_runtime(work)


def test_why_a_model_fails_is_logged_once_without_what_was_sent_and_not_told(models, with_runtime):
    put(models, "m", 1, never_runs())

    async def ask(served):
        with pytest.raises(ServingError) as caught:
            await infer(served, [1.0, 123456.5, 3.0, 4.0])
        return caught.value

    async def work(runtime):
        served = await runtime.load("m", "1")
        with capture_logs() as logged:
            errors = [await ask(served) for _ in range(3)]
        assert {(error.status, str(error)) for error in errors} == {(500, "the model failed (Fail)")}
        [line] = [line for line in logged if line["event"] == "model failed"]
        assert (line["model"], line["log_level"], line["failures"]) == ("m/1", "error", 1)
        assert line["reason"].startswith("Reshape: The input tensor cannot be reshaped")
        assert "123456" not in str(line)

    with_runtime(work)


def test_what_a_client_sends_wrong_is_not_logged(models, with_runtime):
    put(models, "m", 1, linear(), "execution: inline\n")

    async def work(runtime):
        served = await runtime.load("m", "1")
        with capture_logs() as logged, pytest.raises(InvalidInput):
            infer(served, [1.0])
        assert not logged

    with_runtime(work)
