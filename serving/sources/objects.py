"""Models in an object store: S3, Google Cloud Storage, Azure Blob Storage, and what speaks as they do.

Keys, regions and doors come from the usual environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`), which obstore reads;
none of it is in what is raised: see `serving.sources.buckets`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, Final

from serving.errors import ServingError
from serving.models.files.config import parse_config
from serving.models.files.repository import (
    CONFIG_FILE,
    DEFINITIONS,
    MODEL_FILE,
    TRITON_FILE,
    available_providers,
)
from serving.sources.buckets import ANOTHER, ASK_SECONDS, in_words, of_store, open_store
from serving.sources.remote import Away, Changed, RemoteFile

BESIDE: Final = (CONFIG_FILE, TRITON_FILE, "profile.json")
"""What belongs to a model and lies beside its versions, other than what its configuration warms it with."""
STALL_SECONDS: Final = 15.0
"""Without a byte, after which a download is taken up anew."""
PIECE_BYTES: Final = 1 << 20

_GONE: Final = {"PreconditionError", "NotFoundError", "FileNotFoundError"}
_MD5: Final = re.compile(r'"?([0-9a-f]{32})"?')


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
                raise Changed(f"{self.url}: {ANOTHER}")
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
        try:
            yield
        except BaseException as error:
            if not of_store(error):
                raise
            gone = type(error).__name__ in _GONE
            raise (Changed if gone else Away)(f"{self.url}: {in_words(error)}") from None


def _bare(tag: str) -> str:
    """An ETag, or the tag that a file is listed with, without quotation marks: some lists have none."""
    return tag.removeprefix("etag ").removeprefix("W/").strip('"')
