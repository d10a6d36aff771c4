"""The processes of one machine: started, watched, replaced, ended in order.

Law: listening sockets belong to the supervisor: a worker that dies leaves its queue of connections to the
other workers, which accept there until its successor does. Sandboxes follow from the snapshot: one per
candidate. A node with a prediction log has a top-up too, once a rollout asks for it; one whose rollouts have
outcomes, or that has some on disk, an outcome taker. All are forked from one process that has imported what
they need, as long as that is there.
Ending: workers drain first, then the top-up, the outcome taker and sandboxes, then the log writer, which has
all records by then, then control.
"""

import asyncio
import fcntl
import os
import shutil
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import orjson
import structlog

from router.rollout.snapshot import Snapshot, digests, has_outcomes
from router.run_dir import RunDir
from router.sync import Link, Sync
from router.wire.report import Exchange
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
from understudy.supervision.preloader import Preloader
from understudy.supervision.relay import Relay
from understudy.supervision.relay_door import RelayDoor
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
        self._beside: dict[str, Child] = {}  # by kind, each of which there is once at most
        self._recorded: list[str] = []  # public names of what is to be recorded
        self._preloader = Preloader()
        restarted = partial(self._count, "sandbox")
        self._sandboxes = Sandboxes(settings, self._run_dir, restarted, self._preloader.start)
        self._accepted = AcceptedBytes()

    def _follow_control(self) -> None:
        """By one exchange that is held for snapshots, and one each second that tells of all processes."""
        settings = self._settings
        link = Link(settings.control_url, settings.token.get_secret_value(), settings.control_ca)
        cache = settings.state_dir / "snapshots" / "node.json"
        self._sync = Sync(link, cache, self._report, self._apply)
        self._relay = Relay(self._sync, link)
        self._door = RelayDoor(self._run_dir.relay, self._relay)

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
        if settings.grpc_workers:
            look_at_port(settings.host, settings.grpc_port)
        self._begin_anew()
        ended = told_to_end()
        self._preloader.begin(settings.environment(data_plane=True), partial(self._count, "preloader"))
        if self._own_control:
            restarted = partial(self._count, "control")
            start = self._preloader.start
            self._control = Child(
                "control",
                "control",
                settings.environment(),
                restarted=restarted,
                start=start,
                afterwards={"UNDERSTUDY_NEW_EPOCH": "false"},  # a person said so of one start
            )
        self._follow_control()
        await self._door.open()  # before anybody reports there
        self._start_workers()
        if settings.records:
            writer = self._run_dir.log_writer
            self._start_beside("log-writer", "router.record.log_writer", (writer.socket,))
        if any((settings.state_dir / "outcomes").glob("*")):  # of an earlier start, for control
            self._start_outcome_taker()
        relaying = asyncio.create_task(self._relay.run())
        tasks = [asyncio.create_task(work) for work in (self._sync.run(), self._tidy(), self._watch())]
        await ended.wait()
        log.info("ending: draining workers")
        for task in tasks:
            task.cancel()
        await self._end()
        relaying.cancel()  # after all who report

    def _begin_anew(self) -> None:
        """Leave nothing of an earlier node; there is no other: the state folder is ours, so is the port."""
        settings = self._settings
        cells.clear(settings.state_dir / "metrics")
        self._run_dir.clear()
        self._metrics = cells.Metrics(settings.state_dir / "metrics", "supervisor")
        if settings.rate_limit > 0:
            rate_limit.create(settings.buckets or settings.run_dir / "buckets")

    def _start_workers(self) -> None:
        """Start one for each listener, which knows those of its neighbours too, to accept there for them.

        Workers with a gRPC door open it themselves, all on one port.
        """
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
                start=self._preloader.start,
            )
            self._workers.append(worker)
        for index in range(len(fds), len(fds) + self._settings.grpc_workers):
            worker = Child(
                f"gRPC worker {index}",
                "router.grpc_worker",
                self._settings.environment(data_plane=True) | {"UNDERSTUDY_WORKER": str(index)},
                heartbeat=self._run_dir.worker_beat(index),
                restarted=partial(self._count, "worker"),
                start=self._preloader.start,
            )
            self._workers.append(worker)

    def _start_beside(self, kind: str, module: str, files: Sequence[Path] = ()) -> None:
        """Start a process that workers need beside them, unless it is there; from then on it is."""
        if kind not in self._beside:
            self._beside[kind] = Child(
                kind,
                module,
                self._settings.environment(data_plane=True),
                heartbeat=self._run_dir.named(kind).beat,
                files=files,
                restarted=partial(self._count, kind),
                start=self._preloader.start,
            )

    def _start_outcome_taker(self) -> None:
        files = self._run_dir.outcome_taker
        self._start_beside("outcome-taker", "router.outcomes.taker", (files.socket,))

    async def _end(self) -> None:
        for listener in self._listeners:
            listener.close()  # the workers hold their own; whoever comes after they let go is refused at once
        grace = self._settings.drain_seconds + self._settings.grace_seconds + 5.0
        await self._preloader.end(grace)
        await asyncio.gather(*(worker.end(grace) for worker in self._workers))
        await self._end_beside(grace, "top-up", "outcome-taker")
        await self._sandboxes.end(grace)
        await self._end_beside(grace, "log-writer")
        self._door.close()
        self._relay.close()
        if self._control is not None:
            await self._control.end(grace)

    async def _end_beside(self, grace: float, *kinds: str) -> None:
        await asyncio.gather(*(self._beside[kind].end(grace) for kind in kinds if kind in self._beside))

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
            await self._door.open()
            for child in [*self._workers, *self._sandboxes.children, *self._beside.values()]:
                child.look(now, limit)

    def _count(self, process: str, reason: str) -> None:
        self._metrics.counter(PROCESS_RESTARTS, process, reason).add()

    def _worker_restarted(self, listener: socket.socket, reason: str) -> None:
        """Count it, and let its neighbours and its successor accept at a door that it may have shut."""
        welcome_newcomers(listener)
        self._count("worker", reason)

    async def _report(self) -> Exchange:
        children = [("preloader", child) for child in (self._preloader.child,) if child is not None]
        children += [("worker", worker) for worker in self._workers]
        children += [("sandbox", sandbox) for sandbox in self._sandboxes.children]
        children += self._beside.items()
        children += [("control", control) for control in (self._control,) if control is not None]
        return report(self._settings, children, self._recorded)

    async def _apply(self, snapshot: Snapshot) -> None:
        self._recorded = [model for model, served in snapshot.rollouts.items() if served.record is not None]
        here = snapshot.at(self._settings.node, self._settings.label)
        self._sandboxes.follow(here)
        wanted = any(served.tops_up for served in here.rollouts.values())
        if wanted and self._settings.records:
            self._start_beside("top-up", "router.record.top_up")
        if has_outcomes(snapshot):
            self._start_outcome_taker()
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


def look_at_port(host: str, port: int) -> None:
    """See that nobody has the gRPC port: sockets of gRPC would share it with any other server's.

    Raises:
        Unavailable: somebody has it.
    """
    try:
        listen(host, port).close()
    except OSError as error:
        raise Unavailable(f"gRPC port {port}: {error.strerror}") from None


def short_run_dir(state_dir: Path) -> Path:
    """Where Unix sockets go: in the state folder, unless its path is too long for a socket's (107 bytes)."""
    run_dir = (state_dir / "run").absolute()
    if len(str(run_dir)) <= 75:
        return run_dir
    return Path(mkdtemp(prefix="understudy-"))
