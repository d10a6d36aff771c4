"""Calls of the public door: what is sent, and what is made of the answer. No I/O.

Law: an answer is either read whole or becomes an error with the server's own words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

from understudy_client.errors import OF_STATUS, InvalidAnswer, StatusError
from understudy_client.outcomes import Batch, read_taken
from understudy_client.taken import OutcomesTaken
from understudy_client.wire.metadata import ModelMetadata, read_metadata
from understudy_client.wire.protocol import JSON_LENGTH, Body, Decoded, parse, read_answer

T_co = TypeVar("T_co", covariant=True)

TARGET, RECEIPT, REQUEST_ID = "x-understudy-target", "x-understudy-receipt", "x-request-id"

_SHOWN = 500


class Response(NamedTuple):
    """An answer of HTTP.

    Args:
        status: its number.
        headers: by name in lower case.
        body: without any coding.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request, and how its answer is read.

    Attributes:
        method: of HTTP.
        path: with its leading slash.
        read: makes the value of an answer.
        content: the body.
        headers: further ones.
        accepted: statuses that `read` is given; all others are errors.
        repeatable: whether it does no harm to do it twice, so that it is sent again when nobody knows whether
            it arrived.
    """

    method: str
    path: str
    read: Callable[[Response], T_co]
    content: bytes = b""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    accepted: frozenset[int] = frozenset({200})
    repeatable: bool = True

    def result(self, response: Response) -> T_co:
        """The value of an answer.

        Raises:
            StatusError: it is an error.
            InvalidAnswer: it cannot be read.
        """
        if response.status not in self.accepted:
            raise status_error(response)
        return self.read(response)


def status_error(response: Response) -> StatusError:
    """The error that an answer is."""
    kind = OF_STATUS.get(response.status, StatusError)
    headers = response.headers
    return kind(
        _words(response),
        response.status,
        retry_after=_seconds(headers.get("retry-after")),
        receipt=headers.get(RECEIPT),
        request_id=headers.get(REQUEST_ID),
    )


def _words(response: Response) -> str:
    """What the server said, or else what came."""
    try:
        found = parse(response.body)
    except InvalidAnswer:
        found = None
    if isinstance(found, dict) and isinstance(text := found.get("error"), str) and text:
        return text
    said = response.body[:_SHOWN].decode(errors="replace").strip()
    return f"status {response.status}" + (f": {said}" if said else " without a word")


def _seconds(text: str | None) -> float | None:
    """Of Retry-After; a date, which this server never sends, is none."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def infer(model: str, version: str | None, body: Body, headers: Mapping[bytes, bytes]) -> "Call[Inferred]":
    """Ask a model. Not repeatable: it may run, and count, twice."""
    kind = {b"content-type": b"application/json"}
    if body.json_length is not None:
        kind = {b"content-type": b"application/octet-stream", JSON_LENGTH.encode(): b"%d" % body.json_length}
    path = _path(model, version) + "/infer"
    return Call("POST", path, _inferred, body.content, {**headers, **kind}, repeatable=False)


class Inferred(NamedTuple):
    """An answer to an inference request.

    Args:
        decoded: its body.
        headers: of HTTP, names in lower case.
    """

    decoded: Decoded
    headers: Mapping[str, str]


def _inferred(response: Response) -> Inferred:
    return Inferred(read_answer(response.body, response.headers.get(JSON_LENGTH)), response.headers)


def metadata(model: str, version: str | None) -> Call[ModelMetadata]:
    """Ask what a model takes and gives."""
    return Call("GET", _path(model, version), lambda response: read_metadata(parse(response.body)))


def ready(model: str | None) -> Call[bool]:
    """Ask whether a model, or the server, answers."""
    path = "/v2/health/ready" if model is None else _path(model, None) + "/ready"
    return Call("GET", path, _is_ready, accepted=frozenset({200, 503}))


def _is_ready(response: Response) -> bool:
    return response.status == 200


def tell(batch: Batch) -> Call[OutcomesTaken]:
    """Tell outcomes. Repeatable: each counts once."""
    headers = {b"content-type": b"application/x-ndjson"}
    return Call("POST", "/v1/outcomes", lambda answer: read_taken(answer.body, batch), batch.body, headers)


def _path(model: str, version: Any) -> str:
    middle = "" if version is None else f"/versions/{quote(str(version), safe='')}"
    return f"/v2/models/{quote(model, safe='')}{middle}"
