import asyncio
import json
import time
from pathlib import Path

import numpy as np
import pytest
from graphs import FLOAT, graph, linear, node, put, value

from harness.state import state_folder
from serving.errors import Conflict
from serving.service import InferenceServer
from serving.settings import ServingSettings
from serving.telemetry.cells import Metrics
from serving.wire.message import Call


@pytest.fixture
def with_server(tmp_path):
    """Run a coroutine function on a started server over the models that the test put into `models`."""
    metrics = Metrics(tmp_path / "metrics", "test")

    def run(work, **settings):
        async def main():
            state = state_folder(tmp_path / "state", control=False)
            places = {"models": tmp_path / "models", "state_dir": Path(state)}
            server = InferenceServer(ServingSettings(**places, **settings), metrics, tmp_path / "metrics")
            await server.start()
            try:
                return await work(server)
            finally:
                await server.stop()

        return asyncio.run(main())

    yield run
    metrics._index.close()


def test_the_largest_batch_is_told_as_triton_has_it_where_requests_are_joined(tmp_path, with_server):
    put(tmp_path / "models", "joined", 1, linear(), "batching: {max: 8}")
    put(tmp_path / "models", "alone", 1, linear(), "batching: {max: 1}")

    async def work(server):
        return server.config("joined", None), server.config("alone", None)

    joined, alone = with_server(work)
    assert (joined["max_batch_size"], joined["input"][0]["dims"], joined["output"][0]["dims"]) == (
        8,
        [4],
        [3],
    )
    assert joined["dynamic_batching"] == {}
    assert (alone["max_batch_size"], alone["input"][0]["dims"]) == (0, [-1, 4])
    assert "dynamic_batching" not in alone


def test_a_request_that_gives_a_weight_is_never_joined_with_one_that_does_not(tmp_path, with_server):
    x, w, y = value("x", FLOAT, ["rows", 2]), value("w", FLOAT, [1, 2]), value("y", FLOAT, ["rows", 2])
    data = graph([node("Add", ["x", "w"], ["y"])], [x, w], [y], [("w", np.ones((1, 2), "f4"))])
    put(tmp_path / "models", "inline", 1, data, "execution: inline")
    put(tmp_path / "models", "pooled", 1, data, "execution: pooled\nbatching: {max: 8}")

    async def work(server):
        answers = {}
        for name in ("inline", "pooled"):
            served = server.runtime.get(name, "1")
            requests = [served.decode(body, None) for body in BODIES]
            if served.joins:
                together = served.many([Call({}, body, 0.0) for body in BODIES])
                assert all(type(reply).__name__ == "Reply" for reply in together)
            ran = await asyncio.gather(
                *(served.run(request, asyncio.get_running_loop().time() + 1e6) for request in requests)
            )
            answers[name] = [outcome.outputs[0].tolist() for outcome in ran]
        config = server.config("pooled", None)
        return answers, config

    answers, config = with_server(work)
    assert answers["inline"] == answers["pooled"] == [[[1, 1]], [[5, 5]], [[1, 1]], [[7, 7]]]
    assert config["input"][1]["optional"] is True


def body(weight=None):
    w = (
        ""
        if weight is None
        else f',{{"name":"w","datatype":"FP32","shape":[1,2],"data":[{weight},{weight}]}}'
    )
    return f'{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,2],"data":[0,0]}}{w}]}}'.encode()


# ------------------------------------------------------------------ loading anew


def answer(handler):
    outcome = handler.one(Call({}, body(), time.perf_counter()))
    return outcome if asyncio.isfuture(outcome) or asyncio.iscoroutine(outcome) else ready(outcome)


async def ready(reply):
    return reply


def value_of(reply):
    return json.loads(reply.body)["outputs"][0]["data"][0]


def adding(number):
    x, y = (value(name, FLOAT, ["rows", 2]) for name in "xy")
    return graph([node("Add", ["x", "w"], ["y"])], [x], [y], [("w", np.full((1, 2), number, "f4"))])


@pytest.mark.parametrize("execution", ["inline", "pooled"])
def test_a_model_whose_files_changed_is_loaded_anew_and_no_request_fails(tmp_path, with_server, execution):
    put(tmp_path / "models", "m", 1, adding(1), f"execution: {execution}")

    async def work(server):
        path = b"/v2/models/m/infer"
        before = server.paths[path]
        answered = []
        new, done = asyncio.Event(), asyncio.Event()

        async def keep_asking():
            while not done.is_set():
                answered.append(value_of(await answer(server.paths[path])))
                if answered[-1] == 2:
                    new.set()
                await asyncio.sleep(0)

        clients = [asyncio.create_task(keep_asking()) for _ in range(4)]
        await server.load("m")
        assert server.paths[path] is before, "nothing changed"
        put(tmp_path / "models", "m", 1, adding(2))
        await server.load("m")
        late = value_of(await answer(before))  # its head came before the change, its body after
        await new.wait()
        done.set()
        await asyncio.gather(*clients)
        return answered, late, await server.index(ready_only=True)

    answered, late, index = with_server(work, allow_load=True)
    assert late == 1
    assert answered == sorted(answered)
    assert set(answered) == {1, 2}
    assert [(row["version"], row["state"], row["reason"]) for row in index] == [("1", "READY", "")]


def test_an_edited_configuration_is_a_change(tmp_path, with_server):
    put(tmp_path / "models", "m", 1, adding(1), "execution: inline")

    async def work(server):
        (tmp_path / "models/m/config.yaml").write_text("execution: pooled\n")
        await server.load("m")
        return server.runtime.get("m", "1").execution

    assert with_server(work, allow_load=True) == "pooled"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("1/model.onnx", b"junk", "it is no ONNX file, or a damaged one"),
        ("config.yaml", b"queue: none\n", "config.yaml:1:8"),
        ("config.yaml", b"versions: all\n", "version 2: it is no ONNX file"),
    ],
)
def test_what_is_refused_changes_nothing_and_says_so(tmp_path, with_server, file, content, reason):
    put(tmp_path / "models", "m", 1, adding(1), "versions: ['1']")
    put(tmp_path / "models", "m", 2, b"junk")

    async def work(server):
        before = server.runtime.get("m", "1")
        (tmp_path / "models/m" / file).write_bytes(content)
        with pytest.raises(Conflict, match="what was loaded before serves on") as refusal:
            await server.load("m")
        assert reason in str(refusal.value)
        assert str(tmp_path) not in str(refusal.value)
        assert server.runtime.get("m", "1") is before
        return value_of(await answer(server.paths[b"/v2/models/m/versions/1/infer"]))

    assert with_server(work, allow_load=True) == 1


BODIES = [body(), body(5), body(), body(7)]
