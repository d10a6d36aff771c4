"""How full a process with a public door is, from 0 to 1, for whoever adds and removes nodes.

Law: it is the greatest share, of all that the process can run out of. Each share rises with the load alone,
and is 1 where requests begin to be refused for want of that resource; so memory that models take, which no
further node would free, is not among them. What is used by the second is a mean over `MEAN_SECONDS`; what is
held, and whether anybody was refused, is of the moment
(docs/decisions/0084-saturation-is-the-share-that-binds.md).
"""

from collections.abc import Callable, Iterable, Mapping
from math import exp
from typing import Final

from serving.admission.gate import REJECTED
from serving.host.usage import quota_load, thread_busy_seconds
from serving.models.scheduler import Scheduler
from serving.telemetry.cells import Family, Metrics

LOOK_SECONDS: Final = 1.0
MEAN_SECONDS: Final = 5.0
"""What is older counts for less and less."""

SATURATION = Family(
    "understudy_saturation",
    "gauge",
    "How full the fullest process with a public door is: 0 idle, 1 where it begins to refuse requests.",
    merge="max",
)
RESOURCE_SATURATION = Family(
    "understudy_resource_saturation",
    "gauge",
    "What understudy_saturation is the greatest of: loop (the event loop is busy), cpu (of the container's "
    "limit), model (the busiest thread of a model, by full batches), queue (the longest), bodies (memory for "
    "them), connections, streams (of gRPC), refusals (1: somebody was refused for want of one, just now).",
    ("resource",),
    merge="max",
)
RESOURCES: Final = ("loop", "cpu", "model", "queue", "bodies", "connections", "streams", "refusals")
OVERLOADED: Final = ("wait", "concurrency", "connections")
"""Reasons of `REJECTED` that say that something is short; the others are rules for one client."""


class Meter:
    """Something used by the second, as a mean of late.

    Attributes:
        share: from 0 to 1.
    """

    __slots__ = ("_at", "_mean", "_total")

    def __init__(self) -> None:
        self._at: float | None = None
        self._mean = self._total = 0.0

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(self._mean, 1.0)

    def read(self, total: float, now: float) -> float:
        """Its share after another look.

        Args:
            total: what was used until now, which grows by 1 a second at most in the long run.
            now: monotonic, in seconds.
        """
        if self._at is not None and now > self._at:
            seconds = now - self._at
            used = max(0.0, total - self._total) / seconds
            self._mean += (used - self._mean) * (1.0 - exp(-seconds / MEAN_SECONDS))
        self._at, self._total = now, total
        return self.share


class Saturation:
    """That of this process, for its metrics.

    Args:
        metrics: get it.
        busy_seconds: of the thread with the event loop, until now.
        quota: as `quota_load`.
    """

    def __init__(
        self,
        metrics: Metrics,
        busy_seconds: Callable[[], float] = thread_busy_seconds,
        quota: Callable[[], tuple[float, float] | None] = quota_load,
    ) -> None:
        self._greatest = metrics.gauge(SATURATION)
        self._gauges = {resource: metrics.gauge(RESOURCE_SATURATION, resource) for resource in RESOURCES}
        self._rejected = [metrics.counter(REJECTED, "public", reason) for reason in OVERLOADED]
        self._busy_seconds, self._quota = busy_seconds, quota
        self._loop, self._cpu = Meter(), Meter()
        self._models: dict[Scheduler, Meter] = {}
        self._refused = 0.0

    def look(
        self, now: float, held: Mapping[str, float], schedulers: Iterable[Scheduler], refused: int = 0
    ) -> float:
        """Bring the metrics up to date; to be called every `LOOK_SECONDS`.

        Args:
            now: monotonic, in seconds.
            held: by resource, what share of it is taken at this moment.
            schedulers: of the models that have a thread.
            refused: requests that were, of which neither these nor `REJECTED` know.

        Returns:
            The greatest share.
        """
        threads = list(schedulers)
        self._models = {thread: self._models.get(thread) or Meter() for thread in threads}
        models = [meter.read(thread.work_seconds, now) for thread, meter in self._models.items()]
        shares = {
            **held,
            "loop": self._loop.read(self._busy_seconds(), now),
            "cpu": self._of_quota(now),
            "model": max(models, default=0.0),
            "queue": max((thread.queue_share for thread in threads), default=0.0),
            "refusals": self._of_refused(refused + sum(thread.refused for thread in threads)),
        }
        for resource, share in shares.items():
            self._gauges[resource].set(min(share, 1.0))
        greatest = min(max(shares.values()), 1.0)
        self._greatest.set(greatest)
        return greatest

    def _of_quota(self, now: float) -> float:
        found = self._quota()
        if found is None:
            return 0.0
        used, cores = found
        return self._cpu.read(used / cores, now)

    def _of_refused(self, others: int) -> float:
        """1 where somebody was refused since the last look."""
        refused = others + sum(counter.value for counter in self._rejected)
        before, self._refused = self._refused, refused
        return float(refused > before)
