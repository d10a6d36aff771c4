"""The rollout file, watched: what changes in it goes through the door, whole or not at all.

Law: a file that cannot be read, is no mapping of rollouts, or of which no rollout can be served changes
nothing; of any other the good rollouts are in force as it says, and what was accepted before stays in force
where one is at fault (under `strict` one at fault refuses the file). Errors name line and column. A rollout
whose models cannot be had now is tried again until they can, and holds up no other one.
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
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog
from watchfiles import awatch

from control.rollouts.catalogue import Unservable
from control.rollouts.writer import Actor, Door
from router.rollout.parser import parse_each
from router.rollout.values import Rollout
from serving import document
from serving.document import DocumentError, Node
from serving.errors import InvalidInput, ServingError, Unavailable
from serving.host.whole_files import write_whole

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
        strict: whether one rollout at fault refuses the whole file.
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
        *,
        strict: bool = False,
    ) -> None:
        self.path = path
        self.problem = ""
        """Why nothing of it is accepted; empty where something is."""
        self.refused: Mapping[str, str] = {}
        """Why single rollouts of it are not in force as it says, by public model name."""
        self._strict = strict
        self._door = door
        self._rejected = rejected
        self._clock = clock
        self._kept = kept
        self._content: bytes | None = None  # that was accepted or refused
        self._refusal = ""  # of that content
        self._named = b""  # the content of which the rollouts at fault were told
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
                    folder, debounce=40, step=25, recursive=False, rust_timeout=1000, yield_on_timeout=True
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
            refused = await self._accept(content)
        except (_Restless, Unservable):  # the models changed since they were checked
            self._content = None  # looked at again within a second
        except Unavailable as error:  # a store's trouble, not the file's: try the same again
            self._content = None
            self._report(str(error))
        except ServingError as error:
            self._refusal = _in_a_line(error)
            self.refused = {}
            self._report(self._refusal)
        else:
            self.problem = ""
            self._name(refused, content)
            if any(isinstance(error, Unavailable) for error in refused.values()):
                self._content = None
            elif not refused:
                await self._keep(content)

    def _name(self, refused: Mapping[str, ServingError], content: bytes) -> None:
        """Tell, once of each content, of the rollouts at fault in a file whose others are in force."""
        self.refused = {model: _in_a_line(error) for model, error in refused.items()}
        told, self._named = self._named, content if refused else b""
        if refused and content != told:
            problem = "; ".join(self.refused.values())
            self._rejected(problem)
            log.error(
                "rollouts of the file refused; the others are in force", models=list(refused), problem=problem
            )

    async def _keep(self, content: bytes) -> None:
        if self._kept is None:
            return
        with suppress(OSError):  # it is needed only where the database is lost as well
            await asyncio.to_thread(write_whole, self._kept, content)

    async def _accept(self, content: bytes) -> dict[str, ServingError]:
        """Put in force what can be served.

        Returns:
            The faults of the rollouts that cannot, by public model name; `Unavailable` where it may be later.

        Raises:
            DocumentError: nothing of it can be, or something cannot under `strict`.
            Unavailable: the same, and some of it may be later.
        """
        rollouts, wrong = await asyncio.to_thread(parse_each, content, self.path.name)
        names = {*rollouts, *wrong}
        changed = [rollout for model, rollout in rollouts.items() if self._accepted.get(model) != rollout]
        refused: dict[str, ServingError] = {**wrong, **await self._faults(changed, content)}
        if refused and (self._strict or refused.keys() == names):
            raise _as_one(refused.values())
        gone = [model for model in self._accepted if model not in names and model in self._door.entries]
        if gone and not names:
            raise InvalidInput(
                f"{self.path.name}: it names no rollout, and {len(gone)} of it are served; to remove the last"
                " ones use `understudy rollouts delete NAME`"
            )
        if gone and self._clock() - self._seen[1] < RESTED_SECONDS:
            raise _Restless
        good = [rollout for rollout in changed if rollout.model not in refused]
        if good or gone:
            await self._door.put(good, self._actor, f"{self.path.name} was edited", delete=gone)
        before = {model: self._accepted[model] for model in refused if model in self._accepted}
        self._accepted = {**{m: r for m, r in rollouts.items() if m not in refused}, **before}
        return refused

    async def _faults(self, rollouts: Sequence[Rollout], content: bytes) -> dict[str, ServingError]:
        """What keeps some of these from being served, by public model name."""
        found: dict[str, ServingError] = {}
        try:
            faults = await self._door.faults(rollouts)
        except Unavailable:
            faults = {}
            for rollout in rollouts:
                try:
                    faults |= await self._door.faults([rollout])
                except Unavailable as error:
                    why = f"{self.path.name}: {rollout.model}: {error}; it is tried again"
                    found[rollout.model] = Unavailable(why)
        for model, fault in faults.items():
            found[model] = await asyncio.to_thread(located, content, self.path.name, fault)
        return found

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._rejected(problem)
            log.error("rollout file refused; the last good one serves on", problem=problem)


def _as_one(errors: Collection[ServingError]) -> ServingError:
    """What is the matter with a file of which nothing is accepted."""
    documents = [error for error in errors if isinstance(error, DocumentError)]
    if len(documents) == len(errors):
        return document.all_of(documents)
    return Unavailable("; ".join(map(_in_a_line, errors)))


def _in_a_line(error: ServingError) -> str:
    faults = error.faults if isinstance(error, DocumentError) else (error,)
    return "; ".join(map(str, faults))


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
