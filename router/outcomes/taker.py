"""The outcome taker: what clients tell the workers of a node, read and kept in a process of its own.

Law: it runs only where nobody else wants to, so reading and verifying, which take far more than inference
does, keep no worker from its core. It follows control by itself, and understands what a worker passes on by
a snapshot at least as new as that one's. What it has answered for is on disk, and sent by it or a successor.
"""

import asyncio
import gc
from typing import Final

import orjson
from starlette.types import Receive, Scope, Send

from router.outcomes.door import OutcomesDoor
from router.outcomes.passing import ANSWER_SECONDS
from router.outcomes.sender import Sender
from router.outcomes.spool import Spool
from router.receipt_keys import KeptKeys
from router.rollout.snapshot import Snapshot
from router.run_dir import RunDir
from router.settings import NodeSettings
from router.sync import Link, Sync
from router.wire.outcomes import MAX_BODY_BYTES, PATH, REVISION
from router.wire.report import Report
from serving.admission.gate import Gate
from serving.errors import NotFound
from serving.host.process import die_with_parent, instance_name, run_when_idle, set_up_logs
from serving.host.sockets import listen_unix
from serving.http.app import respond
from serving.http.endpoint import Limits, limits_of
from serving.http.replies import error_reply
from serving.http.server import run_app
from serving.telemetry.cells import Metrics
from serving.telemetry.log_sink import log_sink
from serving.wire.handler import Handler, Single
from serving.wire.message import Call, Reply

NAME: Final = "outcome-taker"


class OutcomeTaker:
    """The door at which workers pass on what they are told; what is kept until control has it.

    Args:
        settings: of the node.
        metrics: where outcomes are counted.
    """

    def __init__(self, settings: NodeSettings, metrics: Metrics) -> None:
        largest = min(settings.max_body_bytes, MAX_BODY_BYTES)
        self.limits = Limits(largest, 2 * ANSWER_SECONDS, bodies=limits_of(settings).bodies)
        self.draining = False
        self.gate: Gate | None = None
        self.paths: dict[bytes, Handler] = {PATH: Single(self._tell)}
        self._settings, self._metrics = settings, metrics
        self._instance = instance_name(settings.node, NAME)
        self._snapshot = Snapshot()
        self._keys = KeptKeys(settings.state_dir / "receipt-keys.json")

    def schedulers(self) -> tuple[()]:
        """As `ModelsEndpoint`: it has no models."""
        return ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application, which has a life and no endpoints."""
        if scope["type"] != "lifespan":
            await respond(error_reply(NotFound("no such endpoint")))(scope, receive, send)
            return
        await receive()
        await self._start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        """Follow control, and send what is on disk."""
        settings = self._settings
        spool = Spool(settings.state_dir / "outcomes", NAME, settings.outcomes_spool_bytes, self._metrics)
        cache = settings.state_dir / "snapshots" / f"{NAME}.json"
        link = Link.for_reports(settings)
        self._sync = Sync(link, cache, self._report, self._apply, self._keys.take)
        self._door = OutcomesDoor(
            spool,
            Sender(Link.of(settings), spool),
            lambda: self._keys.keys,
            self._sync.known_as_of,
            lambda: self._snapshot,
            self._metrics,
        )
        self._syncing = asyncio.create_task(self._sync.run(), name="sync")
        await self._sync.begun.wait()
        self._door.start()
        gc.freeze()  # else each full collection walks all that was imported
        run_when_idle()

    async def _stop(self) -> None:
        """Send what is there, if control takes it soon, and leave control."""
        await self._door.close()
        self._syncing.cancel()
        self._sync.close()

    async def _tell(self, call: Call) -> Reply:
        taken = await self._door.take(call.body, int(call.headers.get(REVISION, b"0")))
        answer = {
            "accepted": taken.accepted,
            "left_out": taken.left_out,
            "examples": [example._asdict() for example in taken.examples],
        }
        return Reply(200, orjson.dumps(answer))

    async def _apply(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    async def _report(self) -> Report:
        return Report(
            instance=self._instance,
            node=self._settings.node,
            kind=NAME,
            revision=0,  # it and the rest of the exchange is for `Sync` to say
            wait=0,
            draining=self.draining,
            receipt_keys=self._keys.ring,
        )


def main() -> None:
    """Take outcomes until told to end, which is after the workers."""
    settings = NodeSettings()
    settings = settings.model_copy(update={"drain_seconds": 0.0})
    die_with_parent()
    set_up_logs(settings.log_format, settings.log_level)
    listener = listen_unix(RunDir(settings.run_dir).outcome_taker.socket)
    metrics = Metrics(settings.state_dir / "metrics", NAME)
    log_sink().count_in(metrics)
    taker = OutcomeTaker(settings, metrics)
    run_app(taker, taker, settings, [listener], heartbeat=settings.heartbeat)


if __name__ == "__main__":
    main()
