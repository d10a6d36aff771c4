"""What a door is: its limits, its gate, and the paths that are answered before the ASGI application."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from serving.admission.bodies import Bodies
from serving.admission.gate import Gate
from serving.host.memory import machine_bytes
from serving.models.scheduler import Scheduler
from serving.settings import ServingSettings
from serving.wire.handler import Handler

MACHINE_SHARE = 16
"""Unless told otherwise, bodies under way in one process take at most this part of the memory there is."""


class Limits:
    """Bounds of the public door, shared by the fast path and the ASGI application."""

    __slots__ = ("bodies", "body_bytes", "idle_seconds", "receive_seconds")

    def __init__(
        self,
        body_bytes: int = 64 << 20,
        receive_seconds: float = 30.0,
        idle_seconds: float = 75.0,
        bodies: Bodies | None = None,
    ) -> None:
        self.body_bytes = body_bytes
        self.receive_seconds = receive_seconds
        self.idle_seconds = idle_seconds
        self.bodies = Bodies(16 * body_bytes, body_bytes) if bodies is None else bodies


def limits_of(settings: ServingSettings) -> Limits:
    """The limits that a process was told to keep."""
    largest = settings.max_body_bytes
    total = settings.max_bodies_bytes or max(2 * largest, machine_bytes() // MACHINE_SHARE)
    return Limits(largest, settings.receive_seconds, settings.idle_seconds, Bodies(total, largest))


class Endpoint(Protocol):
    """What a connection needs of the application; read once a request, so that it may be swapped."""

    limits: Limits
    draining: bool
    gate: Gate | None

    @property
    def paths(self) -> Mapping[bytes, Handler]:
        """The infer endpoints that exist just now."""


class ModelsEndpoint(Endpoint, Protocol):
    """One behind which are models."""

    def schedulers(self) -> Iterable[Scheduler]:
        """Of those that have a thread."""
