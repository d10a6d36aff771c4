"""One file of a store, brought here in pieces; what came is kept when the connection is cut.

Law: what is written goes on with the same file only, by its tag. It is whole when it has its size and, where
the store says so, its digest.
"""

from collections.abc import Callable, Iterator
from hashlib import file_digest
from pathlib import Path
from typing import Final

from serving.host.ending import ending
from serving.sources.remote import Away, Changed, Progress, Remote, RemoteFile

PAUSES: Final = (0.2, 0.5, 1.0, 2.0)
"""Seconds before a download that was cut is gone on with; over again while it gets ahead."""


def pause(seconds: float) -> None:
    """Wait so long.

    Raises:
        Away: this process is told to end.
    """
    if ending.wait(seconds):
        raise Away("this process is told to end")


def download(
    remote: Remote,
    file: RemoteFile,
    part: Path,
    progress: Progress = lambda _file, _done: None,
    sleep: Callable[[float], None] = pause,
) -> None:
    """Bring a file here, from where it was left; blocks.

    Args:
        remote: the store.
        file: as it was listed.
        part: where it is written; may have the beginning.
        progress: told now and then.
        sleep: waits so many seconds.

    Raises:
        Changed: the store has another one by now.
        Away: the store does not give it; what came stays.
        OSError: it cannot be written.
    """
    _fill(remote, file, part, progress, sleep)
    first = _md5(part) if file.md5 else ""
    if first != file.md5:
        # Changed on its way, perhaps; or the store's tag is no MD5, and then the same comes again.
        part.write_bytes(b"")
        _fill(remote, file, part, progress, sleep)
        if _md5(part) not in {file.md5, first}:
            part.write_bytes(b"")
            raise Away(f"{remote.url}: {file.path} comes with other bytes each time")


def _fill(
    remote: Remote, file: RemoteFile, part: Path, progress: Progress, sleep: Callable[[float], None]
) -> None:
    """Append what is missing, again and again while that gets ahead.

    Raises:
        Changed, Away: as `download`.
    """
    pauses = iter(PAUSES)
    while True:
        before = _size(part)
        if before > file.size:
            part.write_bytes(b"")  # of a process that was killed amid another version's law
            before = 0
        try:
            _go_on(remote, file, part, before, progress)
        except Changed:
            raise
        except Away:
            if _size(part) > before:
                pauses = iter(PAUSES)
            seconds = next(pauses, None)
            if seconds is None:
                raise
            sleep(seconds)
        else:
            if _size(part) == file.size:
                return


def _go_on(remote: Remote, file: RemoteFile, part: Path, start: int, progress: Progress) -> None:
    """Append what is missing.

    Raises:
        Away: it does not come, or more or less of it.
    """
    with part.open("ab") as out:
        done = start
        progress(file, done)
        if start == file.size:
            return
        pieces: Iterator[bytes] = remote.read(file, start)
        for piece in pieces:
            if ending.is_set():
                raise Away(f"{remote.url}: this process is told to end")
            done += len(piece)
            if done > file.size:
                raise Away(f"{remote.url}: {file.path} has more bytes than it was listed with")
            out.write(piece)
            progress(file, done)
        if done < file.size:
            raise Away(f"{remote.url}: {file.path} ends after {done} of {file.size} bytes")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _md5(part: Path) -> str:
    with part.open("rb") as file:
        return file_digest(file, "md5").hexdigest()
