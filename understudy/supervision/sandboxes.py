"""The sandboxes of a node: one process for each candidate of the snapshot.

Law: each process has files of its own, to which the names that workers know are linked, so one that still
ends takes nothing from its successor. A sandbox outlives the last snapshot that names it by `RETIRE_SECONDS`.
"""

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import NamedTuple

from router.rollout.sections.targets import target_to_json
from router.rollout.snapshot import Candidate, Snapshot, candidates
from router.run_dir import RunDir, SandboxFiles
from understudy.settings import UpSettings
from understudy.supervision.child import Child
from understudy.supervision.processes import Start

RETIRE_SECONDS = 2.0
"""Until all workers have moved on to the snapshot that does not name it."""


class _Running(NamedTuple):
    child: Child
    files: SandboxFiles


class Sandboxes:
    """Started, replaced and ended as snapshots say.

    Args:
        settings: of the node.
        run_dir: where workers and sandboxes meet.
        restarted: told why, each time a sandbox is started again.
        begin: how each is begun.
    """

    def __init__(
        self, settings: UpSettings, run_dir: RunDir, restarted: Callable[[str], None], begin: Start
    ) -> None:
        self._settings = settings
        self._run_dir = run_dir
        self._restarted = restarted
        self._begin = begin
        self._running: dict[str, _Running] = {}  # by id of the candidate
        self._unwanted: dict[str, float] = {}  # about to be retired, since when
        self._retiring: set[asyncio.Task[None]] = set()
        self._generations = itertools.count(1)

    @property
    def children(self) -> list[Child]:
        """Those that run, and those about to be retired."""
        return [running.child for running in self._running.values()]

    def follow(self, snapshot: Snapshot) -> None:
        """Start those that are wanted now; end the others once nobody uses them."""
        wanted = candidates(snapshot)
        for id_, candidate in wanted.items():
            self._unwanted.pop(id_, None)
            if id_ not in self._running:
                self._running[id_] = self._start(candidate)
        for id_ in self._running.keys() - wanted.keys() - self._unwanted.keys():
            since = self._unwanted[id_] = asyncio.get_running_loop().time()
            task = asyncio.create_task(self._retire(id_, since))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def link(self) -> None:
        """See to it that the names workers know lead to the present processes."""
        for id_, running in self._running.items():
            self._run_dir.named(id_).link_to(running.files)

    async def end(self, grace_seconds: float) -> None:
        """End them all, at once."""
        await asyncio.gather(*(child.end(grace_seconds) for child in self.children))

    def _start(self, candidate: Candidate) -> _Running:
        files = self._run_dir.named(f"{candidate.id}.{next(self._generations)}")
        self._run_dir.of(candidate).link_to(files)
        environment = {
            "UNDERSTUDY_SANDBOX_MODEL": candidate.model,
            "UNDERSTUDY_SANDBOX_TARGET": candidate.target.model,
            "UNDERSTUDY_SANDBOX_URL": candidate.target.url or "",
            "UNDERSTUDY_SANDBOX_SERVER": json.dumps(target_to_json(candidate.target).get("server")),
            "UNDERSTUDY_SANDBOX_LIVE": "1" if candidate.live else "0",
            "UNDERSTUDY_SANDBOX_SHA256": candidate.sha256,
            "UNDERSTUDY_SANDBOX_FILES": files.stem,
        }
        child = Child(
            f"sandbox of {candidate.target.key} for {candidate.model}",
            "router.sandbox",
            self._settings.environment(data_plane=True) | environment,
            heartbeat=files.beat,
            files=files.sockets,
            restarted=self._restarted,
            start=self._begin,
        )
        return _Running(child, files)

    async def _retire(self, id_: str, since: float) -> None:
        await asyncio.sleep(RETIRE_SECONDS)
        if self._unwanted.get(id_) != since:
            return  # it was wanted again
        del self._unwanted[id_]
        child, files = self._running.pop(id_)
        await child.end(self._settings.grace_seconds)
        known = () if id_ in self._running else self._run_dir.named(id_).sockets  # else a successor's
        for path in (*files.sockets, files.beat, *known):
            path.unlink(missing_ok=True)
