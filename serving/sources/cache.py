"""What was fetched from stores elsewhere, on this machine's disk, for all of its processes.

Law: a folder with a version in it is whole, of one listing of its store, and is never written again: it got
its name when all of it was there. So whoever finds it may read it without asking. It goes only when nobody
holds it, nobody found it lately, and room is needed; it goes by its name first.

    STORE/NAME@VERSION/KEY/      a small repository of its own; KEY is made of the paths, sizes and tags
    STORE/NAME@VERSION/latest    the KEY that was fetched last, which serves while the store is away
    STORE/NAME@VERSION/lock      held by the one process that downloads
    STORE/NAME@VERSION/.parts/   what is under way, named by file and tag, and by the size that it will have
"""

import json
import os
import re
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving.errors import InvalidModel
from serving.host.whole_files import write_whole
from serving.sources.locks import exclusive, lock_folder
from serving.sources.shelf import ASIDE, PARTS, Shelf, digest

HELD_SECONDS: Final = 600.0
"""So long what was found stays, for whoever is about to read it."""
LEFT_SECONDS: Final = 86400.0
"""After which what a process that was killed left is deleted."""


@dataclass(frozen=True, slots=True)
class Cache:
    """All of it.

    Attributes:
        folder: made when something is fetched.
        most_bytes: that it may take.
    """

    folder: Path
    most_bytes: int

    def store(self, url: str) -> Path:
        """The folder of one store."""
        words = re.sub(r"[^A-Za-z0-9]+", "-", url).strip("-")[:60]
        return self.folder / f"{words}-{digest(url)[:8]}"

    def shelf(self, url: str, name: str, version: str) -> Shelf:
        """Where a version of a model is; nothing is made."""
        return Shelf(self.store(url) / f"{name}@{version}")

    def versions(self, url: str) -> list[tuple[str, str]]:
        """Those of a store that are here whole, as `name, version`."""
        found = (path.parent.name.rpartition("@") for path in self.store(url).glob("*@*/latest"))
        keys = [(name, version) for name, _, version in found]
        return sorted(key for key in keys if self.shelf(url, *key).peek() is not None)

    def note_names(self, url: str, names: Collection[str]) -> None:
        """Remember which models a store has, for when it is away."""
        file, content = self.store(url) / "names.json", json.dumps(sorted(names)).encode()
        with suppress(OSError):  # a disk that is full is no reason to fail otherwise
            if file.exists() and file.read_bytes() == content:
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, content)

    def may_have(self, url: str, name: str) -> bool:
        """Whether a store had a model when it could be asked last, or was never asked."""
        try:
            return name in json.loads((self.store(url) / "names.json").read_bytes())
        except (OSError, ValueError):
            return True

    def make_room(self, parts: dict[Path, int]) -> None:
        """Delete what was used longest ago and is not in use, until these files fit; they are begun.

        Args:
            parts: of `Shelf.part`, each with the size that it will have, bytes.

        Raises:
            InvalidModel: they do not fit, whatever is deleted.
        """
        wanted = sum(parts.values())
        self.folder.mkdir(parents=True, exist_ok=True)
        with exclusive(self.folder / "lock"):
            self._sweep()
            taken = sum(map(_bytes, self.folder.glob("*/*"))) - sum(map(_reserved, parts))
            for folder in self._by_age():
                if taken + wanted <= self.most_bytes:
                    break
                taken -= self._evict(folder, keep=parts)
            if taken + wanted > self.most_bytes:
                most, used = size_in_words(self.most_bytes), size_in_words(max(taken, 0))
                raise InvalidModel(
                    f"it has {size_in_words(wanted)}, the cache takes at most {most} (--model-cache-size),"
                    f" and {used} of it are in use"
                )
            for part in parts:
                part.parent.mkdir(parents=True, exist_ok=True)
                part.touch()

    def _by_age(self) -> list[Path]:
        """What may go, used longest ago first."""
        ages: list[tuple[float, Path]] = []
        for folder in self.folder.glob("*/*@*/*/"):
            with suppress(OSError):
                if folder.name == PARTS or not folder.name.startswith("."):
                    ages.append((folder.stat().st_mtime, folder))
        return [folder for _, folder in sorted(ages)]

    def _evict(self, folder: Path, keep: dict[Path, int]) -> int:
        """Delete a folder unless it is in use, and say how many bytes that gave."""
        if folder.name == PARTS:
            return 0 if any(part.parent == folder for part in keep) else _drop_parts(folder)
        with suppress(OSError), lock_folder(folder, wait=False):
            if folder.stat().st_mtime > time.time() - HELD_SECONDS:
                return 0
            size = _bytes(folder)
            aside = folder.with_name(f"{ASIDE}{folder.name}-{os.getpid()}")
            folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
            return size
        return 0

    def _sweep(self) -> None:
        """Delete what processes that were killed left."""
        before = time.time() - LEFT_SECONDS
        for path in (*self.folder.glob(f"*/*@*/{PARTS}/*"), *self.folder.glob(f"*/*@*/{ASIDE}*")):
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)


def size_in_words(size: int) -> str:
    """For people, e.g. `1.5 GB`."""
    if size < 10**6:
        return f"{size / 1e3:,.1f} kB"
    return f"{size / 1e6:,.1f} MB" if size < 10**9 else f"{size / 1e9:,.1f} GB"


def _drop_parts(folder: Path) -> int:
    """Delete what of a download is here, unless somebody goes on with it."""
    with suppress(OSError), exclusive(folder.parent / "lock", wait=False):
        size = _bytes(folder)
        shutil.rmtree(folder, ignore_errors=True)
        return size
    return 0


def _bytes(path: Path) -> int:
    """What it takes on disk: a file that several folders have is counted in parts, one under way whole."""
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                file = Path(parent, name)
                status = file.stat()
                total += _reserved(file) if parent.endswith(PARTS) else status.st_size // status.st_nlink
    return total


def _reserved(part: Path) -> int:
    """The whole size of a file that is under way; 0 where it was not begun."""
    return int(part.suffix[1:]) if part.exists() else 0
