"""What a process with a public door keeps beside it: certificate, gate, limit of connections.

Only the processes that face clients have one; a sandbox, which answers its own node's workers on a Unix
socket, has none.
"""

import asyncio
from collections.abc import Callable
from math import ceil
from pathlib import Path

from serving.admission.api_keys import load
from serving.admission.gate import Gate
from serving.admission.rate_limit import Rates
from serving.admission.reloading import Reloading
from serving.admission.saturation import LOOK_SECONDS, Saturation
from serving.admission.tls import Certificate
from serving.clock import clock
from serving.host.heartbeat import BEAT_SECONDS
from serving.http.connection_limit import ConnectionLimits
from serving.http.endpoint import ModelsEndpoint
from serving.settings import ServingSettings
from serving.telemetry.cells import Metrics

LATE_SECONDS = 0.02
"""A timer of the loop that is so late says that turns are long."""


class Doorkeeper:
    """Admission to one public door.

    Args:
        buckets: the file of token buckets that the processes of a node share; None for some of its own.

    Attributes:
        certificate: of TLS; None without.
        connections: the limit of connections.

    Raises:
        InvalidInput: the certificate or the file of API keys is refused.
    """

    def __init__(self, settings: ServingSettings, metrics: Metrics, buckets: Path | None = None) -> None:
        self._files: list[Reloading[object]] = []
        self.certificate: Certificate | None = None
        if settings.tls_cert is not None and settings.tls_key is not None:
            self.certificate = Certificate("public", settings.tls_cert, settings.tls_key, metrics)
            self._files.append(self.certificate)  # type: ignore[arg-type]
        keys = None
        if (path := settings.api_keys) is not None:
            keys = Reloading("api keys", (path,), lambda: load(path), metrics)
            self._files.append(keys)  # type: ignore[arg-type]
        self.connections = ConnectionLimits(
            "public", settings.max_connections, settings.max_connections_per_client, metrics
        )
        self._saturation = Saturation(metrics)
        self._gate = Gate(
            metrics,
            keys=None if keys is None else lambda: keys.value,
            rates=_rates(settings, buckets),
            client_header=settings.rate_header,
            max_wait_seconds=settings.max_wait_seconds,
        )

    def open(self, door: ModelsEndpoint) -> None:
        """Put the gate up where requests need it from the first on."""
        door.gate = self._gate if self._gate.needed else None

    async def run(
        self, door: ModelsEndpoint, late: Callable[[], None], streams: Callable[[], float] = lambda: 0.0
    ) -> None:
        """Follow the files, put the gate up and down as the event loop falls behind, say how full it is.

        Args:
            door: gets the gate.
            late: called when turns of the event loop are long, to accept who waits.
            streams: the share that is held of the streams there may be.
        """
        look_at = clock() + LOOK_SECONDS
        async with asyncio.TaskGroup() as tasks:
            for file in self._files:
                tasks.create_task(file.run())
            while True:
                due = clock() + BEAT_SECONDS
                await asyncio.sleep(BEAT_SECONDS)
                now = clock()
                if now - due > LATE_SECONDS:
                    late()
                self._gate.turned(now - due, now)
                self.open(door)
                if now >= look_at:
                    look_at = now + LOOK_SECONDS
                    self._look(now, door, streams())

    def _look(self, now: float, door: ModelsEndpoint, streams: float) -> None:
        bodies = door.limits.bodies
        held = {"bodies": bodies.share, "connections": self.connections.share, "streams": streams}
        self._saturation.look(now, held, door.schedulers(), bodies.refused)


def _rates(settings: ServingSettings, buckets: Path | None) -> Rates | None:
    if settings.rate_limit <= 0:
        return None
    burst = settings.rate_burst or max(1, ceil(settings.rate_limit))
    return Rates(settings.rate_limit, burst, buckets)
