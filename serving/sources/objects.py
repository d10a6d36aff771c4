"""Models in an object store: S3, Google Cloud Storage, Azure Blob Storage, and what speaks as they do.

Keys, regions and doors come from the usual environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`), which obstore reads;
none of it is in what is raised, since only the kind of an error and no URL of it is told.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, Final

from serving.errors import InvalidInput, ServingError
from serving.models.files.config import parse_config
from serving.models.files.repository import (
    CONFIG_FILE,
    DEFINITIONS,
    MODEL_FILE,
    TRITON_FILE,
    available_providers,
)
from serving.sources.remote import Away, Changed, RemoteFile

BESIDE: Final = (CONFIG_FILE, TRITON_FILE, "profile.json")
"""What belongs to a model and lies beside its versions, other than what its configuration warms it with."""
CONNECT_SECONDS: Final = 1.0
ASK_SECONDS: Final = 2.0
"""For one page of a listing: a store that hangs costs a start no more than that."""
STALL_SECONDS: Final = 15.0
"""Without a byte, after which a download is taken up anew."""
PIECE_BYTES: Final = 1 << 20

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
_GONE: Final = {"PreconditionError", "NotFoundError", "FileNotFoundError"}
_ANOTHER: Final = "the file is another one by now"
_MD5: Final = re.compile(r'"?([0-9a-f]{32})"?')


Table = Sequence[tuple[tuple[str, ...], str]]
"""Signs in the text of an error, and what is told of it."""


class ObjectRemote:
    """A bucket, or what lies under a prefix in it; a `serving.sources.remote.Remote`.

    Args:
        url: as `serving.places` takes it.
        store: of obstore, for tests; else that of the URL.

    Raises:
        InvalidInput: obstore is not installed, or the environment says what cannot be.
    """

    def __init__(self, url: str, store: Any = None) -> None:
        self.url = url
        self.problems: tuple[str, ...] = ()
        self._asking = store or open_store(url, {"timeout": timedelta(seconds=ASK_SECONDS)})
        reading = {"timeout": timedelta(days=1), "read_timeout": timedelta(seconds=STALL_SECONDS)}
        self._reading = store or open_store(url, reading)
        self._warmups: dict[str, str | None] = {}  # by the tag of a configuration

    def models(self) -> tuple[tuple[str, str], ...]:
        """As `Remote`."""
        parts = [meta["path"].split("/") for meta in self._listed(None)]
        begun = {(part[0], part[1]) for part in parts if len(part) > 2 and part[1].isdecimal()}
        there = {(part[0], part[1]) for part in parts if len(part) == 3 and part[2] in DEFINITIONS}
        self.problems = tuple(
            f"{name}/{version}: no {MODEL_FILE} in it yet" for name, version in sorted(begun - there)
        )
        return tuple(sorted(there))

    def files(self, name: str, version: str) -> tuple[RemoteFile, ...]:
        """As `Remote`."""
        found = {meta["path"]: self._file(meta) for meta in self._listed(f"{name}/")}
        own = [file for path, file in found.items() if path.startswith(f"{name}/{version}/")]
        if not own:
            return ()
        beside = {f"{name}/{file}" for file in BESIDE} & found.keys()
        config = found.get(f"{name}/{CONFIG_FILE}")
        if config is not None:
            beside |= {f"{name}/{self._warmup(config)}"} & found.keys()
        return tuple(sorted([*own, *(found[path] for path in beside)], key=lambda file: file.path))

    def read(self, file: RemoteFile, start: int = 0) -> Iterator[bytes]:
        """As `Remote`."""
        import obstore  # noqa: PLC0415  (as in `open_store`)

        options: Any = {"range": {"offset": start}} if start else {}
        if file.tag.startswith("etag "):
            options["if_match"] = f'"{_bare(file.tag)}"'  # as HTTP has it; not each list does
        with self._in_words():
            answer = obstore.get(self._reading, file.place, options=options)
            said = answer.meta["e_tag"]
            if said and "if_match" in options and _bare(said) != _bare(file.tag):  # not each minds If-Match
                raise Changed(f"{self.url}: {_ANOTHER}")
            for piece in answer.stream(PIECE_BYTES):
                yield bytes(piece)

    def _listed(self, prefix: str | None) -> Iterator[Any]:
        import obstore  # noqa: PLC0415  (as in `open_store`)

        with self._in_words():
            for batch in obstore.list(self._asking, prefix, chunk_size=1000):
                yield from batch

    def _file(self, meta: Any) -> RemoteFile:
        tag = f"etag {meta['e_tag']}" if meta["e_tag"] else f"time {meta['last_modified'].isoformat()}"
        md5 = _MD5.fullmatch(meta["e_tag"] or "") if self.url.startswith("s3://") else None
        put_at = meta["last_modified"].timestamp()
        return RemoteFile(meta["path"], meta["size"], tag, meta["path"], md5[1] if md5 else "", put_at)

    def _warmup(self, config: RemoteFile) -> str | None:
        """What a configuration names to warm its model with; one that is wrong is for others to refuse."""
        if config.tag not in self._warmups:
            content = b"".join(self.read(config))
            self._warmups[config.tag] = None
            with suppress(ServingError):
                self._warmups[config.tag] = parse_config(content, config.path, available_providers).warmup
        warmup = self._warmups[config.tag]
        return None if warmup is None else str(PurePosixPath(warmup))

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """What obstore raises, as `Away`."""
        from obstore.exceptions import BaseError  # noqa: PLC0415  (as in `open_store`)

        try:
            yield
        except (BaseError, OSError) as error:
            gone = type(error).__name__ in _GONE
            raise (Changed if gone else Away)(f"{self.url}: {in_words(error)}") from None
        except BaseException as error:
            if type(error).__name__ != _PANIC:
                raise
            raise Away(f"{self.url}: {in_words(error)}") from None


def _bare(tag: str) -> str:
    """An ETag, or the tag that a file is listed with, without quotation marks: some lists have none."""
    return tag.removeprefix("etag ").removeprefix("W/").strip('"')


def open_store(url: str, client: dict[str, Any]) -> Any:
    """The obstore of a URL.

    Args:
        url: as `serving.places` takes it.
        client: options of its client of HTTP.

    Raises:
        InvalidInput: as `ObjectRemote`.
    """
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415  (an extra)
        from obstore.store import from_url  # noqa: PLC0415
    except ImportError:
        raise InvalidInput(f"{url} needs obstore: pip install 'understudy[objects]'") from None
    _check_doors(url)
    options: Any = {**_of_environment(url), "connect_timeout": timedelta(seconds=CONNECT_SECONDS), **client}
    retries: Any = {"max_retries": 1, "retry_timeout": timedelta(seconds=ASK_SECONDS)}
    try:
        return from_url(url, client_options=options, retry_config=retries)
    except (BaseError, ValueError) as error:
        raise InvalidInput(f"{url}: {_first(_AT_OPENING, str(error), _CANNOT_BE)}") from None


def _check_doors(url: str) -> None:
    """Refuse a door that is no URL of the web: obstore would break down over some of them, later.

    Raises:
        InvalidInput: the environment names one.
    """
    for name in _DOORS[url.partition("://")[0]]:
        door = os.environ.get(name)
        if door and not _DOOR.match(door):
            raise InvalidInput(f"{url}: {name} in the environment is no http:// or https:// URL")


def _of_environment(url: str) -> dict[str, Any]:
    """What the environment says of the client of HTTP, which obstore leaves out where any option is given."""
    prefix = _PREFIXES[url.partition("://")[0]]
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
            return _ANOTHER
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
