"""A handler of V1 asks that of V2, and hides nothing from it."""

import asyncio

import orjson
import pytest

from serving.errors import Forbidden, InvalidInput, ServingError, TooLarge, Unavailable
from serving.wire.instances import read_instances
from serving.wire.message import Call, Reply
from serving.wire.predicting import Predicting, predict_path
from serving.wire.protocol import decode_request
from serving.wire.tensors import Signature, TensorSpec

TWICE = Signature((TensorSpec("x", "INT64", (-1,)),), (TensorSpec("y", "INT64", (-1,)),))
ASKED = b'{"instances": [1, 2]}'


class Doubles:
    """A handler of V2, which remembers what it heard."""

    joins = True

    def __init__(self, failure: Exception | None = None, *, later: bool = False) -> None:
        self.refusals: list[tuple[bytes, Exception]] = []
        self._failure, self._later = failure, later

    def one(self, call):
        if self._failure is not None:
            raise self._failure
        return self._in_time(call) if self._later else self._reply(call)

    async def _in_time(self, call):
        await asyncio.sleep(0)
        return self._reply(call)

    def _reply(self, call) -> Reply:
        x = decode_request(call.body, call.json_length, TWICE).inputs["x"]
        output = {"name": "y", "datatype": "INT64", "shape": [len(x)], "data": (2 * x).tolist()}
        body = orjson.dumps({"model_name": "m", "outputs": [output]})
        return Reply(200, body, None, b"x-by: m\r\n", 0.5, shared=True)

    def refused(self, call, failure):
        self.refusals.append((call.body, failure))


def ask(inner: Doubles, body: bytes, signature: Signature | None = TWICE) -> Reply:
    async def main():
        return await Predicting(inner, lambda: signature).one(Call({b"x-user": b"anna"}, body, 0.0))

    return asyncio.run(main())


@pytest.mark.parametrize("later", [True, False])
def test_an_answer_keeps_all_but_its_body(later):
    reply = ask(Doubles(later=later), ASKED)
    assert orjson.loads(reply.body) == {"predictions": [2, 4]}
    assert (reply.status, reply.json_length, reply.headers) == (200, None, b"x-by: m\r\n")
    assert (reply.compute_seconds, reply.shared) == (0.5, True)


def test_failures_of_the_handler_are_its_own():
    with pytest.raises(Forbidden, match="not you"):
        ask(Doubles(Forbidden("not you")), ASKED)


@pytest.mark.parametrize(
    ("body", "signature", "kind"), [(b"{}", TWICE, InvalidInput), (ASKED, None, Unavailable)]
)
def test_what_cannot_be_asked_is_refused_and_the_handler_hears_it_once_without_the_body(
    body, signature, kind
):
    inner = Doubles()
    with pytest.raises(kind) as failed:
        ask(inner, body, signature)
    assert inner.refusals == [(b"", failed.value)]


def test_refusals_of_the_door_are_heard_behind_it():
    inner, failure = Doubles(), TooLarge("too large")
    Predicting(inner, lambda: TWICE).refused(Call({}, ASKED, 0.0), failure)
    assert inner.refusals == [(b"", failure)]


def test_several_calls_are_answered_each_by_itself():
    handler = Predicting(Doubles(), lambda: TWICE)
    assert not handler.joins

    async def main():
        outcomes = handler.many([Call({}, body, 0.0) for body in (ASKED, b"{}")])
        return await asyncio.gather(*outcomes, return_exceptions=True)

    good, bad = asyncio.run(main())
    assert orjson.loads(good.body) == {"predictions": [2, 4]}
    assert isinstance(bad, ServingError)


def test_its_path_is_that_of_kserve():
    assert predict_path("digits") == b"/v1/models/digits:predict"
    assert read_instances(ASKED, TWICE).rows == 2
