"""All files of one version on this machine, copied elsewhere so that nobody meets half of it."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from serving.errors import Conflict
from serving.host.whole_files import write_whole
from serving.models.files.repository import ModelEntry, contained
from serving.sources.buckets import in_words, open_store
from serving.sources.objects import BESIDE

CREATED_WHOLE_BYTES: Final = 64 << 20
"""Up to here a file is put in one request, which fails where another came first."""

Told = Callable[[str, int], None]
"""Told of each file and its bytes, once it is there."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What came of a copy.

    Attributes:
        place: where it is.
        written: files that were written, in that order.
        same: files that were there already, with the same bytes.
        size: of what was written, bytes.
    """

    place: str
    written: tuple[str, ...]
    same: tuple[str, ...]
    size: int


def files_of(entry: ModelEntry) -> dict[str, Path]:
    """Files by their path in a folder of models; last the one that says what the version is.

    Raises:
        InvalidModel: one leads outside the folder of models.
    """
    home = entry.root / entry.name
    beside = [*BESIDE, *([entry.config.warmup] if entry.config.warmup else [])]
    paths = [path for path in entry.path.parent.rglob("*") if path.is_file()]
    paths += [home / name for name in beside if (home / name).is_file()]
    for path in paths:
        contained(path, entry.root, str(path.relative_to(entry.root)))
    ordered = [*sorted(set(paths) - {entry.path}), entry.path]
    return {path.relative_to(entry.root).as_posix(): path for path in ordered}


def push(entry: ModelEntry, url: str, *, force: bool, told: Told = lambda _name, _size: None) -> Copied:
    """Put a version into an object store: what says that it is there comes last.

    Args:
        entry: the version.
        url: `s3://`, `gs://` or `az://`, as `serving.places` takes it.
        force: overwrite files that are other ones; the version is not there meanwhile.
        told: of each file.

    Raises:
        InvalidInput: the store cannot be opened.
        Conflict: a file is there with other bytes, or came meanwhile; or the store refuses or is away.
    """
    store = open_store(url, {"timeout": timedelta(days=1), "read_timeout": timedelta(seconds=60)})
    from obstore.exceptions import BaseError  # noqa: PLC0415  (an extra, which is there by now)

    files = files_of(entry)
    try:
        found = _there(store, files)
        if found.other and not force:
            raise Conflict(
                f"{url}: {', '.join(found.other)}: there with other bytes; nothing was put. Push another"
                " version, or overwrite it with --force"
            )
        if found.other:
            found = _taken_off(store, found, definition=next(reversed(files)))
        written = [name for name in files if name not in found.same]
        for name in written:
            _put(store, name, files[name], anew=name in found.other)
            told(name, files[name].stat().st_size)
    except (BaseError, OSError) as error:
        came = type(error).__name__ == "AlreadyExistsError"
        why = "somebody else put the same file meanwhile" if came else in_words(error)
        raise Conflict(f"{url}: {why}") from None
    size = sum(files[name].stat().st_size for name in written)
    return Copied(f"{url}/{entry.name}/{entry.version}", tuple(written), found.same, size)


def copy(entry: ModelEntry, folder: Path, *, force: bool) -> Copied:
    """Copy a version into a folder of models; its own folder gets its name when all of it is there.

    Raises:
        Conflict: it is there with other bytes, or cannot be written.
    """
    files = files_of(entry)
    there = {name: folder / name for name in files if (folder / name).is_file()}
    same = tuple(name for name, path in there.items() if _digest(path) == _digest(files[name]))
    other = sorted(there.keys() - set(same))
    if other and not force:
        raise Conflict(f"{folder}: {', '.join(other)}: there with other bytes; overwrite it with --force")
    written = [name for name in files if name not in same]
    own = f"{entry.name}/{entry.version}/"
    try:
        (folder / entry.name).mkdir(parents=True, exist_ok=True)
        for name in written:
            if not name.startswith(own):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                write_whole(folder / name, files[name].read_bytes())
        if any(name.startswith(own) for name in written):
            _replace({name.removeprefix(own): path for name, path in files.items() if name.startswith(own)},
                     folder / entry.name / entry.version)  # fmt: skip
    except OSError as error:
        raise Conflict(f"{folder}: {error.strerror}") from None
    size = sum(files[name].stat().st_size for name in written)
    return Copied(str(folder / entry.name / entry.version), tuple(written), same, size)


def _replace(files: dict[str, Path], target: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        for name, path in files.items():
            (aside / "new" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, aside / "new" / name)
        if target.exists():
            target.rename(aside / "old")
        (aside / "new").rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Found:
    """Files that the store has already: with other bytes, and with the same."""

    other: tuple[str, ...]
    same: tuple[str, ...]


def _there(store: Any, files: dict[str, Path]) -> _Found:
    """What of a version the store has."""
    import obstore  # noqa: PLC0415  (an extra)

    other: list[str] = []
    same: list[str] = []
    for name, path in files.items():
        try:
            size = obstore.head(store, name)["size"]
        except FileNotFoundError:
            continue
        equal = size == path.stat().st_size and _digest_there(store, name) == _digest(path)
        (same if equal else other).append(name)
    return _Found(tuple(other), tuple(same))


def _taken_off(store: Any, found: _Found, definition: str) -> _Found:
    """What the store has once the file is gone that says that the version is there.

    So nobody takes what is half one and half the other.
    """
    import obstore  # noqa: PLC0415  (an extra)

    if definition in found.other + found.same:
        obstore.delete(store, definition)
    other, same = (tuple(name for name in names if name != definition) for names in (found.other, found.same))
    return _Found(other, same)


def _put(store: Any, name: str, path: Path, *, anew: bool) -> None:
    import obstore  # noqa: PLC0415  (an extra)

    if anew or path.stat().st_size > CREATED_WHOLE_BYTES:
        obstore.put(store, name, path)
    else:
        obstore.put(store, name, path.read_bytes(), mode="create", use_multipart=False)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_there(store: Any, name: str) -> str:
    import obstore  # noqa: PLC0415  (an extra)

    digest = hashlib.sha256()
    for piece in obstore.get(store, name).stream(1 << 20):
        digest.update(piece)
    return digest.hexdigest()
