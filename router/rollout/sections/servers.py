"""Reading and writing how the server behind a URL is asked, and the table of its fields. Pure.

Law: a document names no path and no secret. Files are names in one folder that the node's operator chose, and
variables have a prefix, so that whoever may write documents cannot have a node send other secrets anywhere.
"""

import re
from collections.abc import Mapping
from typing import Any

from router.rollout import kinds
from router.rollout.kinds import Shape, duration_text
from router.rollout.reading import Readers, fields, without_none
from router.rollout.table import NAME, UNSET, Field, Refused, Section, below, default_of, sample, section
from router.rollout.values import AS_USUAL, Bearer, ClientTls, Ejection, Health, Server
from serving.document import Node

_NOT_TO_BE_SAID = {
    "authorization": "say `bearer`, which keeps the secret out of the document",
    "proxy-authorization": "say `bearer`, which keeps the secret out of the document",
    "cookie": "it would be a secret in a document that many may read: say `bearer`",
    "host": "it is that of the URL",
    "traceparent": "it is the request's own",
    "tracestate": "it is the request's own",
    "x-request-id": "it is the request's own",
    **dict.fromkeys(
        (
            "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect",
            "inference-header-content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
        ),
        "it belongs to the hop itself",
    ),
}  # fmt: skip


def parse_server(node: Node) -> Server:
    """How a server is asked.

    Raises:
        DocumentError: it cannot be asked so.
    """
    return Server(**fields(node, [], _SERVER))


def server_to_document(server: Server) -> dict[str, Any]:
    """As documents have it."""
    health, eject, tls = server.health, server.eject, server.tls
    timeout, bearer = server.timeout_seconds, server.bearer
    return without_none(
        name=server.name or None,
        version=server.version or None,
        timeout=None if timeout is None else duration_text(timeout),
        connect=duration_text(server.connect_seconds),
        connections=server.connections,
        keepAlive=duration_text(server.keep_alive_seconds),
        headers=dict(server.headers) or None,
        bearer=None if bearer is None else _said(env=bearer.env, file=bearer.file),
        tls=_said(ca=tls.ca, certificate=tls.certificate, key=tls.key, name=tls.name) or None,
        health={
            "interval": duration_text(health.interval_seconds),
            "timeout": duration_text(health.timeout_seconds),
            "failures": health.failures,
        },
        eject={"after": eject.after, "longest": duration_text(eject.longest_seconds)},
    )


def check_url(server: Server, url: str | None, entries: Mapping[str, Node]) -> None:
    """Refuse what a URL has no use for.

    Args:
        server: how it is asked.
        url: of the target; None where it is here.
        entries: of the target's mapping.

    Raises:
        DocumentError: there is no URL, or it is not HTTPS and there are certificates.
    """
    if "server" not in entries:
        return
    if url is None:
        entries["server"].fail("it says how the server of a `url` is asked, and there is none: say that, too")
    if server.tls != AS_USUAL.tls and not url.startswith("https://"):
        entries["server"].entries()["tls"].fail(
            "the URL is http://, where nothing is encrypted: say https://"
        )


def _said(**entries: str) -> dict[str, str]:
    return {key: entry for key, entry in entries.items() if entry}


def _matching(kind: kinds.Matching, remedy: str) -> Any:
    """Reads text of a form."""
    pattern = re.compile(kind.pattern)

    def read(node: Node) -> str:
        text = node.string()
        if not pattern.fullmatch(text):
            node.fail(f"expected {kind.words}{remedy}, got {text[:140]!r}")
        return text

    return read


def _headers(node: Node) -> tuple[tuple[str, str], ...]:
    entries = node.entries()
    if len(entries) > kinds.EXTRA_HEADERS:
        node.fail(f"more than {kinds.EXTRA_HEADERS} headers")
    found: dict[str, str] = {}
    for name, value in entries.items():
        lower = name.lower()
        if not re.fullmatch(kinds.HEADER.pattern, name):
            value.fail(f"{name[:140]!r} is no name of a header")
        if lower in _NOT_TO_BE_SAID:
            value.fail(f"{lower} cannot be said here: {_NOT_TO_BE_SAID[lower]}")
        if lower in found:
            value.fail(f"{lower} is said already, in other letters")
        found[lower] = _header_value(value)
    return tuple(found.items())


def _bearer(node: Node) -> Bearer:
    found = fields(node, [], {"env": ("env", _variable), "file": ("file", _file)})
    if len(found) != 1:
        node.fail("expected {env: NAME} or {file: NAME}, one of both")
    return Bearer(**found)


def _tls(node: Node) -> ClientTls:
    readers: Readers = {
        "ca": ("ca", _file),
        "certificate": ("certificate", _file),
        "key": ("key", _file),
        "name": ("name", _server_name),
    }
    found = fields(node, [], readers)
    if ("certificate" in found) != ("key" in found):
        node.fail("a certificate and its key belong together: say both, or neither")
    return ClientTls(**found)


def _health(node: Node) -> Health:
    readers: Readers = {
        "interval": ("interval_seconds", kinds.PROBE_INTERVAL.read),
        "timeout": ("timeout_seconds", kinds.PROBE_TIMEOUT.read),
        "failures": ("failures", kinds.FAILURES.read),
    }
    return Health(**fields(node, [], readers))


def _eject(node: Node) -> Ejection:
    readers: Readers = {
        "after": ("after", kinds.FAILURES.read),
        "longest": ("longest_seconds", kinds.EJECTION.read),
    }
    return Ejection(**fields(node, [], readers))


_file = _matching(kinds.FILE, ", which lies in the folder of --target-files, without a path")
_variable = _matching(kinds.VARIABLE, ", so that no document can ask for another secret of a node")
_header_value = _matching(kinds.HEADER_VALUE, "")
_server_name = _matching(kinds.SERVER_NAME, "")
_SERVER: Readers = {
    "name": ("name", _matching(kinds.NAME, "")),
    "version": ("version", _matching(kinds.THEIR_VERSION, "")),
    "timeout": ("timeout_seconds", kinds.TIMEOUT.read),
    "connect": ("connect_seconds", kinds.CONNECT.read),
    "connections": ("connections", kinds.CONNECTIONS.read),
    "keepAlive": ("keep_alive_seconds", kinds.KEEP_ALIVE.read),
    "headers": ("headers", _headers),
    "bearer": ("bearer", _bearer),
    "tls": ("tls", _tls),
    "health": ("health", _health),
    "eject": ("eject", _eject),
}

_URL = "https://triton:8000"


def _within(**server: Any) -> dict[str, Any]:
    """A file whose stable is asked so."""
    return sample(stable={"model": "digits/1", "url": _URL, "server": {"name": "digits-prod", **server}})


_PLACE = (NAME, "stable", "server")
SECTIONS = (
    Section(
        "server",
        "server",
        "How the server of a `url` is asked; all of it may be changed while it serves. See [the server that"
        " you have](../migration/your-server.md).",
        _PLACE,
        _within(),
        [
            Field("name", kinds.NAME, UNSET, "digits-prod", "a b", "its name there; left out, as here"),
            Field(
                "version",
                kinds.THEIR_VERSION,
                UNSET,
                "v0.1.0",
                3,
                "its version there, as text; `none` where it is asked for without one; left out, as here, and"
                " without one where the server has none of that",
            ),
            Field(
                "timeout",
                kinds.TIMEOUT,
                UNSET,
                "250ms",
                1,
                "time of one request there, connecting included; the rollout's `timeout` holds in any case",
            ),
            Field(
                "connect",
                kinds.CONNECT,
                default_of(Server, "connect_seconds"),
                "200ms",
                "0s",
                "time for a connection to be made, TLS included",
            ),
            Field(
                "connections",
                kinds.CONNECTIONS,
                default_of(Server, "connections"),
                8,
                0,
                "open at a time from each worker; four times as many requests wait, the next is refused",
            ),
            Field(
                "keepAlive",
                kinds.KEEP_ALIVE,
                default_of(Server, "keep_alive_seconds"),
                "30s",
                "a while",
                "an idle connection is closed after this; less than the server's own keep-alive",
            ),
            Field(
                "headers",
                Shape(
                    f"a mapping of at most {kinds.EXTRA_HEADERS} names to values",
                    {
                        "type": "object",
                        "maxProperties": kinds.EXTRA_HEADERS,
                        "propertyNames": {"pattern": kinds.HEADER.schema["pattern"]},
                        "additionalProperties": kinds.HEADER_VALUE.schema,
                    },
                ),
                {},
                {"x-tenant": "fraud"},
                {"x-tenant": ""},
                "sent with each request and each question about health; no secrets, which `bearer` is for",
            ),
            Field("bearer", below("bearer"), UNSET, {"file": "triton.token"}, "s3cret", "where a token is"),
            Field("tls", below("tls"), UNSET, {"ca": "our-ca.pem"}, True, "certificates, of an https URL"),
            Field("health", below("health"), {}, {"interval": "5s"}, "5s", "when it counts as ready"),
            Field("eject", below("eject"), {}, {"after": 3}, 3, "when it gets no requests for a while"),
        ],
    ),
    Section(
        "bearer",
        "bearer",
        "A token that each node has, sent as `authorization: Bearer`: one of the two. It is in no document,"
        " log or answer. A file is read again when it changes.",
        (*_PLACE, "bearer"),
        _within(bearer={"file": "triton.token"}),
        [
            Field(
                "env", kinds.VARIABLE, UNSET, "UNDERSTUDY_TARGET_TRITON", "AWS_SECRET_ACCESS_KEY",
                "an environment variable of the node",
            ),
            Field("file", kinds.FILE, UNSET, "triton.token", "/etc/token", "a file of its `--target-files`"),
        ],
        one_of=True,
        rules={"minProperties": 1, "maxProperties": 1},
    ),
    Section(
        "tls",
        "tls",
        "Files are names in the folder of the node's `--target-files`, PEM, read again when they change.",
        (*_PLACE, "tls"),
        _within(tls={}),
        [
            Field("ca", kinds.FILE, UNSET, "our-ca.pem", "../ca.pem", "who signs; left out, the system's"),
            Field(
                "certificate", kinds.FILE, UNSET, "us.pem", "a/us.pem", "shown to the server",
                beside={"key": "us.key"},
            ),
            Field(
                "key", kinds.FILE, UNSET, "us.key", "", "of the certificate", beside={"certificate": "us.pem"}
            ),
            Field(
                "name",
                kinds.SERVER_NAME,
                UNSET,
                "triton.internal",
                "a b",
                "for which the server's certificate has to be; left out, the host of the URL",
            ),
        ],
        rules={"dependentRequired": {"certificate": ["key"], "key": ["certificate"]}},
    ),
    Section(
        "health",
        "health",
        "`GET /v2/models/{name}/versions/{version}/ready`, which every server of the protocol has.",
        (*_PLACE, "health"),
        _within(health={}),
        [
            Field(
                "interval",
                kinds.PROBE_INTERVAL,
                default_of(Health, "interval_seconds"),
                "5s",
                "5",
                "between two questions",
            ),
            Field(
                "timeout",
                kinds.PROBE_TIMEOUT,
                default_of(Health, "timeout_seconds"),
                "500ms",
                "2",
                "of each of them",
            ),
            Field(
                "failures",
                kinds.FAILURES,
                default_of(Health, "failures"),
                3,
                0,
                "in a row, after which a model that was ready is not",
            ),
        ],
    ),
    Section(
        "eject",
        "eject",
        "A server that fails requests gets none for 1 s, and twice as long each time that a single request"
        " finds it failing still.",
        (*_PLACE, "eject"),
        _within(eject={}),
        [
            Field("after", kinds.FAILURES, default_of(Ejection, "after"), 3, 0, "so many failures in a row"),
            Field(
                "longest",
                kinds.EJECTION,
                default_of(Ejection, "longest_seconds"),
                "10s",
                "10ms",
                "the most that it waits between two tries",
            ),
        ],
    ),
)  # fmt: skip
SERVER = Field(
    "server",
    Shape("a mapping, see [server](#server)", section("server")),
    UNSET,
    {"name": "digits-prod", "version": "3"},
    "triton",
    "how that server is asked: names, times, connections, credentials, TLS",
    beside={"url": _URL},
)
RULES = {"dependentRequired": {"server": ["url"]}}
"""Of a target."""
REFUSED = (
    Refused("a server has a URL", sample(stable={"model": "digits/1", "server": {"connections": 8}})),
    Refused("a bearer is one", _within(bearer={"env": "UNDERSTUDY_TARGET_A", "file": "a"})),
    Refused("a certificate has a key", _within(tls={"certificate": "us.pem"})),
    Refused(
        "certificates are for https",
        sample(stable={"model": "digits/1", "url": "http://h", "server": {"tls": {"ca": "ca.pem"}}}),
        beyond=True,
    ),
    Refused("a secret is no header", _within(headers={"Authorization": "Bearer abc"}), beyond=True),
)
