"""A handler of KServe's V1 in front of one of V2. Pure.

Law: what is asked becomes a request of V2 (`serving.wire.instances`) for the same handler, so it is drawn,
forced, mirrored, counted, recorded and refused as any other. What cannot become one is refused in front of
it, and told to it.
"""

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable

from serving.errors import ServingError, Unavailable
from serving.wire.handler import Handler, each
from serving.wire.instances import read_instances, write_predictions
from serving.wire.message import JSON_LENGTH_HEADER, Call, Outcome, Reply
from serving.wire.tensors import Signature


def predict_path(model: str) -> bytes:
    """Where V1 asks a model."""
    return f"/v1/models/{model}:predict".encode()


class Predicting:
    """Answers the calls of one model by V1.

    Args:
        inner: answers by V2.
        signature: gives that of the model; None while it is not known.
    """

    joins = False

    def __init__(self, inner: Handler, signature: Callable[[], Signature | None]) -> None:
        self._inner = inner
        self._signature = signature

    def one(self, call: Call) -> Awaitable[Reply]:
        """As `Handler`."""
        return self._answer(call)

    def many(self, calls: Sequence[Call]) -> list[Outcome]:
        """As `Handler`."""
        return each(self.one, calls)

    def refused(self, call: Call, failure: Exception) -> None:
        """As `Handler`."""
        call.body = b""  # what came is none of V2
        self._inner.refused(call, failure)

    async def _answer(self, call: Call) -> Reply:
        try:
            signature = self._signature()
            if signature is None:
                raise Unavailable("what the model takes is not known yet")
            asked = read_instances(call.body, signature)
        except ServingError as error:
            self.refused(call, error)
            raise
        call.headers = {**call.headers, JSON_LENGTH_HEADER: b"%d" % asked.json_length}
        call.body = asked.body
        outcome = self._inner.one(call)
        reply = await outcome if isawaitable(outcome) else outcome
        if reply.status != 200:
            return reply
        body = write_predictions(reply.body, reply.json_length, asked.rows)
        return Reply(200, body, None, reply.headers, reply.compute_seconds, reply.shared)
