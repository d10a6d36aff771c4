"""tritonclient.http.aio, as it is installed."""

import asyncio
from contextlib import asynccontextmanager

import pytest
import tritonclient.http.aio as triton
import zoo
from tritonclient.utils import InferenceServerException


@asynccontextmanager
async def connected(server):
    client = triton.InferenceServerClient(server.host)
    try:
        yield client
    finally:
        await client.close()


def tensor(datatype, array, *, binary=True):
    made = triton.InferInput("x", list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def test_the_server_answers_all_questions(server):
    async def ask():
        async with connected(server) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("several", "1")
            assert not await client.is_model_ready("unknown")
            assert (await client.get_server_metadata())["name"] == "understudy"
            assert (await client.get_model_metadata("scalar"))["inputs"][0]["shape"] == []
            assert (await client.get_model_config("scalar"))["input"][0]["data_type"] == "TYPE_FP64"
            assert len(await client.get_model_repository_index()) == len(server.names)
            [entry] = (await client.get_inference_statistics("digits"))["model_stats"]
            assert entry["name"] == "digits"

    asyncio.run(ask())


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", zoo.DATATYPES)
def test_results_are_right_with_many_requests_at_once(server, datatype, binary):
    async def infer(client, seed):
        x = zoo.sample(datatype, seed=seed, finite=not binary)
        output = triton.InferRequestedOutput("y", binary_data=binary)
        result = await client.infer(
            zoo.echo_name(datatype),
            [tensor(datatype, x, binary=binary)],
            outputs=[output],
            request_id=str(seed),
        )
        assert result.get_response()["id"] == str(seed)
        assert zoo.bits(result.as_numpy("y")) == zoo.bits(x)

    async def ask():
        async with connected(server) as client:
            await asyncio.gather(*(infer(client, seed) for seed in range(16)))

    asyncio.run(ask())


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_bodies_may_be_compressed_both_ways(server, coding):
    async def ask():
        async with connected(server) as client:
            x = zoo.sample("BYTES", (40, 40))
            result = await client.infer(
                "echo-bytes",
                [tensor("BYTES", x)],
                request_compression_algorithm=coding,
                response_compression_algorithm=coding,
            )
            assert zoo.bits(result.as_numpy("y")) == zoo.bits(x)

    asyncio.run(ask())


def test_errors_come_in_the_words_of_the_server(server):
    async def ask():
        async with connected(server) as client:
            with pytest.raises(InferenceServerException, match="unknown model 'nobody'") as refusal:
                await client.infer("nobody", [tensor("FP32", zoo.sample("FP32"))])
            assert refusal.value.status() == "404"
            with pytest.raises(InferenceServerException, match="the model takes FP64") as refusal:
                await client.infer("echo-fp64", [tensor("FP32", zoo.sample("FP32"))])
            assert refusal.value.status() == "400"
            with pytest.raises(InferenceServerException) as refusal:
                await client.load_model("several")
            assert refusal.value.status() == "501"

    asyncio.run(ask())
