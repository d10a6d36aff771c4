import asyncio
import json
import time

import pytest
from graphs import linear, put, unary

from serving.cells import Metrics
from serving.errors import InvalidModel, NotFound, Unavailable
from serving.message import Call
from serving.repository import Repository
from serving.runtime import Runtime


def infer(served, values, **parameters):
    tensor = {"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": values}
    body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    return served.infer(Call({}, body, time.perf_counter()))


def outputs(reply):
    return json.loads(reply.body)["outputs"][0]["data"]


@pytest.fixture
def with_runtime(tmp_path):
    """Run a coroutine function on a runtime over the models that the test put into `models`."""
    metrics = Metrics(tmp_path / "metrics", "test")

    def run(work):
        async def main():
            runtime = Runtime(Repository(tmp_path / "models"), metrics, tmp_path / "verified", 1)
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
