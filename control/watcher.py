"""The rollout file, watched: what changes in it goes through the door, whole or not at all.

Law: a file that cannot be read or is refused in any part changes nothing; the error names line and column.
Only what differs from the last accepted file is an edit, so a promotion or an edit by API stands until the
file itself says something new about that model. A deleted or unreadable file is no edit. A file may be seen
half written, so one that leaves out a rollout must have rested for `RESTED_SECONDS`; and one that leaves out
all of them removes nothing: that is asked for by name.
"""

import asyncio
import errno
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog
from watchfiles import awatch

from control.catalogue import Unservable
from control.door import Actor, Door
from router.rollout import Rollout
from router.rollout_parser import parse
from serving import document
from serving.document import DocumentError, Node
from serving.errors import InvalidInput, ServingError, Unavailable

log = structlog.get_logger()

RESTED_SECONDS = 2.0


class _Restless(Exception):
    """The file leaves out a rollout, and may be about to be written on."""


def _read(path: Path) -> bytes:
    """The file's content, without waiting for the writer of a named pipe.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read(document.MAX_BYTES + 1)


class RolloutFile:
    """Keeps the door in step with one file.

    Args:
        path: the file; it may be replaced by rename, or through a symbolic link as in a ConfigMap.
        accepted: what it said when it was last accepted, also by an earlier process.
        rejected: told once, for each content that is refused, why.
        clock: monotonic seconds.
        kept: where the accepted content is kept, in case that the audit log is lost; None keeps it nowhere.
    """

    def __init__(
        self,
        path: Path,
        door: Door,
        accepted: Mapping[str, Rollout],
        rejected: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        kept: Path | None = None,
    ) -> None:
        self.path = path
        self.problem = ""
        self._door = door
        self._rejected = rejected
        self._clock = clock
        self._kept = kept
        self._content: bytes | None = None  # that was accepted or refused
        self._refusal = ""  # of that content
        self._seen: tuple[bytes, float] = (b"", 0.0)  # the latest content, and since when it is there
        self._accepted = dict(accepted)
        self._actor = Actor(path.name, "file")

    async def run(self) -> None:
        """Apply the file now and whenever it changes, for ever."""
        await self.apply()
        folder = self.path.parent.absolute()
        while True:
            try:
                async for _ in awatch(
                    folder, debounce=40, step=10, recursive=False, rust_timeout=1000, yield_on_timeout=True
                ):
                    await self.apply()
            except (OSError, RuntimeError) as error:
                self._report(f"{self.path.name}: cannot be watched: {type(error).__name__}")
                await asyncio.sleep(1.0)

    async def apply(self) -> None:
        """Bring the door to what the file says now."""
        try:
            content = await asyncio.to_thread(_read, self.path)
        except OSError as error:
            self._report(f"{self.path.name}: cannot be read: {error.strerror}")
            return
        if content != self._seen[0]:
            self._seen = content, self._clock()
        if content == self._content:
            self.problem = self._refusal  # it may have been away meanwhile
            return
        self._content, self._refusal = content, ""
        try:
            await self._accept(await asyncio.to_thread(parse, content, self.path.name))
        except Unservable as error:
            found = await asyncio.to_thread(located, content, self.path.name, error)
            self._refusal = str(found)
            self._report(self._refusal)
        except _Restless:
            self._content = None  # looked at again within a second
        except Unavailable as error:  # the store's trouble, not the file's: try the same again
            self._content = None
            self._report(str(error))
        except ServingError as error:
            self._refusal = str(error)
            self._report(self._refusal)
        else:
            self.problem = ""
            await self._keep(content)

    async def _keep(self, content: bytes) -> None:
        if self._kept is None:
            return
        temporary = self._kept.with_suffix(".tmp")
        with suppress(OSError):  # it is needed only where the database is lost as well
            await asyncio.to_thread(temporary.write_bytes, content)
            temporary.replace(self._kept)

    async def _accept(self, rollouts: dict[str, Rollout]) -> None:
        changed = [rollout for model, rollout in rollouts.items() if self._accepted.get(model) != rollout]
        gone = [model for model in self._accepted if model not in rollouts and model in self._door.entries]
        if gone and not rollouts:
            raise InvalidInput(
                f"{self.path.name}: it names no rollout, and {len(gone)} of it are served; to remove the last"
                " ones use `understudy rollouts delete NAME`"
            )
        if gone and self._clock() - self._seen[1] < RESTED_SECONDS:
            raise _Restless
        if changed or gone:
            await self._door.put(changed, self._actor, f"{self.path.name} was edited", delete=gone)
        self._accepted = rollouts

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._rejected(problem)
            log.error("rollout file refused; the last good one serves on", problem=problem)


def located(content: bytes, file: str, error: Unservable, model: str = "") -> DocumentError:
    """The error with line and column of each value at fault, found by its place in what was refused.

    Args:
        content: what was refused.
        file: the name that errors show.
        error: why.
        model: the public name where the content is of that rollout alone.
    """
    root = document.parse(content, file)
    return document.all_of(_located(root, fault, file, fault.place[bool(model) :]) for fault in error.faults)


def _located(node: Node, fault: Unservable, file: str, place: Sequence[str | int]) -> DocumentError:
    for step in place:
        node = node.sequence()[step] if isinstance(step, int) else node.entries()[step]
    if isinstance(node.value, dict):
        node = node.value.get("model", node)  # a target written out
    return DocumentError(file, node.line, node.column, str(fault), node.path)
