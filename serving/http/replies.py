"""Answers as bytes: status lines and dates that are made once, and what every failure becomes."""

from email.utils import formatdate
from http import HTTPStatus

import orjson
import structlog

from serving.errors import ServingError, TooLarge
from serving.http.endpoint import Limits
from serving.wire.message import Reply

log = structlog.get_logger()


def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()


STATUS = {int(status): _status_line(status) for status in HTTPStatus}
JSON = b"content-type: application/json\r\n"
_CHALLENGE = b'www-authenticate: Bearer realm="understudy"\r\n'
_BINARY = b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n"


class _Dated:
    """Beginnings of answers, with the time of day; made anew once a second, by the sweep.

    Attributes:
        line: the header Date (RFC 9110, 6.6.1).
        ok_json: up to the body's length, of most answers.
        ok_binary: likewise, with a place for the length of its JSON.
    """

    __slots__ = ("line", "ok_binary", "ok_json")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Take the time now."""
        self.line = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        self.ok_json = STATUS[200] + self.line + JSON
        self.ok_binary = STATUS[200] + self.line + _BINARY


DATED = _Dated()


def error_reply(error: BaseException, lines: bytes = b"") -> Reply:
    """The response of any failure: an expected one in its own words, any other as a 500 without them.

    Args:
        error: the failure.
        lines: further header lines, each ended by CRLF.
    """
    if isinstance(error, ServingError):
        if error.kind == "unauthenticated":
            lines += _CHALLENGE
        seconds = error.retry_after_seconds
        if seconds is not None:
            lines += b"retry-after: %d\r\n" % seconds
        return Reply(error.status, orjson.dumps({"error": str(error)}, default=str), None, lines)
    log.error("request failed", exc_info=error)
    return Reply(500, b'{"error":"internal error"}', None, lines)


def content_headers(reply: Reply) -> bytes:
    """The lines that describe the body."""
    if reply.json_length is None:
        return JSON
    return _BINARY % reply.json_length


def too_large(limits: Limits) -> TooLarge:
    """The error of a body over the limit."""
    return TooLarge(f"the body is larger than {limits.body_bytes} bytes")
