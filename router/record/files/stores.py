"""Where the files of the prediction log are: a folder of this machine, or a `bucket`.

Law: a file is there whole or not at all, and once `put` has returned it is there for good.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from router.record.files.layout import below, parsed
from serving.host.whole_files import write_whole


class Store(Protocol):
    """Files by name, a path below the root with `/`. All of it may block; call it in a thread."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file whose name is nobody else's; again, where it is not known whether that was done.

        Raises:
            OSError: it could not be written, or it is not known whether it was.
        """

    def exists(self, name: str) -> bool:
        """Whether it was written.

        Raises:
            OSError: that cannot be known now.
        """

    def names(self, folder: str = "") -> Iterator[str]:
        """All files of the log, in order.

        Args:
            folder: only those below it (`router.record.files.layout`).

        Raises:
            OSError: that cannot be known now.
        """

    def open(self, name: str) -> object:
        """A path or file object that pyarrow reads, at any position.

        Raises:
            OSError: it is gone, or cannot be read now.
        """

    def delete(self, name: str) -> None:
        """Delete a file, which may be gone already."""


class FolderStore:
    """A folder. Files are written aside and renamed.

    Args:
        root: made when something is put there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, name: str, data: bytes) -> None:
        """As `Store`."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data, lasting=True)

    def exists(self, name: str) -> bool:
        """As `Store`."""
        return (self._root / name).exists()

    def names(self, folder: str = "") -> Iterator[str]:
        """As `Store`."""
        found = (self._root / folder).glob(below(folder))
        yield from sorted(name for path in found if parsed(name := path.relative_to(self._root).as_posix()))

    def open(self, name: str) -> object:
        """As `Store`."""
        return self._root / name

    def delete(self, name: str) -> None:
        """As `Store`; folders that are empty then go too."""
        path = self._root / name
        path.unlink(missing_ok=True)
        for folder in list(path.parents)[:3]:
            try:
                folder.rmdir()
            except OSError:
                return


def open_store(place: str) -> Store:
    """The store that a setting names.

    Raises:
        OSError: the URL is none that obstore knows.
    """
    if "://" not in place:
        return FolderStore(Path(place))
    from router.record.files.bucket import open_bucket  # noqa: PLC0415  (a folder needs no obstore)

    return open_bucket(place)
