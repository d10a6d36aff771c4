"""What a request's head says: what is wrong with it, and whether it is one of a plain inference request.

Law: only the heads of plain inference requests are remembered (a POST of HTTP/1.1 with a length and a body,
kept alive, uncoded, without an id, that expects and upgrades nothing), each read once by a parser of its own;
every other one goes to the connection's reader each time. Behind a known head the body is as many bytes as it
said.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httptools

from serving.http.codings import is_coded
from serving.wire.known_heads import KnownHeads
from serving.wire.request_id import REQUEST_ID

HEAD_END = b"\r\n\r\n"
MAX_HEADS = 512
MAX_REMEMBERED_BYTES = 4096
"""Of one head. With `MAX_HEADS` this bounds what a process keeps to a few MiB."""

Problem = tuple[int, str, bytes]
"""Why a request is refused: status, words, and further header lines of the answer."""

_HOST = re.compile(rb"[ \t]*(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?[ \t]*")
"""RFC 3986, 3.2.2 and 3.2.3, without what a user may stand in front of it."""
_SINGLE = frozenset(
    {
        b"authorization", b"content-encoding", b"content-length", b"content-type", b"expect", b"host",
        b"inference-header-content-length", b"transfer-encoding", b"x-api-key", b"x-understudy-target",
    }
)  # fmt: skip
"""Headers that say what a request means or who sent it: given twice, two readers could differ about it."""

_SECRET = re.compile(rb"(?i)\n(?:authorization|proxy-authorization|cookie|x-api-key)[ \t]*:")
"""Heads that hold what no process should keep; they are read each time."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a plain inference request says before its body.

    Attributes:
        path: as it came, with its query.
        headers: names in lower case, of a repeated one the last; shared by requests, so nobody may change it.
        body_bytes: how many follow, at least one.
    """

    path: bytes
    headers: Mapping[bytes, bytes]
    body_bytes: int


class PlainHeads:
    """The heads that one process has learned, from all its connections.

    Args:
        body_limit: a head that announces more bytes than this is not learned.
    """

    __slots__ = ("_body_limit", "_known", "get")

    def __init__(self, body_limit: int) -> None:
        self._body_limit = body_limit
        self._known: KnownHeads[Head | None] = KnownHeads(MAX_HEADS, MAX_REMEMBERED_BYTES)
        self.get = self._known.get
        """The head with these bytes; None when it was not learned or is not plain."""

    def learn(self, raw: bytes) -> None:
        """Remember a head that is likely to come again."""
        if not self._known.wants(raw) or _SECRET.search(raw):
            return
        head = read_head(raw)
        if head is not None and head.body_bytes > self._body_limit:
            head = None
        self._known.learn(raw, head)


def problem_of(
    headers: Sequence[tuple[bytes, bytes]], fields: Mapping[bytes, bytes], version: str
) -> Problem | None:
    """What is wrong with a head that the parser took (RFC 9110, 7.2 and 10.1.1; RFC 9112, 3.2 and 6.1).

    Args:
        headers: names in lower case, in their order.
        fields: the same; of a repeated one, the last.
        version: of HTTP, as the parser says it.
    """
    if version != "1.1" and version != "1.0":  # noqa: PLR1714  (a set costs more)
        return 505 if version == "2.0" else 400, "of HTTP, versions 1.1 and 1.0 are spoken here", b""
    if len(fields) != len(headers):
        names = [name for name, _ in headers]
        for name in _SINGLE & fields.keys():
            if names.count(name) > 1:
                return 400, f"the header {name.decode()} is given twice", b""
    host = fields.get(b"host")
    if host is None:
        if version == "1.1":
            return 400, "the header host is missing", b""
    elif _HOST.fullmatch(host) is None:
        return 400, "the header host is not a host, with or without a port", b""
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if version == "1.0":
            return 400, "HTTP/1.0 has no transfer codings", b""
        if coding.strip().lower() != b"chunked":
            return 501, "of transfer codings, only chunked is understood", b""
    expected = fields.get(b"expect")
    if expected is not None and version == "1.1" and expected.lower() != b"100-continue":
        return 417, "only 100-continue can be expected", b""
    return None


def problem_of_target(method: bytes, target: bytes) -> Problem | None:
    """What is wrong with a request's target (RFC 9112, 3.2), which is a path, a URL or the `*` of OPTIONS."""
    if target[:1] == b"*" and (target != b"*" or method != b"OPTIONS"):
        return 400, "the request's target is not a path", b""
    if b"#" in target:
        return 400, "the request's target has a fragment", b""
    return None


def read_head(raw: bytes) -> Head | None:
    """What these bytes say if they are the head of a plain inference request and nothing else."""
    reader = _Reader()
    parser = httptools.HttpRequestParser(reader)
    try:
        parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    headers = dict(reader.headers)
    if problem_of(reader.headers, headers, parser.get_http_version()) is not None:
        return None
    length = headers.get(b"content-length", b"").strip()
    plain = (
        reader.heads == 1
        and not reader.ended  # neither a byte of a body nor the end of a message was in it
        and parser.get_method() == b"POST"
        and parser.get_http_version() == "1.1"
        and parser.should_keep_alive()
        and not parser.should_upgrade()
        and length.isdigit()
        and not headers.keys() & {b"transfer-encoding", b"expect", b"upgrade", REQUEST_ID}
        and not is_coded(headers)
    )
    return Head(reader.url, headers, int(length)) if plain else None


class _Reader:
    """Collects what the parser calls back with."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.heads = 0
        self.ended = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_body(self, _: bytes) -> None:
        self.ended = True

    def on_message_complete(self) -> None:
        self.ended = True
