"""The processes of one machine: started, watched, replaced, ended in order.

Law: a process that ends unasked is started again, after a pause that doubles up to `LONGEST_PAUSE`.
Listening sockets belong to the supervisor: a worker that dies leaves its queue of connections to the other
workers, which accept there until its successor does. Sandboxes follow from the snapshot: one per candidate.
Each has files of its own, to which the names that workers know are linked, so one that still ends takes
nothing from its successor; one that lost its files is replaced.
Ending: workers drain first, then sandboxes, then control.
"""

import asyncio
import fcntl
import itertools
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import orjson
import structlog
from prometheus_client import CollectorRegistry, start_http_server

from router.node_traffic import served
from router.rollout.snapshot import Candidate, Snapshot, candidates, digests
from router.run_dir import RunDir, SandboxFiles
from router.sync import Link, Sync
from router.wire.node_use import MachineUse, NodeUse, ProcessUse
from router.wire.report import Report
from serving.admission import rate_limit
from serving.errors import Unavailable
from serving.host.heartbeat import Watch
from serving.host.sockets import listen, welcome_newcomers
from serving.host.usage import machine_load, process_load
from serving.telemetry import cells
from serving.telemetry.compaction import fold
from understudy.settings import UpSettings

log = structlog.get_logger()

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
HEALTHY_SECONDS = 10.0
FOLD_SECONDS = 10.0
RETIRE_SECONDS = 2.0
"""A sandbox outlives the last snapshot that names it by this long, until all workers have moved on."""

FORGET_SECONDS = 60.0
"""Bytes of models that no snapshot names are kept this much longer, for an undo and for slow workers."""

PROCESS_RESTARTS = cells.Family(
    "understudy_process_restarts",
    "counter",
    "Processes started again, by kind and by whether they ended, or were killed as they hung or lost files.",
    ("process", "reason"),
)


class Child:
    """One process that is kept running.

    Args:
        name: in logs.
        module: run as `python -m`.
        environment: added to this process's own.
        inherit: file descriptors that it gets.
        heartbeat: the file in which it shows that its event loop turns; None for one that is not watched.
        files: that it makes before it says that its door is open, and cannot do without.
        restarted: told why, `ended`, `hung` or `lost`, each time it is started again.
    """

    def __init__(
        self,
        name: str,
        module: str,
        environment: Mapping[str, str],
        inherit: Sequence[int] = (),
        *,
        heartbeat: Path | None = None,
        files: Sequence[Path] = (),
        restarted: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = name
        if heartbeat is not None:
            environment = {**environment, "UNDERSTUDY_HEARTBEAT": str(heartbeat)}
        self._watch = Watch(heartbeat) if heartbeat is not None else None
        self._restarted = restarted
        self._killed = ""  # why, by this supervisor
        self._files = tuple(files)
        self._argv = [sys.executable, "-m", module]
        self._environment = {**os.environ, **environment}
        self._inherit = tuple(inherit)
        self._process: asyncio.subprocess.Process | None = None
        self._ending = False
        self._task = asyncio.create_task(self._keep(), name=name)

    @property
    def pid(self) -> int | None:
        """Of the process just now."""
        return self._process.pid if self._process is not None else None

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while not self._ending:
            began = loop.time()
            self._killed = ""
            for path in self._files:
                path.unlink(missing_ok=True)  # of the one before
            if self._watch is not None:
                self._watch.begin()
            self._process = await asyncio.create_subprocess_exec(
                *self._argv, env=self._environment, pass_fds=self._inherit
            )
            code = await self._process.wait()
            if self._watch is not None:
                self._watch.ended()
            if self._ending:
                return
            pause = FIRST_PAUSE if loop.time() - began > HEALTHY_SECONDS else min(pause * 2, LONGEST_PAUSE)
            log.warning("process ended; starting it again", process=self.name, code=code, pause=pause)
            self._restarted(self._killed or "ended")
            await asyncio.sleep(pause)

    def look(self, now: float, most_seconds: float) -> None:
        """Kill it if its files are gone, or its event loop has stood still for longer than that.

        Then it is started again.

        Args:
            now: of the supervisor's event loop.
            most_seconds: of silence.
        """
        if self._ending or self._killed or self._process is None or self._process.returncode is not None:
            return
        opened = self._watch is not None and self._watch.is_open
        if opened and not all(path.exists() for path in self._files):
            log.error("process lost its files; killed", process=self.name)
            self._killed = "lost"
            self._process.kill()
            return
        if self._watch is None or most_seconds <= 0:
            return
        silent = self._watch.look(now)
        if silent > most_seconds:
            log.error("process does not react; killed", process=self.name, silent_seconds=round(silent, 1))
            self._killed = "hung"
            self._process.kill()  # a stopped process takes no other signal

    async def end(self, grace_seconds: float) -> None:
        """Ask it to end, and make it end after the grace time."""
        self._ending = True
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(grace_seconds):
                    await process.wait()
            except TimeoutError:
                log.warning("process did not end in time; killed", process=self.name)
                process.kill()
                await process.wait()
        self._task.cancel()


class Supervisor:
    """A node (workers and sandboxes), with a control plane of its own unless told of another."""

    def __init__(self, settings: UpSettings, *, own_control: bool) -> None:
        self._settings = settings
        self._own_control = own_control
        self._control: Child | None = None
        self._workers: list[Child] = []
        self._sandboxes: dict[str, Child] = {}
        self._wanted: dict[str, Candidate] = {}
        self._unwanted: dict[str, float] = {}  # sandboxes about to be retired, since when
        self._digests: set[str] = set()
        self._generations = itertools.count(1)
        self._run_dir = RunDir(settings.run_dir)
        self._files: dict[str, SandboxFiles] = {}  # by id of a sandbox, of its present process
        self._retiring: set[asyncio.Task[None]] = set()
        self._listeners: list[socket.socket] = []

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
        # Nothing of another node is touched: the state folder is ours, and so is the port.
        cells.clear(settings.state_dir / "metrics")
        self._run_dir.clear()
        self._metrics = cells.Metrics(settings.state_dir / "metrics", "supervisor")
        if settings.rate_limit > 0:
            rate_limit.create(settings.buckets or settings.run_dir / "buckets")
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        if self._own_control:
            self._control = Child(
                "control", "control", self._settings.environment(), restarted=partial(self._count, "control")
            )
        fds = [listener.fileno() for listener in self._listeners]
        for index, fd in enumerate(fds):
            others = {number: other for number, other in enumerate(fds) if number != index}
            extra = {
                "UNDERSTUDY_WORKER": str(index),
                "UNDERSTUDY_LISTENER_FD": str(fd),
                "UNDERSTUDY_NEIGHBOUR_FDS": orjson.dumps(others, option=orjson.OPT_NON_STR_KEYS).decode(),
            }
            self._workers.append(
                Child(
                    f"worker {index}",
                    "router.worker",
                    self._environment(extra),
                    fds,
                    heartbeat=self._run_dir.worker_beat(index),
                    restarted=partial(self._worker_restarted, self._listeners[index]),
                )
            )
        sync = Sync(
            Link(settings.control_url, settings.token.get_secret_value(), settings.control_ca),
            settings.state_dir / "snapshots" / "node.json",
            self._report,
            self._apply,
        )
        syncing = asyncio.create_task(sync.run(), name="sync")
        folding = asyncio.create_task(self._fold(), name="fold")
        watching = asyncio.create_task(self._watch(), name="watchdog")
        await ended.wait()
        log.info("ending: draining workers")
        syncing.cancel()
        folding.cancel()
        watching.cancel()
        await self._end()

    async def _fold(self) -> None:
        """Keep what ended processes counted in one file, however many there were."""
        while True:
            await asyncio.sleep(FOLD_SECONDS)
            await asyncio.to_thread(fold, self._settings.state_dir / "metrics")

    async def _end(self) -> None:
        for listener in self._listeners:
            listener.close()  # the workers hold their own; whoever comes after they let go is refused at once
        grace = self._settings.drain_seconds + self._settings.grace_seconds + 5.0
        await asyncio.gather(*(worker.end(grace) for worker in self._workers))
        await asyncio.gather(*(sandbox.end(grace) for sandbox in self._sandboxes.values()))
        if self._control is not None:
            await self._control.end(grace)

    def _environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Of a worker or sandbox."""
        return {**self._settings.environment(data_plane=True), **(extra or {})}

    async def _watch(self) -> None:
        """Find the processes of the data plane that hang."""
        limit = self._settings.watchdog_seconds
        while True:
            await asyncio.sleep(min(1.0, limit / 4) if limit > 0 else 1.0)
            now = asyncio.get_running_loop().time()
            for id_ in self._sandboxes:
                self._run_dir.named(id_).link_to(self._files[id_])
            for child in [*self._workers, *self._sandboxes.values()]:
                child.look(now, limit)

    def _count(self, process: str, reason: str) -> None:
        self._metrics.counter(PROCESS_RESTARTS, process, reason).add()

    def _worker_restarted(self, listener: socket.socket, reason: str) -> None:
        """Count it, and let its neighbours and its successor accept at a door that it may have shut."""
        welcome_newcomers(listener)
        self._count("worker", reason)

    async def _report(self) -> Report:
        return Report(
            instance=f"{self._settings.node}/supervisor/{os.getpid()}",
            node=self._settings.node,
            kind="node",
            revision=0,  # it and the rest of the exchange is for `Sync` to say
            wait=0,
            use=self._use(),
        )

    def _use(self) -> NodeUse | None:
        """What this node answered and uses; None when it cannot be read: no chart is worth an exchange."""
        try:
            answered, compared = served(self._settings.state_dir / "metrics")
            machine = MachineUse(**asdict(machine_load()))
            return NodeUse(answered=answered, compared=compared, processes=self._processes(), machine=machine)
        except (OSError, ValueError, KeyError) as error:
            log.warning("the load of this node cannot be told", reason=str(error))
            return None

    def _processes(self) -> list[ProcessUse]:
        """What the processes of this node use; those that just ended are left out."""
        children = [
            *((worker, "worker") for worker in self._workers),
            *((sandbox, "sandbox") for sandbox in self._sandboxes.values()),
        ]
        if self._control is not None:
            children.append((self._control, "control"))
        pids = [("supervisor", "supervisor", os.getpid())]
        pids += [(kind, child.name, child.pid) for child, kind in children if child.pid is not None]
        return [
            ProcessUse(kind=kind, name=name, pid=pid, **asdict(load))
            for kind, name, pid in pids
            if (load := process_load(pid)) is not None
        ]

    async def _apply(self, snapshot: Snapshot) -> None:
        """Start the sandboxes that are wanted now; end the others once nobody uses them."""
        self._wanted = candidates(snapshot)
        self._digests = digests(snapshot)
        self._later(self._forget_bytes())
        for id_, candidate in self._wanted.items():
            self._unwanted.pop(id_, None)
            if id_ not in self._sandboxes:
                self._sandboxes[id_] = self._start(candidate)
        for id_ in self._sandboxes.keys() - self._wanted.keys() - self._unwanted.keys():
            since = self._unwanted[id_] = asyncio.get_running_loop().time()
            self._later(self._retire(id_, since))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _forget_bytes(self) -> None:
        """Delete accepted bytes that no snapshot names any more, once all workers have moved on."""
        await asyncio.sleep(FORGET_SECONDS)
        await asyncio.to_thread(forget_bytes, self._settings.state_dir / "models", self._digests)

    def _start(self, candidate: Candidate) -> Child:
        extra = {
            "UNDERSTUDY_SANDBOX_MODEL": candidate.model,
            "UNDERSTUDY_SANDBOX_TARGET": candidate.target.model,
            "UNDERSTUDY_SANDBOX_URL": candidate.target.url or "",
            "UNDERSTUDY_SANDBOX_LIVE": "1" if candidate.live else "0",
            "UNDERSTUDY_SANDBOX_SHA256": candidate.sha256,
            "UNDERSTUDY_SANDBOX_FILES": (stem := f"{candidate.id}.{next(self._generations)}"),
        }
        files = self._files[candidate.id] = self._run_dir.named(stem)
        self._run_dir.of(candidate).link_to(files)
        name = f"sandbox of {candidate.target.key} for {candidate.model}"
        return Child(
            name,
            "router.sandbox",
            self._environment(extra),
            heartbeat=files.beat,
            files=files.sockets,
            restarted=partial(self._count, "sandbox"),
        )

    async def _retire(self, id_: str, since: float) -> None:
        await asyncio.sleep(RETIRE_SECONDS)
        if self._unwanted.get(id_) != since:
            return  # it was wanted again
        del self._unwanted[id_]
        sandbox = self._sandboxes.pop(id_, None)
        if sandbox is not None:
            files = self._files.pop(id_)
            await sandbox.end(self._settings.grace_seconds)
            known = () if id_ in self._files else self._run_dir.named(id_).sockets  # else a successor's
            for path in (*files.sockets, files.beat, *known):
                path.unlink(missing_ok=True)


def forget_bytes(folder: Path, digests: Iterable[str]) -> None:
    """Delete the bytes of all other digests."""
    kept = set(digests)
    with suppress(OSError):
        for place in folder.iterdir():
            if place.name not in kept and not place.name.startswith("."):
                shutil.rmtree(place, ignore_errors=True)


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


def show_metrics(settings: UpSettings) -> None:
    """Answer `/metrics` for all processes of a node, from a thread; where control runs too, it does.

    Raises:
        OSError: the port is taken.
    """
    registry = CollectorRegistry()
    registry.register(cells.FolderCollector(settings.state_dir / "metrics"))
    server, _ = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    log.info("metrics of this node", url=f"http://{settings.metrics_host}:{server.server_port}/metrics")


def short_run_dir(state_dir: Path) -> Path:
    """Where Unix sockets go: in the state folder, unless its path is too long for a socket's (107 bytes)."""
    run_dir = (state_dir / "run").absolute()
    if len(str(run_dir)) <= 75:
        return run_dir
    return Path(mkdtemp(prefix="understudy-"))
