import asyncio

import numpy as np
import pytest
from graphs import FLOAT, graph, linear, node, put, value

from serving.cells import Metrics
from serving.message import Call
from serving.service import InferenceServer
from serving.settings import ServingSettings


@pytest.fixture
def with_server(tmp_path):
    """Run a coroutine function on a started server over the models that the test put into `models`."""
    metrics = Metrics(tmp_path / "metrics", "test")

    def run(work, **settings):
        async def main():
            places = {"models": tmp_path / "models", "state_dir": tmp_path / "state"}
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
            if served.together is not None:
                together = served.together([Call({}, body, 0.0) for body in BODIES])
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


BODIES = [body(), body(5), body(), body(7)]
