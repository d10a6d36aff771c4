"""Cases of HTTP/1.1 that a door must get right: what is sent, and which answers are right.

The list was written anew after RFC 9110 and RFC 9112, in the groups of Http11Probe
(github.com/MDA2AV/Http11Probe): compliance, smuggling, malformed input. The ids are of this project.
"""

# ruff: noqa: E501  (a case a line)

from collections.abc import Iterator
from dataclasses import dataclass

CLOSES = 0
"""Instead of a status: the connection is closed without an answer."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case.

    Attributes:
        name: its id.
        what: in words.
        wire: what is sent, at once. `{path}` is a plain endpoint that takes POST, `{get}` one that takes GET.
        right: each status that is right; several where the RFC leaves a choice.
        source: the section that says so.
        answers: how many there must be.
    """

    name: str
    what: str
    wire: bytes
    right: tuple[int, ...]
    source: str
    answers: int = 1

    def sent(self, post: bytes, get: bytes) -> bytes:
        """The bytes for a door with these endpoints."""
        return self.wire.replace(b"{path}", post).replace(b"{get}", get)


H = b"Host: localhost\r\n"
GET = b"GET {get} HTTP/1.1\r\n"
POST = b"POST {path} HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"\r\n"
FIVE = b"hello"
BAD = (400,)
TAKEN = (200, 400, 404, 422)
"""The request is read as one; what is then said of a body that is no JSON is the endpoint's."""
NEXT = GET + H + END
"""A second request: it must not be answered where the first one could end elsewhere."""


def _compliance() -> Iterator[Case]:
    def case(
        name: str, what: str, wire: bytes, right: tuple[int, ...], source: str, answers: int = 1
    ) -> Case:
        return Case(f"COMP-{name}", what, wire, right, source, answers)

    yield case("BASELINE", "a plain GET", GET + H + END, (200,), "9112 2.1")
    yield case("NO-HOST", "HTTP/1.1 without Host", GET + END, BAD, "9112 3.2")
    yield case("DUPLICATE-HOST", "two different Host", GET + H + b"Host: i\r\n\r\n", BAD, "9112 3.2")
    yield case("DUPLICATE-HOST-SAME", "the same Host twice", GET + H + H + END, BAD, "9112 3.2")
    yield case("EMPTY-HOST", "an empty Host", GET + b"Host:\r\n\r\n", BAD, "9112 3.2")
    for name, host in (
        ("BLANK", b"a b"), ("USERINFO", b"u@h"), ("PATH", b"h/x"), ("PORT", b"h:x"), ("SCHEME", b"http://h"),
        ("BRACKET", b"[::1"),
    ):  # fmt: skip
        yield case(
            f"HOST-{name}", f"Host: {host.decode()}", GET + b"Host: %b\r\n\r\n" % host, BAD, "9112 3.2"
        )
    old = b"GET {get} HTTP/1.0\r\n"
    yield case("HTTP10-NO-HOST", "HTTP/1.0 without Host", old + END, (200,), "9112 3.2")
    yield case(
        "HTTP10-KEEP",
        "kept where it asks",
        (old + H + b"Connection: keep-alive\r\n\r\n") * 2,
        (200,),
        "9112 9.3",
        2,
    )
    yield case("HTTP10-ENDS", "else its last", (old + H + END) * 2, (200,), "9112 9.3")
    yield case("KEEP", "two requests in a row", NEXT * 2, (200,), "9112 9.3", 2)
    yield case(
        "CLOSE",
        "nothing behind Connection: close",
        GET + H + b"Connection: close\r\n\r\n" + NEXT,
        (200,),
        "9112 9.6",
    )
    yield case("LEADING-CRLF", "one empty line first", END + NEXT, (200,), "9112 2.2")
    yield case(
        "LF-REQUEST-LINE", "bare LF behind the request line", GET[:-2] + b"\n" + H + END, BAD, "9112 2.2"
    )
    yield case("LF-HEADER", "bare LF behind a header", GET + b"Host: h\n\r\n", BAD, "9112 2.2")
    yield case("CR-ONLY", "bare CR as the end of a line", GET + b"Host: h\rX: y\r\n\r\n", BAD, "9112 2.2")
    yield case("OBS-FOLD", "a folded header", GET + H + b"X: a\r\n b\r\n\r\n", BAD, "9112 5.2")
    yield case("BLANK-BEFORE-COLON", "a blank before the colon", GET + H + b"X : a\r\n\r\n", BAD, "9112 5.1")
    yield case(
        "BLANK-BEFORE-HEADERS",
        "a blank before the first header",
        GET + b" X: a\r\n" + H + END,
        BAD,
        "9112 2.2",
    )
    yield case("NO-COLON", "a header without a colon", GET + H + b"X\r\n\r\n", BAD, "9112 5")
    yield case("EMPTY-NAME", "a header without a name", GET + H + b": x\r\n\r\n", BAD, "9110 5.1")
    yield case("EMPTY-VALUE", "a header without a value", GET + H + b"X:\r\n\r\n", (200,), "9110 5.5")
    yield case("OBS-TEXT", "a value in Latin-1", GET + H + b"X: \xe9\r\n\r\n", (200,), "9110 5.5")
    yield case("CASE", "header names in any case", GET + b"hOsT: h\r\n\r\n", (200,), "9110 5.1")
    for name, line in (
        ("NO-TARGET", b"GET HTTP/1.1\r\n"), ("FRAGMENT", b"GET {get}#f HTTP/1.1\r\n"),
        ("BLANK", b"GET {get} x HTTP/1.1\r\n"), ("TAB", b"GET\t{get}\tHTTP/1.1\r\n"),
        ("TWO-BLANKS", b"GET  {get} HTTP/1.1\r\n"), ("BACKSLASH-FORM", b"GET \\x HTTP/1.1\r\n"),
        ("NO-SLASH", b"GET v2 HTTP/1.1\r\n"), ("STAR-GET", b"GET * HTTP/1.1\r\n"),
    ):  # fmt: skip
        right = (400, 200) if name == "TWO-BLANKS" else BAD  # 9112 3 lets a recipient split at any blanks
        yield case(f"LINE-{name}", f"the line `{line[:-2].decode()}`", line + H + END, right, "9112 3")
    yield case(
        "ABSOLUTE", "absolute form", b"GET http://localhost{get} HTTP/1.1\r\n" + H + END, (200,), "9112 3.2.2"
    )
    yield case(
        "OPTIONS-STAR", "OPTIONS *", b"OPTIONS * HTTP/1.1\r\n" + H + END, (200, 204, 405), "9110 9.3.7"
    )
    yield case(
        "OPTIONS",
        "OPTIONS of an endpoint",
        b"OPTIONS {get} HTTP/1.1\r\n" + H + END,
        (200, 204, 405),
        "9110 9.3.7",
    )
    yield case("TRACE", "TRACE", b"TRACE {get} HTTP/1.1\r\n" + H + END, (405, 501), "9110 9.3.8")
    yield case("CONNECT", "CONNECT", b"CONNECT h:80 HTTP/1.1\r\n" + H + END, (400, 405, 501), "9110 9.3.6")
    yield case(
        "UNKNOWN-METHOD",
        "a method nobody knows",
        b"BREW {get} HTTP/1.1\r\n" + H + END,
        (400, 405, 501),
        "9110 9.1",
    )
    yield case(
        "LOWER-METHOD",
        "a method in lower case",
        b"get {get} HTTP/1.1\r\n" + H + END,
        (400, 405, 501),
        "9110 9.1",
    )
    yield case(
        "HEAD", "HEAD has no body", b"HEAD {get} HTTP/1.1\r\n" + H + END + NEXT, (200,), "9110 9.3.2", 2
    )
    yield case(
        "405",
        "a method that the endpoint has not",
        b"DELETE {get} HTTP/1.1\r\n" + H + END,
        (405,),
        "9110 15.5.6",
    )
    for name, version in (
        ("0.9", b""), ("1.2", b" HTTP/1.2"), ("2.0", b" HTTP/2.0"), ("9.1", b" HTTP/9.1"), ("1.10", b" HTTP/1.10"),
        ("LOWER", b" http/1.1"), ("BARE", b" HTTP/1"), ("WORD", b" HTTX/1.1"),
    ):  # fmt: skip
        right = (400, 505, 200) if name == "1.2" else (400, 505)
        yield case(
            f"VERSION-{name}",
            f"`GET /{version.decode()}`",
            b"GET {get}" + version + END + H + END,
            right,
            "9112 2.3",
        )
    yield case(
        "EXPECT",
        "100-continue is answered",
        POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n" + FIVE,
        TAKEN,
        "9110 10.1.1",
    )
    yield case(
        "EXPECT-UNKNOWN",
        "another expectation",
        POST + b"Content-Length: 5\r\nExpect: tea\r\n\r\n" + FIVE,
        (417,),
        "9110 10.1.1",
    )
    upgrade = b"Upgrade: h2c\r\nConnection: %b\r\n\r\n"
    yield case("UPGRADE", "an upgrade that is not taken", GET + H + upgrade % b"upgrade", (200,), "9110 7.8")
    yield case(
        "UPGRADE-CLOSE", "likewise, as the last", GET + H + upgrade % b"close, upgrade", (200,), "9110 7.8"
    )
    yield case("UPGRADE-1.0", "likewise, of HTTP/1.0", old + H + upgrade % b"upgrade", (200,), "9110 7.8")
    yield case(
        "WEBSOCKET",
        "a websocket that is not offered",
        GET
        + H
        + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        (200, 426),
        "6455 4.2",
    )
    yield case(
        "TRAILERS",
        "a chunked body with trailers",
        CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        TAKEN,
        "9112 7.1.2",
    )
    yield case(
        "CHUNK-EXTENSION",
        "a chunk with an extension",
        CHUNKED + b"5;a=b\r\nhello\r\n0\r\n\r\n",
        TAKEN,
        "9112 7.1.1",
    )
    yield case(
        "GET-BODY",
        "the body of a GET is not the next request",
        GET + H + b"Content-Length: 5\r\n\r\nhello" + NEXT,
        (200,),
        "9110 9.3.1",
        2,
    )


def _smuggling() -> Iterator[Case]:
    def case(
        name: str, what: str, wire: bytes, source: str = "9112 6.3", right: tuple[int, ...] = BAD
    ) -> Case:
        return Case(f"SMUG-{name}", what, wire + NEXT, right, source)

    length = b"Content-Length: 5\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n"
    ended = b"0\r\n\r\n"
    yield case("CL-TE", "a length, then chunked", POST + length + chunked + END + ended, "9112 6.1")
    yield case("TE-CL", "chunked, then a length", POST + chunked + length + END + ended, "9112 6.1")
    yield case("CL-TWICE", "two lengths", POST + length + b"Content-Length: 6\r\n\r\nhello")
    yield case("CL-SAME-TWICE", "the same length twice", POST + length + length + END + FIVE)
    for name, text in (
        ("LIST", b"5, 5"), ("PLUS", b"+5"), ("MINUS", b"-5"), ("HEX", b"0x5"), ("WORD", b"five"), ("EMPTY", b""),
        ("UNDERSCORE", b"0_5"), ("POINT", b"5.0"), ("INNER-BLANK", b"5 5"), ("OVERFLOW", b"9" * 30),
        ("LATIN", b"\xb5"),
    ):  # fmt: skip
        yield case(
            f"CL-{name}",
            f"Content-Length: {text.decode('latin-1')}",
            POST + b"Content-Length: %b\r\n\r\nhello" % text,
            "9110 8.6",
        )
    for name, text in (
        ("IDENTITY", b"identity"), ("GZIP", b"gzip"), ("NOT-LAST", b"chunked, gzip"), ("TWICE", b"chunked, chunked"),
        ("PREFIX", b"xchunked"), ("SUFFIX", b"chunked1"), ("QUOTED", b'"chunked"'), ("VT", b"\x0bchunked"),
        ("EMPTY", b""), ("COMMA", b",chunked,"), ("PARAMETER", b"chunked;a=b"),
        ("GZIP-CHUNKED", b"gzip, chunked"), ("IDENTITY-CHUNKED", b"identity, chunked"),
    ):  # fmt: skip
        right = (400, 501)
        yield case(
            f"TE-{name}",
            f"Transfer-Encoding: {text.decode('latin-1')!a}",
            POST + b"Transfer-Encoding: %b\r\n\r\n" % text + ended,
            "9112 6.1",
            right,
        )
    yield case(
        "TE-GZIP-THEN-CHUNKED",
        "gzip and chunked, in two lines",
        POST + b"Transfer-Encoding: gzip\r\n" + chunked + END + ended,
        "9112 6.1",
        (400, 501),
    )
    yield case(
        "TE-TWO-LINES", "chunked in two lines", POST + chunked + chunked + END + ended, "9112 6.1", (400, 501)
    )
    yield case(
        "TE-BLANK-COLON",
        "a blank before the colon",
        POST + b"Transfer-Encoding : chunked\r\n\r\n" + ended,
        "9112 5.1",
    )
    yield Case(
        "SMUG-TE-UNDERSCORE",
        "Transfer_Encoding is another header",
        POST + b"Transfer_Encoding: chunked\r\n" + length + b"\r\nhello" + NEXT,
        TAKEN,
        "9112 5.1",
        2,
    )
    yield case(
        "TE-1.0", "chunked in HTTP/1.0", b"POST {path} HTTP/1.0\r\n" + H + chunked + END + ended, "9112 6.1"
    )
    for name, chunk in (
        ("HEX-PREFIX", b"0x5\r\nhello\r\n"), ("MINUS", b"-5\r\nhello\r\n"), ("PLUS", b"+5\r\nhello\r\n"),
        ("UNDERSCORE", b"0_5\r\nhello\r\n"), ("LEADING-BLANK", b" 5\r\nhello\r\n"), ("TRAILING-BLANK", b"5 \r\nhello\r\n"),
        ("OVERFLOW", b"fffffffffffffffff\r\nhello\r\n"), ("EMPTY-SIZE", b"\r\nhello\r\n"), ("WORD", b"g\r\nhello\r\n"),
        ("LF-SIZE", b"5\nhello\r\n"), ("LF-DATA", b"5\r\nhello\n"), ("CR-DATA", b"5\r\nhello\r"),
        ("TOO-LONG", b"5\r\nhelloo\r\n"), ("NO-CRLF", b"5\r\nhello"), ("LF-EXTENSION", b"5;a\nb\r\nhello\r\n"),
        ("CR-EXTENSION", b"5;a\rb\r\nhello\r\n"), ("NUL-EXTENSION", b"5;a\0\r\nhello\r\n"), ("BARE-SEMICOLON", b"5;\r\nhello\r\n"),
    ):  # fmt: skip
        right = TAKEN if name == "BARE-SEMICOLON" else BAD
        what = f"the chunk {chunk!a}"[:60]
        yield case(f"CHUNK-{name}", what, CHUNKED + chunk + ended, "9112 7.1", right)
    yield case(
        "TRAILER-CL",
        "a length as a trailer",
        CHUNKED + b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
        "9110 6.5.1",
        TAKEN,
    )
    yield case(
        "TRAILER-LF", "a trailer ended by bare LF", CHUNKED + b"5\r\nhello\r\n0\r\nX: y\n\r\n", "9112 7.1.2"
    )
    yield case("LAST-LF", "the last chunk ended by bare LF", CHUNKED + b"5\r\nhello\r\n0\n\n", "9112 7.1")
    yield case(
        "AUTHORIZATION-TWICE",
        "two Authorization",
        GET + H + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
        "9110 11.6.2",
    )
    yield case(
        "LF-CL", "a length behind a bare LF", POST + b"X: y\nContent-Length: 5\r\n\r\nhello", "9112 2.2"
    )


def _malformed() -> Iterator[Case]:
    def case(
        name: str, what: str, wire: bytes, right: tuple[int, ...] = BAD, source: str = "9112 2.2"
    ) -> Case:
        return Case(f"MAL-{name}", what, wire, right, source)

    yield case("BINARY", "bytes that are no text", b"\x00\x01\x02\xff" * 20 + END + END)
    yield case("TLS", "a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64))
    yield case("HTTP2", "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 405, 505))
    yield case("NUL-LINE", "a NUL in the request line", b"GET {get}\0 HTTP/1.1\r\n" + H + END)
    yield case("NUL-NAME", "a NUL in a header's name", GET + H + b"X\0: y\r\n\r\n", source="9110 5.5")
    yield case("NUL-VALUE", "a NUL in a header's value", GET + H + b"X: a\0b\r\n\r\n", source="9110 5.5")
    yield case(
        "CONTROL-VALUE", "a control in a header's value", GET + H + b"X: a\x01b\r\n\r\n", source="9110 5.5"
    )
    yield case("DEL-VALUE", "DEL in a header's value", GET + H + b"X: a\x7fb\r\n\r\n", source="9110 5.5")
    yield case(
        "CONTROL-NAME", "a control in a header's name", GET + H + b"X\x01: y\r\n\r\n", source="9110 5.1"
    )
    yield case(
        "NON-ASCII-NAME",
        "a header's name that is not ASCII",
        GET + H + b"X\xe9: y\r\n\r\n",
        source="9110 5.1",
    )
    yield case(
        "NON-ASCII-PATH",
        "a path that is not ASCII",
        b"GET {get}\xc3\xa9 HTTP/1.1\r\n" + H + END,
        (400, 404),
        "9112 3.2",
    )
    yield case("NON-ASCII-METHOD", "a method that is not ASCII", b"G\xc3\x89T {get} HTTP/1.1\r\n" + H + END)
    yield case(
        "LONG-METHOD", "a method of 100 kB", b"G" * 100_000 + b" / HTTP/1.1\r\n" + H + END, (400, 431, 501)
    )
    yield case(
        "LONG-PATH",
        "a path of 100 kB",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + H + END,
        (400, 414, 431),
    )
    yield case(
        "LONG-NAME", "a header's name of 100 kB", GET + H + b"X" * 100_000 + b": y\r\n\r\n", (400, 431)
    )
    yield case(
        "LONG-VALUE",
        "a header's value of 100 kB",
        GET + H + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        (400, 431),
    )
    yield case("MANY-HEADERS", "20,000 headers", GET + H + b"X: y\r\n" * 20_000 + END, (400, 431))
    yield case(
        "HUGE-CL",
        "a length of 99,999,999,999",
        POST + b"Content-Length: 99999999999\r\n\r\n",
        (413,),
        "9110 15.5.14",
    )
    yield case(
        "PERCENT", "a broken percent-encoding", b"GET /%zz HTTP/1.1\r\n" + H + END, (400, 404), "3986 2.1"
    )
    yield case(
        "ENCODED-NUL",
        "an encoded NUL in the path",
        b"GET /%00 HTTP/1.1\r\n" + H + END,
        (400, 404),
        "3986 2.1",
    )
    yield case("EMPTY", "nothing, and then the end", b"", (CLOSES,))
    yield case("HALF", "half a request, and then the end", GET[:10], (400, CLOSES))
    yield case("ONLY-LINES", "a thousand empty lines, and then the end", END * 1000, (CLOSES, 400))


CASES = (*_compliance(), *_smuggling(), *_malformed())
