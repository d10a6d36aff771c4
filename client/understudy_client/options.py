"""What a client is told when it is made, checked; and what each request has of it."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from understudy_client.calls import REQUEST_ID, TARGET
from understudy_client.errors import InvalidData

CONNECT_SECONDS = 5.0
"""For a connection; less where less is left of the call."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[^\0-\x08\x0a-\x1f\x7f]*")
_REQUEST_ID = re.compile(r"[ -~]{1,128}")


@dataclass(frozen=True, slots=True)
class Options:
    """Of both clients; `BaseClient` says what each is."""

    url: str
    api_key: str | None = field(repr=False)
    sticky: str | None
    timeout: float
    retries: int
    verify: bool | str | Path | ssl.SSLContext
    connections: int
    headers: Mapping[str, str] = field(repr=False)
    trust_env: bool

    def __post_init__(self) -> None:
        try:
            parsed = httpx.URL(self.url)
        except (httpx.InvalidURL, TypeError) as error:
            raise InvalidData(f"url: {error}") from None
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise InvalidData(f"url: expected such as http://localhost:8000, got {self.url!r}")
        if self.timeout <= 0 or self.retries < 0 or self.connections < 1:
            raise InvalidData("timeout and connections have to be positive, retries at least 0")
        if self.sticky is not None and _HEADER_NAME.fullmatch(self.sticky) is None:
            raise InvalidData(f"sticky: {self.sticky!r} is no name of a header")
        _checked(self.headers)

    def of_httpx(self) -> dict[str, Any]:
        """The arguments of httpx's clients."""
        headers = _checked({"user-agent": "understudy-client", **self.headers})
        if self.api_key is not None:
            headers |= _checked({"authorization": f"Bearer {self.api_key}"}, secret=True)
        return {
            "base_url": self.url,
            "headers": headers,
            "verify": _trust(self.verify),
            "limits": httpx.Limits(
                max_connections=self.connections, max_keepalive_connections=self.connections
            ),
            "trust_env": self.trust_env,
            "follow_redirects": False,
        }

    def of_request(
        self, target: str | None, key: str | None, request_id: str | None, headers: Mapping[str, str] | None
    ) -> dict[bytes, bytes]:
        """The headers of an inference request.

        Raises:
            InvalidData: one of them cannot be a header, or there is a key and no header for it.
        """
        found = dict(headers or {})
        if target is not None:
            found[TARGET] = target
        if key is not None:
            if self.sticky is None:
                text = 'a key goes into the sticky header of the rollout: Client(url, sticky="x-user-id")'
                raise InvalidData(text)
            found[self.sticky] = key
        if request_id is not None:
            if _REQUEST_ID.fullmatch(request_id) is None:
                raise InvalidData("request_id: expected 1 to 128 printable characters of ASCII")
            found[REQUEST_ID] = request_id
        return _checked(found)


def _checked(headers: Mapping[str, str], *, secret: bool = False) -> dict[bytes, bytes]:
    """As bytes: names of users are UTF-8, as they are where outcomes are told by user."""
    for name, text in headers.items():
        if _HEADER_NAME.fullmatch(name) is None:
            raise InvalidData(f"{name!r} is no name of a header")
        if not isinstance(text, str) or _HEADER_VALUE.fullmatch(text) is None:
            shown = "it" if secret else repr(text)
            raise InvalidData(f"header {name!r}: {shown} cannot be sent in a header; encode it first")
    return {name.encode(): text.encode() for name, text in headers.items()}


def _trust(verify: bool | str | Path | ssl.SSLContext) -> bool | ssl.SSLContext:  # noqa: FBT001  (httpx's argument)
    if isinstance(verify, str | Path):
        return ssl.create_default_context(cafile=verify)
    return verify


def timeouts(seconds: float) -> httpx.Timeout:
    """Of one attempt, for which so many seconds are left."""
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
