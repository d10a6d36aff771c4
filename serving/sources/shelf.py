"""One version of one model of one store in the cache: what is whole, and what is under way.

As `serving.sources.cache` says, what has a name is whole and is never written again.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from serving.host.whole_files import write_whole
from serving.sources.locks import exclusive, share_folder
from serving.sources.remote import RemoteFile

ASIDE: Final = ".aside-"
"""How folders begin that have no name yet, or none any more."""
PARTS: Final = ".parts"
_FILES: Final = ".files.json"


class Shelf:
    """Where a version is kept.

    Args:
        folder: made by `alone`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, key: str) -> Path | None:
        """The folder of what has this key, which stays for a while from now on; None where it is not here."""
        folder = self.folder / key
        try:
            held = share_folder(folder)
        except OSError:
            return None
        try:
            os.utime(folder)
        finally:
            os.close(held)
        return folder

    def latest(self) -> Path | None:
        """As `take`, what was fetched last."""
        folder = self.peek()
        return None if folder is None else self.take(folder.name)

    def peek(self) -> Path | None:
        """What was fetched last, for whoever only looks: it may be gone at any moment."""
        with suppress(OSError, ValueError):
            folder = self.folder / (self.folder / "latest").read_text(encoding="ascii")
            return folder if folder.is_dir() else None
        return None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One at a time, of all processes of this machine; whoever downloads.

        What was fetched last stays meanwhile: files that are the same as before are taken from it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with exclusive(self.folder / "lock"):
            before = self.latest()
            held = None if before is None else self.hold(before)
            try:
                yield
            finally:
                if held is not None:
                    os.close(held)

    def hold(self, folder: Path) -> int | None:
        """Keep what was taken until the descriptor is closed; None where it is gone."""
        try:
            return share_folder(folder)
        except OSError:
            return None

    def part(self, file: RemoteFile) -> Path:
        """Where a file is while it comes; named by its tag, so that another one never goes on with it."""
        return self.folder / PARTS / f"{digest(file.path, file.tag)}.{file.size}"

    def have(self, file: RemoteFile) -> Path | None:
        """The same file in what was fetched last, as far as its tag tells."""
        folder = self.peek()
        with suppress(OSError, ValueError):
            if folder and [file.path, file.size, file.tag] in json.loads((folder / _FILES).read_bytes()):
                return folder / file.path
        return None

    def assemble(self, files: Sequence[RemoteFile]) -> Path:
        """All files in a folder without a name: whole parts, and what is the same as before."""
        aside = Path(tempfile.mkdtemp(prefix=ASIDE, dir=self.folder))
        for file in files:
            path = aside / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            before = self.have(file)
            if before is None:
                self.part(file).rename(path)
                continue
            try:
                path.hardlink_to(before)
            except OSError:  # not every file system can
                shutil.copyfile(before, path)
        listed = [[file.path, file.size, file.tag] for file in files]
        (aside / _FILES).write_text(json.dumps(listed), encoding="utf-8")
        return aside

    def complete(self, aside: Path, files: Sequence[RemoteFile], *, latest: bool) -> Path:
        """Give a folder its name.

        Args:
            aside: of `assemble`.
            files: all of it.
            latest: it is a version, which serves while the store is away.
        """
        folder = self.folder / key_of(files)
        aside.rename(folder)
        if latest:
            write_whole(self.folder / "latest", folder.name.encode())
        return folder


def key_of(files: Sequence[RemoteFile]) -> str:
    """The name of what has just these files."""
    return digest(*(text for file in files for text in (file.path, str(file.size), file.tag)))


def digest(*texts: str) -> str:
    """A name made of texts."""
    return sha256("\0".join(texts).encode()).hexdigest()[:24]
