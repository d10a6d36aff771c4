"""How an object store is opened, and why it does not do what it is asked, in words.

Keys, regions and doors come from the usual environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`), which obstore reads;
none of it is in what is raised, since only the kind of an error and no URL of it is told.
"""

import os
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from serving.errors import InvalidInput

CONNECT_SECONDS: Final = 1.0
ASK_SECONDS: Final = 2.0
"""For one page of a listing: a store that hangs costs a start no more than that."""
ANOTHER: Final = "the file is another one by now"

_PREFIXES: Final = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_DOORS: Final = {
    "s3": ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT"),
}
_DOOR: Final = re.compile(r"https?://[^/\s]+", re.IGNORECASE)
_PANIC: Final = "PanicException"
"""What comes out of obstore where it breaks down; no `Exception`, so nobody else would catch it."""
_FLAGS: Final = ("allow_http", "allow_invalid_certificates")

Table = Sequence[tuple[tuple[str, ...], str]]
"""Signs in the text of an error, and what is told of it."""


def open_store(url: str, client: dict[str, Any], retry_seconds: float = ASK_SECONDS) -> Any:
    """The obstore of a URL.

    Args:
        url: of an object store, with what of it the path names; `file://` for a folder.
        client: options of its client of HTTP.
        retry_seconds: for which a request that fails is made again.

    Raises:
        InvalidInput: obstore is not installed, or the environment says what cannot be.
    """
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415  (an extra)
        from obstore.store import from_url  # noqa: PLC0415
    except ImportError:
        raise InvalidInput(f"{url} needs obstore: pip install 'understudy[objects]'") from None
    settings: Any = {} if url.startswith("file://") else _settings(url, client, retry_seconds)
    try:
        return from_url(url, **settings)
    except (BaseError, ValueError) as error:
        raise InvalidInput(f"{url}: {_first(_AT_OPENING, str(error), _CANNOT_BE)}") from None


def _settings(url: str, client: dict[str, Any], retry_seconds: float) -> dict[str, Any]:
    """Of a store behind a URL, as obstore takes them."""
    _check_doors(url)
    connect = {"connect_timeout": timedelta(seconds=CONNECT_SECONDS)}
    retries = {"max_retries": 1, "retry_timeout": timedelta(seconds=retry_seconds)}
    return {"client_options": {**_of_environment(url), **connect, **client}, "retry_config": retries}


def of_store(error: BaseException) -> bool:
    """Whether it came out of obstore: what it raises, or that it broke down, which is no `Exception`."""
    from obstore.exceptions import BaseError  # noqa: PLC0415  (an extra)

    return isinstance(error, BaseError | OSError) or type(error).__name__ == _PANIC


def _check_doors(url: str) -> None:
    """Refuse a door that is no URL of the web: obstore would break down over some of them, later.

    Raises:
        InvalidInput: the environment names one.
    """
    for name in _DOORS.get(url.partition("://")[0], ()):
        door = os.environ.get(name)
        if door and not _DOOR.match(door):
            raise InvalidInput(f"{url}: {name} in the environment is no http:// or https:// URL")


def _of_environment(url: str) -> dict[str, Any]:
    """What the environment says of the client of HTTP, which obstore leaves out where any option is given."""
    prefix = _PREFIXES.get(url.partition("://")[0])
    given = {name: os.environ.get(f"{prefix}_{name.upper()}") for name in ("proxy_url", *_FLAGS)}
    return {
        name: value.lower() in {"1", "true", "yes", "on"} if name in _FLAGS else value
        for name, value in given.items()
        if value
    }


def in_words(error: BaseException) -> str:
    """Why a store does not do what it is asked, without anything of a URL or a header.

    The text of an error may hold a signed URL or what a server says of a key, so only its kind is told.
    """
    match type(error).__name__:
        case "PermissionDeniedError" | "UnauthenticatedError":
            return "it refuses the credentials of the environment"
        case "NotFoundError" | "FileNotFoundError":
            return "there is no such bucket or file, or it is gone"
        case "PreconditionError":
            return ANOTHER
        case "UnknownConfigurationKeyError" | "ValueError" | "InvalidPathError" | "PanicException":
            return _CANNOT_BE
    return _first(_TROUBLES, str(error), "it cannot be asked")


_NAMES: Final = re.compile(r"https?://[^\s,]+|retry_timeout")
"""What of an error's text says nothing of the trouble: models may be called anything."""
_CANNOT_BE: Final = "its URL, or what the environment says of it, cannot be"
_AT_OPENING: Final = (
    (("Account must be specified",), "AZURE_STORAGE_ACCOUNT_NAME is not in the environment"),
    (("Invalid Access Key",), "AZURE_STORAGE_ACCOUNT_KEY in the environment is no base64"),
    (("open service account", "OpenCredentials"), "the file of Google's credentials cannot be opened"),
    (("decode service account", "pem file"), "Google's credentials in the environment cannot be read"),
)
_TROUBLES: Final = (
    (("dns error", "failed to lookup"), "its host is not known"),
    (("onnection refused",), "the connection is refused"),
    (("imed out", "timeout", "TimedOut"), "it does not answer in time"),
    (("certificate", "tls", "TLS"), "its certificate is not accepted"),
    (
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "403 F"),
        "it refuses the credentials of the environment",
    ),
    (
        ("builder error",),
        "its door is not https://, and no ..._ALLOW_HTTP=true in the environment lets it be",
    ),
    (("onnection reset", "onnection closed", "IncompleteMessage", "end of file"), "the connection broke off"),
    (("169.254.169.254", "metadata", "credential"), "the environment has no credentials for it"),
)


def _first(table: Table, text: str, otherwise: str) -> str:
    """What the first row says of which a sign is in a text, names of files and places aside."""
    bare = _NAMES.sub("", text)
    return next((told for signs, told in table if any(sign in bare for sign in signs)), otherwise)
