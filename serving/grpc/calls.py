"""One inference request over gRPC, from its bytes to those of its answer.

What answers it is the handler that answers the model's requests over HTTP, so it is drawn, counted, mirrored
and recorded as they are. gRPC hands over about one request a turn of the event loop, so an inline model runs
for each; one with a thread of its own joins what waits for it, as ever.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from serving.admission.bodies import SMALL_BODY_BYTES, no_room
from serving.admission.gate import peer
from serving.clock import clock
from serving.errors import ServingError
from serving.grpc.transcoding import Answers, Asked, Requests, named
from serving.http.app import Service, handler_at, infer_path
from serving.http.replies import error_reply
from serving.wire.handler import Handler
from serving.wire.message import JSON_LENGTH_HEADER, Call, Reply

_MAX_WORDS_BYTES = 2_000
Metadata = Sequence[tuple[str, str | bytes]]


class Failed(Exception):
    """An answer that is not the model's.

    Attributes:
        reply: as over HTTP.
        id: the client's name for its request, where that was read.
    """

    def __init__(self, reply: Reply, id_: str = "") -> None:
        super().__init__(_words(reply))
        self.reply = reply
        self.id = id_


class Calls:
    """Answers the inference requests of one door."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._requests = Requests()
        self._answers = Answers()

    async def answer(
        self,
        data: bytes,
        headers: dict[bytes, bytes],
        client: Callable[[], str],
        remaining: Callable[[], float | None],
    ) -> tuple[bytes, bytes]:
        """Answer a request.

        Args:
            data: a `ModelInferRequest`.
            headers: what metadata says, as headers of HTTP; for this call alone.
            client: says the address that it came from, as gRPC does.
            remaining: says the seconds until its deadline, None without one.

        Returns:
            A `ModelInferResponse`, and header lines for its client.

        Raises:
            Failed: it was not answered by a model.
        """
        arrived = clock()
        service = self._service
        refusal = self.refusal(headers, client)
        if refusal is not None:
            raise self._refused(data, headers, arrived, refusal)
        try:
            request = self._requests.read(data)
        except ServingError as error:
            raise self._refused(data, headers, arrived, error) from None
        path = infer_path(request.model, request.version)
        try:
            handler = handler_at(path, service, request.model, request.version)
        except ServingError as error:
            raise Failed(error_reply(error), request.id) from None
        held, who = (len(data), peer(address_of(client()))) if len(data) > SMALL_BODY_BYTES else (0, "")
        if held and not service.limits.bodies.take(who, held):
            failure = no_room()
            handler.refused(Call(headers, b"", arrived), failure)
            raise Failed(error_reply(failure), request.id)
        try:
            reply = await self._ask(handler, request, headers, arrived, remaining)
            if reply.status != 200:
                raise Failed(reply, request.id)
            return self._answers.write(reply), reply.headers
        except ServingError as error:  # of an answer that is none
            raise Failed(error_reply(error), request.id) from None
        finally:
            if held:
                service.limits.bodies.give(who, held)

    def refusal(self, headers: Mapping[bytes, bytes], client: Callable[[], str]) -> ServingError | None:
        """Why the gate does not let a call in, with the arguments of `answer`; None when it does."""
        gate = self._service.gate
        return None if gate is None else gate.refusal(headers, address_of(client()))

    def _refused(
        self, data: bytes, headers: dict[bytes, bytes], arrived: float, failure: ServingError
    ) -> Failed:
        """A message that is not read, or cannot be: the handler that it names, if there is one, is told."""
        names = named(data)
        handler = None if names is None else self._service.paths.get(infer_path(*names))
        if handler is not None:
            handler.refused(Call(headers, b"", arrived), failure)
        return Failed(error_reply(failure))

    async def _ask(
        self,
        handler: Handler,
        request: Asked,
        headers: dict[bytes, bytes],
        arrived: float,
        remaining: Callable[[], float | None],
    ) -> Reply:
        headers[JSON_LENGTH_HEADER] = b"%d" % request.json_length
        call = Call(headers, request.body, arrived)
        try:
            outcome = handler.one(call)
            if type(outcome) is Reply:
                return outcome
            left = remaining()
            call.deadline = None if left is None else clock() + left
            return await outcome
        except Exception as error:  # noqa: BLE001  (the one place where errors become answers)
            return error_reply(error, call.error_headers)


def headers_of(metadata: Metadata | None) -> dict[bytes, bytes]:
    """Metadata as HTTP's headers: names in lower case, of a repeated one the last value."""
    return {
        name.encode(): value if isinstance(value, bytes) else value.encode("latin-1", "replace")
        for name, value in metadata or ()
    }


@lru_cache(256)
def metadata_of(lines: bytes) -> tuple[tuple[str, str], ...]:
    """Header lines as metadata."""
    if not lines:
        return ()
    pairs = (line.split(": ", 1) for line in lines.decode("latin-1").split("\r\n")[:-1])
    return tuple((name.lower(), value) for name, value in pairs)


def address_of(client: str) -> tuple[str, int] | None:
    """Host and port of a peer as gRPC says it, `ipv4:10.0.0.1:12` or `ipv6:%5B::1%5D:12`; None of others."""
    family, _, rest = client.partition(":")
    host, _, port = rest.rpartition(":")
    if family not in {"ipv4", "ipv6"} or not port.isdigit():
        return None
    return host.removeprefix("%5B").removesuffix("%5D").strip("[]"), int(port)


def _words(reply: Reply) -> str:
    """What the body of a failure says."""
    try:
        said: Any = orjson.loads(reply.body)
        text = said.get("error") if isinstance(said, Mapping) else None
    except orjson.JSONDecodeError:
        text = None
    return _cut(text) if isinstance(text, str) else f"status {reply.status}"


def _cut(text: str) -> str:
    """So much of it that metadata have room for it, where each byte may take three."""
    data = text.encode("utf-8", "replace")
    if len(data) <= _MAX_WORDS_BYTES:
        return text
    return data[:_MAX_WORDS_BYTES].decode("utf-8", "ignore") + "..."
