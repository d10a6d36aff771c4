"""Where records lie: a folder, or a bucket behind a URL; which files there are, and their bytes.

Law: a file is there whole or not at all, and its bytes never change, since whoever writes one puts it whole.
So what a listing names can be read, unless it was compacted or has expired meanwhile.
"""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Protocol

from router.record.files.layout import below, folder_of, parsed
from router.record.files.remote import remote_file
from serving.errors import Conflict, NotFound, ServingError
from serving.host.whole_files import sync_folder
from serving.sources.buckets import in_words, of_store, open_store


@dataclass(frozen=True, slots=True, order=True)
class RecordFile:
    """One Parquet file of records.

    Attributes:
        hour: UTC, in which the requests of its rows arrived.
        model: their public name.
        name: below the place, in parts that a slash separates.
        bytes: its size.
    """

    hour: datetime
    model: str
    name: str
    bytes: int

    @property
    def partition(self) -> str:
        """The folder that it lies in, below the place."""
        return folder_of(self.name)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files somebody wants.

    Args:
        model: only of this public name; all when empty.
        since: only hours that end later than this; all when None.
        until: only hours that begin earlier; all when None.
    """

    model: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, file: RecordFile) -> bool:
        if self.model and file.model != self.model:
            return False
        if self.since is not None and file.hour + timedelta(hours=1) <= self.since:
            return False
        return self.until is None or file.hour < self.until


class Place(Protocol):
    """A folder or a bucket of records."""

    def files(self) -> list[RecordFile]:
        """List every file, the oldest hour first.

        Raises:
            ServingError: there is no such place, or it cannot be reached.
        """

    def open(self, file: RecordFile) -> BinaryIO:
        """Open one, to be read at any position.

        Raises:
            NotFound: it is gone.
        """

    def local(self, files: Iterable[RecordFile], folder: Path) -> list[Path]:
        """Bring files to this machine, into `folder` where they are not here already.

        Returns:
            Their paths, whose last parts are their names.
        """

    def put(self, name: str, written: Path) -> None:
        """Put a file, whole, under a name that nobody has yet; `written`, from `held`, is gone then."""

    def remove(self, file: RecordFile) -> None:
        """Remove one; none that is gone already."""

    def held(self) -> AbstractContextManager[Path]:
        """Keep others of this machine from compacting it meanwhile; gives a folder for what is to be put.

        Raises:
            Conflict: somebody does.
        """


def open_place(text: str) -> Place:
    """Say which place a path or a URL is; nothing is read yet.

    Raises:
        ServingError: the URL is of a kind that is not known, or what it needs is not installed.
    """
    scheme, separator, _ = text.partition("://")
    return _bucket(text) if separator and len(scheme) > 1 else Folder(Path(text))


def _recorded(name: str, size: int) -> RecordFile | None:
    """The file of this name; None where it is no file of records."""
    found = parsed(name)
    return None if found is None else RecordFile(found.hour, found.model, name, size)


class Folder:
    """A `Place` on a disk of this machine.

    Args:
        root: below which the partitions lie.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def files(self) -> list[RecordFile]:
        """As `Place`."""
        self._there()
        return sorted(file for file in self._found() if file is not None)

    def _found(self) -> Iterator[RecordFile | None]:
        for path in self.root.glob(below("")):
            try:
                size = path.stat().st_size
            except FileNotFoundError:  # compacted or expired since it was listed
                continue
            yield _recorded(path.relative_to(self.root).as_posix(), size)

    def open(self, file: RecordFile) -> BinaryIO:
        """As `Place`."""
        try:
            return (self.root / file.name).open("rb")
        except FileNotFoundError:
            raise NotFound(f"{file.name}: it is gone: compacted or expired meanwhile") from None

    def local(self, files: Iterable[RecordFile], folder: Path) -> list[Path]:  # noqa: ARG002
        """As `Place`."""
        return [self.root / file.name for file in files]

    def put(self, name: str, written: Path) -> None:
        """As `Place`; on the disk before it has its name."""
        with written.open("rb") as file:
            os.fsync(file.fileno())
        written.rename(self.root / name)
        sync_folder((self.root / name).parent)

    def remove(self, file: RecordFile) -> None:
        """As `Place`."""
        (self.root / file.name).unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[Path]:
        """As `Place`; whoever is killed lets go of it, and what it left is cleared."""
        self._there()
        descriptor = os.open(self.root, os.O_RDONLY)
        beside = self.root / ".compacting"
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"{self.root}: another compaction is at work there") from None
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            yield beside
            beside.rmdir()
        finally:
            os.close(descriptor)

    def _there(self) -> None:
        if not self.root.is_dir():
            raise NotFound(f"{self.root}: no folder of records is there (--records of the node names it)")


def _bucket(url: str) -> Place:
    return Bucket(open_store(url, {}))


class Bucket:
    """A `Place` in an object store.

    Args:
        store: of obstore; its keys and region come from the environment, as the log writer's do.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def files(self) -> list[RecordFile]:
        """As `Place`."""
        import obstore

        with _in_words():
            listed = [meta for batch in obstore.list(self._store) for meta in batch]
        found = (_recorded(meta["path"], meta["size"]) for meta in listed)
        return sorted(file for file in found if file is not None)

    def open(self, file: RecordFile) -> BinaryIO:
        """As `Place`; reads what is asked for, with some more around it."""
        import obstore

        with _in_words(file.name):
            return remote_file(obstore.open_reader(self._store, file.name), _in_words)

    def local(self, files: Iterable[RecordFile], folder: Path) -> list[Path]:
        """As `Place`."""
        paths = []
        for file in files:
            path = folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with self.open(file) as source, path.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            paths.append(path)
        return paths

    def put(self, name: str, written: Path) -> None:
        """As `Place`; another compaction's file of the same name is left."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with _in_words(name), suppress(AlreadyExistsError):  # it is of the same files, and has the same rows
            obstore.put(self._store, name, written, mode="create")
        written.unlink()

    def remove(self, file: RecordFile) -> None:
        """As `Place`."""
        import obstore

        with suppress(NotFound), _in_words(file.name):
            obstore.delete(self._store, file.name)

    @contextmanager
    def held(self) -> Iterator[Path]:
        """As `Place`; of a bucket nobody can tell, so that it is on whoever starts compactions."""
        with TemporaryDirectory(prefix="understudy-records-") as folder:
            yield Path(folder)


@contextmanager
def _in_words(name: str = "") -> Iterator[None]:
    """Errors of obstore as ours: a line, and which file it is about."""
    from obstore.exceptions import NotFoundError

    try:
        yield
    except (NotFoundError, FileNotFoundError):
        raise NotFound(f"{name}: it is gone: compacted or expired meanwhile") from None
    except BaseException as error:
        if not of_store(error):
            raise
        raise ServingError(f"{name}: {in_words(error)}" if name else in_words(error)) from None
