"""The processes of one machine: started, watched, replaced, ended in order.

Law: listening sockets belong to the supervisor: a worker that dies leaves its queue of connections to the
other workers, which accept there until its successor does. Sandboxes follow from the snapshot: one per
candidate. A node with a prediction log has a top-up too, once a rollout asks for it.
Ending: workers drain first, then the top-up and sandboxes, then the log writer, which has all records by
then, then control.
"""

import asyncio
import fcntl
import os
import shutil
import socket
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import orjson
import structlog

from router.rollout.snapshot import Snapshot, digests
from router.run_dir import RunDir
from router.sync import Link, Sync
from router.wire.report import Report
from serving.admission import rate_limit
from serving.clock import clock
from serving.errors import Unavailable
from serving.host.process import told_to_end
from serving.host.sockets import listen, welcome_newcomers
from serving.telemetry import cells
from serving.telemetry.compaction import fold
from understudy.settings import UpSettings
from understudy.supervision.accepted_bytes import AcceptedBytes
from understudy.supervision.child import Child
from understudy.supervision.node_report import report
from understudy.supervision.sandboxes import Sandboxes

log = structlog.get_logger()

TIDY_SECONDS = 10.0

PROCESS_RESTARTS = cells.Family(
    "understudy_process_restarts",
    "counter",
    "Processes started again, by kind and by whether they ended, or were killed as they hung or lost files.",
    ("process", "reason"),
)


class Supervisor:
    """A node (workers and sandboxes), with a control plane of its own unless told of another."""

    def __init__(self, settings: UpSettings, *, own_control: bool) -> None:
        self._settings = settings
        self._own_control = own_control
        self._run_dir = RunDir(settings.run_dir)
        self._listeners: list[socket.socket] = []
        self._control: Child | None = None
        self._workers: list[Child] = []
        self._log_writers: list[Child] = []
        self._recorded: list[str] = []  # public names of what is to be recorded
        self._top_ups: list[Child] = []
        self._sandboxes = Sandboxes(settings, self._run_dir, partial(self._count, "sandbox"))
        self._accepted = AcceptedBytes()

    async def run(self) -> None:
        """Run everything until SIGTERM or SIGINT.

        Raises:
            OSError: the public port is taken.
            Unavailable: another node uses the state folder.
        """
        settings = self._settings
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = lock_state(settings.state_dir)
        try:
            await self._run()
        finally:
            os.close(lock)

    async def _run(self) -> None:
        settings = self._settings
        self._listeners = open_listeners(settings.host, settings.port, settings.workers)
        self._begin_anew()
        ended = told_to_end()
        if self._own_control:
            restarted = partial(self._count, "control")
            self._control = Child("control", "control", settings.environment(), restarted=restarted)
        self._start_workers()
        if settings.records:
            self._start_log_writer()
        sync = Sync(
            Link(settings.control_url, settings.token.get_secret_value(), settings.control_ca),
            settings.state_dir / "snapshots" / "node.json",
            self._report,
            self._apply,
        )
        tasks = [asyncio.create_task(work) for work in (sync.run(), self._tidy(), self._watch())]
        await ended.wait()
        log.info("ending: draining workers")
        for task in tasks:
            task.cancel()
        await self._end()

    def _begin_anew(self) -> None:
        """Leave nothing of an earlier node; there is no other: the state folder is ours, so is the port."""
        settings = self._settings
        cells.clear(settings.state_dir / "metrics")
        self._run_dir.clear()
        self._metrics = cells.Metrics(settings.state_dir / "metrics", "supervisor")
        if settings.rate_limit > 0:
            rate_limit.create(settings.buckets or settings.run_dir / "buckets")

    def _start_workers(self) -> None:
        """Start one for each listener, which knows those of its neighbours too, to accept there for them."""
        fds = [listener.fileno() for listener in self._listeners]
        for index, (fd, listener) in enumerate(zip(fds, self._listeners, strict=True)):
            others = {number: other for number, other in enumerate(fds) if number != index}
            environment = {
                "UNDERSTUDY_WORKER": str(index),
                "UNDERSTUDY_LISTENER_FD": str(fd),
                "UNDERSTUDY_NEIGHBOUR_FDS": orjson.dumps(others, option=orjson.OPT_NON_STR_KEYS).decode(),
            }
            worker = Child(
                f"worker {index}",
                "router.worker",
                self._settings.environment(data_plane=True) | environment,
                fds,
                heartbeat=self._run_dir.worker_beat(index),
                restarted=partial(self._worker_restarted, listener),
            )
            self._workers.append(worker)

    def _start_log_writer(self) -> None:
        files = self._run_dir.log_writer
        writer = Child(
            "log writer",
            "router.record.log_writer",
            self._settings.environment(data_plane=True),
            heartbeat=files.beat,
            files=(files.socket,),
            restarted=partial(self._count, "log-writer"),
        )
        self._log_writers.append(writer)

    def _start_top_up(self) -> None:
        """Start it with the first rollout that asks for it; from then on it is there."""
        top_up = Child(
            "top-up",
            "router.record.top_up",
            self._settings.environment(data_plane=True),
            heartbeat=self._run_dir.named("top-up").beat,
            restarted=partial(self._count, "top-up"),
        )
        self._top_ups.append(top_up)

    async def _end(self) -> None:
        for listener in self._listeners:
            listener.close()  # the workers hold their own; whoever comes after they let go is refused at once
        grace = self._settings.drain_seconds + self._settings.grace_seconds + 5.0
        await asyncio.gather(*(worker.end(grace) for worker in self._workers))
        await asyncio.gather(*(top_up.end(grace) for top_up in self._top_ups))
        await self._sandboxes.end(grace)
        await asyncio.gather(*(writer.end(grace) for writer in self._log_writers))
        if self._control is not None:
            await self._control.end(grace)

    async def _tidy(self) -> None:
        """Keep what ended processes counted in one file, and no bytes of models that nobody names."""
        state = self._settings.state_dir
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            await asyncio.to_thread(fold, state / "metrics")
            found = [path for path in state.glob("models/*") if not path.name.startswith(".")]
            for digest in self._accepted.forgettable((path.name for path in found), clock()):
                await asyncio.to_thread(shutil.rmtree, state / "models" / digest, ignore_errors=True)

    async def _watch(self) -> None:
        """Find the processes of the data plane that hang."""
        limit = self._settings.watchdog_seconds
        while True:
            await asyncio.sleep(min(1.0, limit / 4) if limit > 0 else 1.0)
            now = asyncio.get_running_loop().time()
            self._sandboxes.link()
            for child in [*self._workers, *self._sandboxes.children, *self._log_writers, *self._top_ups]:
                child.look(now, limit)

    def _count(self, process: str, reason: str) -> None:
        self._metrics.counter(PROCESS_RESTARTS, process, reason).add()

    def _worker_restarted(self, listener: socket.socket, reason: str) -> None:
        """Count it, and let its neighbours and its successor accept at a door that it may have shut."""
        welcome_newcomers(listener)
        self._count("worker", reason)

    async def _report(self) -> Report:
        children = [("worker", worker) for worker in self._workers]
        children += [("sandbox", sandbox) for sandbox in self._sandboxes.children]
        children += [("log-writer", writer) for writer in self._log_writers]
        children += [("top-up", top_up) for top_up in self._top_ups]
        children += [("control", control) for control in (self._control,) if control is not None]
        return report(self._settings, children, self._recorded)

    async def _apply(self, snapshot: Snapshot) -> None:
        self._recorded = [model for model, served in snapshot.rollouts.items() if served.record is not None]
        self._sandboxes.follow(snapshot)
        wanted = any(served.tops_up for served in snapshot.rollouts.values())
        if wanted and self._settings.records and not self._top_ups:
            self._start_top_up()
        self._accepted.follow(digests(snapshot))


def lock_state(folder: Path) -> int:
    """Take a state folder for this process, for as long as the descriptor is open.

    Raises:
        Unavailable: another node has it.
    """
    descriptor = os.open(folder / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise Unavailable(
            f"the state folder {folder} is in use by another understudy; give this one its own by --state-dir"
        ) from None
    return descriptor


def open_listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """One listening socket a worker, all on one port, among which the kernel spreads connections.

    Raises:
        OSError: the port is taken, also by another server that would share it.
    """
    probe = listen(host, port)  # without sharing, so that a second server on the port is noticed
    port = probe.getsockname()[1]
    probe.close()
    return [listen(host, port, shared=True) for _ in range(count)]


def short_run_dir(state_dir: Path) -> Path:
    """Where Unix sockets go: in the state folder, unless its path is too long for a socket's (107 bytes)."""
    run_dir = (state_dir / "run").absolute()
    if len(str(run_dir)) <= 75:
        return run_dir
    return Path(mkdtemp(prefix="understudy-"))
