"""A target that tells when it is given more than it can work on.

Law: a canary that is busy refuses, and stable answers for it, as where it is ejected: those requests are
left out of the evidence of both. Stable never refuses here; whoever routes asks its shedder before the draw.
"""

from router.targets.targets import Refusal, Target
from serving.admission.shedding import Checked, Shedder, Tracked
from serving.telemetry.cells import Metrics
from serving.wire.handler import Handler
from serving.wire.tensors import Signature


class LimitedTarget(Tracked):
    """As the target `inner`, with its requests under way counted and limited.

    Args:
        canary: whether it is one.
    """

    def __init__(self, inner: Target, shedder: Shedder, *, canary: bool) -> None:
        super().__init__(inner, shedder)
        self.key = inner.key
        self.model = inner.model
        self.place = inner.place
        self.floor = inner.floor
        self._target = inner
        self._canary = canary

    @property
    def signature(self) -> Signature | None:
        """As `Target`."""
        return self._target.signature

    def refusal(self, now: float) -> Refusal:
        """As `Target`."""
        refusal = self._target.refusal(now)
        return refusal or ("busy" if self._canary and self.shedder.limit.full else "")

    def gave_up_on(self) -> None:
        """As `Target`."""
        self._target.gave_up_on()


class Limits:
    """The limited targets of a router; a limit outlives the snapshots that use its target without a gap.

    Args:
        wanted: False limits nothing.
    """

    def __init__(self, metrics: Metrics, *, wanted: bool) -> None:
        self._metrics = metrics
        self._wanted = wanted
        self._shedders: dict[tuple[str, str], Shedder] = {}
        self._used: set[tuple[str, str]] = set()

    def of(self, target: Target, *, canary: bool) -> Target:
        """The target, limited where it has requests under way: not where it answers on the event loop."""
        if not self._wanted or target.floor is None:
            return target
        place = target.key, target.place
        shedder = self._shedders.get(place)
        if shedder is None:
            shedder = self._shedders[place] = Shedder(self._metrics, target.key, target.floor)
        self._used.add(place)
        return LimitedTarget(target, shedder, canary=canary)

    def keep(self, target: Target) -> None:
        """The next snapshot has this target as it is."""
        if isinstance(target, LimitedTarget):
            self._used.add((target.key, target.place))

    def settle(self) -> None:
        """Called when a snapshot is in force: forget the limits that it does not use."""
        for place in self._shedders.keys() - self._used:
            self._shedders.pop(place).close()
        self._used.clear()


def checked(stable: Target, handler: Handler) -> Handler:
    """A handler of a route, asked only while its stable target has room."""
    return Checked(handler, stable.shedder) if isinstance(stable, LimitedTarget) else handler
