"""A worker: the public door of a node, with the router and the stable models in one process."""

import asyncio
import gc
import socket
import time
from secrets import randbits

from router.counting.receipt import Receipts
from router.outcomes.endpoint import add_outcomes
from router.outcomes.passing import Passing
from router.receipt_keys import KeptKeys
from router.record.sink import Recording, unrecorded
from router.rollout.snapshot import Snapshot
from router.route_table import RouteTable
from router.run_dir import RunDir
from router.service import RouterService
from router.settings import WorkerSettings
from router.sync import Link, Sync
from router.wire.outcomes import PATH
from router.wire.report import Report
from serving.errors import ServingError
from serving.host.heartbeat import Neighbour
from serving.host.process import die_with_parent, instance_name, set_up_logs
from serving.host.sockets import listen
from serving.http.app import create_app
from serving.http.public_door import Doorkeeper
from serving.http.server import run_app
from serving.predict import add_predict
from serving.telemetry.cells import Metrics
from serving.telemetry.log_sink import log_sink
from serving.telemetry.request_log import observer
from serving.wire.handler import AsItCame


class Worker(RouterService):
    """A router in step with control."""

    def __init__(self, settings: WorkerSettings, metrics: Metrics) -> None:
        log_sink().count_in(metrics)
        watches = observer(settings, f"worker {settings.worker}", first=True)
        receipts = Receipts(settings.node, settings.worker, randbits(24))
        self._keys = KeptKeys(settings.state_dir / "receipt-keys.json", receipts)
        self._recording = Recording.of(
            settings, f"worker-{settings.worker}", lambda: self._table.snapshot.revision
        )
        sinks = unrecorded if self._recording is None else self._recording.sinks
        table = RouteTable(settings, metrics, watches, sinks, receipts=receipts, canary_failed=self._hurry)
        super().__init__(settings, table, settings.state_dir / "metrics")
        self._passing = Passing(
            RunDir(settings.run_dir), lambda: table.snapshot, self._known_as_of, time.time
        )
        self.outcomes = AsItCame(self._passing.tell)
        """Answers what tells outcomes."""
        self._swapped()
        self._instance = instance_name(settings.node, f"worker-{settings.worker}")
        self._node, self._label = settings.node, settings.label
        self._link = Link.for_reports(settings)
        self._cache = settings.state_dir / "snapshots" / f"worker-{settings.worker}.json"
        self._sync: Sync | None = None

    async def start(self) -> None:
        """Begin to settle counts and to follow control.

        Connections are accepted after this: those that wait on the port of a worker that was replaced are
        not told that their model is unknown.
        """
        await super().start()
        self._sync = Sync(self._link, self._cache, self._report, self._apply, self._keys.take)
        self._syncing = asyncio.create_task(self._sync.run(), name="sync")
        await self._sync.begun.wait()
        gc.freeze()  # else each full collection walks all that was imported: a stall of 25 ms and more

    async def stop(self) -> None:
        """Tell control the last counts, then let go of everything."""
        self._syncing.cancel()
        self._table.settle()
        if self._sync is not None:
            await self._sync.leave()
        await super().stop()
        self._passing.close()
        if self._recording is not None:
            await self._recording.close()

    def _swapped(self) -> None:
        self.paths = {**self._table.paths, PATH: self.outcomes}

    async def _apply(self, snapshot: Snapshot) -> None:
        await self._table.apply(snapshot.at(self._node, self._label))

    async def _known_as_of(self, moment: float) -> bool:
        return self._sync is not None and await self._sync.known_as_of(moment)

    def _hurry(self) -> None:
        """Tell control now: what a bad canary costs is the time until control knows."""
        if self._sync is not None:
            self._sync.hurry()

    async def _report(self) -> Report:
        answered = 0 if self._sync is None else self._sync.exchanges
        served, targets, counts = await self._table.report(answered)
        return Report(
            instance=self._instance,
            node=self._node,
            label=self._label,
            kind="worker",
            revision=0,  # it and the rest of the exchange is for `Sync` to say
            wait=0,
            draining=self.draining,
            served=served,
            targets=targets,
            counts=counts,
            receipt_keys=self._keys.ring,
        )


def main() -> None:
    """Run a worker until told to end."""
    settings = WorkerSettings()
    die_with_parent()
    set_up_logs(settings.log_format, settings.log_level)
    if settings.listener_fd >= 0:
        listener = socket.socket(fileno=settings.listener_fd)
    else:
        listener = listen(settings.host, settings.port)
    neighbours, run_dir = [], RunDir(settings.run_dir)
    for number, fd in settings.neighbour_fds.items():
        beside = socket.socket(fileno=fd)
        beside.setblocking(False)
        neighbours.append((beside, Neighbour(run_dir.worker_beat(number))))
    metrics = Metrics(settings.state_dir / "metrics", f"worker{settings.worker}")
    try:
        keeper = Doorkeeper(settings, metrics, settings.buckets)
    except ServingError as error:
        raise SystemExit(f"error: {error}") from None
    worker = Worker(settings, metrics)
    app = create_app(worker)
    add_predict(app, worker)
    add_outcomes(app, worker, worker.outcomes)
    run_app(app, worker, settings, [listener], keeper, settings.heartbeat, neighbours)


if __name__ == "__main__":
    main()
