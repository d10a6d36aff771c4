"""What an output was begun with, beside its parts: a job goes on with that, or not at all."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from serving.errors import Conflict, InvalidInput
from serving.host.whole_files import write_whole

MANIFEST: Final = "_manifest.json"
SUCCESS: Final = "_SUCCESS"
"""An empty file where all is done, as Hadoop's tools and Spark have it."""
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Input:
    """A file as it was when the job began.

    Args:
        file: where it is.
        bytes: its size.
        modified_ns: when it was last changed.
    """

    file: str
    bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> "Input":
        """A file as it is.

        Raises:
            InvalidInput: it cannot be read.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise InvalidInput(f"{path}: {error.strerror or error}") from None
        return cls(str(path.resolve()), found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What follows from it is the same whenever the job is killed.

    Args:
        input: the file.
        model: its `key` and `digest`.
        keep: columns of the input that the output has.
        canary: what is asked of it, `{}` without one.
        chunks: how many parts there will be.
        batch: the most rows of one run.
        canary_batch: of one run of the canary.
        window: chunks at work beside each other while there is a canary.
        pairs: compute times of both models, as counts.
    """

    input: Mapping[str, Any]
    model: Mapping[str, str]
    keep: list[str]
    canary: Mapping[str, Any]
    chunks: int
    batch: int = 1
    canary_batch: int = 1
    window: int = 1
    pairs: Mapping[str, Any] | None = None


def read_manifest(folder: Path) -> Manifest | None:
    """What an output was begun with; None where there is none.

    Raises:
        InvalidInput: the folder has something else.
    """
    path = folder / MANIFEST
    try:
        found = orjson.loads(path.read_bytes())
        if found.pop("format") != _FORMAT:
            raise InvalidInput(f"{path}: of another version of understudy; name another folder")
        return Manifest(**found)
    except FileNotFoundError:
        if folder.is_dir() and any(folder.glob("[!.]*")):
            raise InvalidInput(f"{folder}: it has files, and no {MANIFEST}; name an empty folder") from None
        return None
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(f"{path}: not what a job was begun with: {error}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Begin an output."""
    data = orjson.dumps({"format": _FORMAT, **asdict(manifest)}, option=orjson.OPT_INDENT_2)
    write_whole(folder / MANIFEST, data, lasting=True)


def refuse_another(folder: Path, begun: Manifest, asked: Manifest) -> None:
    """Refuse to go on with something else than an output was begun with.

    Args:
        folder: of the output.
        begun: with what.
        asked: what is asked now; only its `input`, `model`, `keep`, `canary` and `chunks` are looked at.

    Raises:
        Conflict: they are not the same; says what and what would do.
    """
    for what in ("input", "model", "keep", "canary", "chunks"):
        had, has = getattr(begun, what), getattr(asked, what)
        if had != has:
            raise Conflict(
                f"{folder}: it was begun with another {what}: {_shown(had)}; this is {_shown(has)}. Name"
                " another folder, or take this one away"
            )


def _shown(value: object) -> str:
    return orjson.dumps(value).decode()
