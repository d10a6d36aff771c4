"""Controls over one database whose writes can be held, for tests in which everything happens at once."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from control.fleet.nodes import Nodes
from control.pilot.autopilot import Autopilot
from control.pilot.examiner import Examiner
from control.pilot.prometheus import Prometheus
from control.rollouts.catalogue import Catalogue
from control.rollouts.events import Event
from control.rollouts.progress import IllegalTransition
from control.rollouts.writer import ANY, Actor, Door
from control.store.store import Store
from serving.telemetry.cells import Metrics

ANNA = Actor("anna", "api")


class Disk:
    """A store whose writes can be held, as by a disk that syncs."""

    def __init__(self, store: Store) -> None:
        self.free = threading.Event()
        self.free.set()
        for name in ("change", "tick"):
            setattr(store, name, self._held(getattr(store, name)))

    def _held(self, write):
        def wait_and_write(*arguments):
            assert self.free.wait(20)
            return write(*arguments)

        return wait_and_write


def CLOCK() -> float:  # noqa: N802  (stands for a clock that never moves: every report is fresh)
    return 1000.0


class Control:
    """One control plane over the database."""

    def __init__(
        self,
        url: str,
        catalogue: Catalogue,
        metrics: Metrics,
        follow: Callable[[Door], None],
        **parts: Any,
    ) -> None:
        self.store = Store(url, busy_seconds=5.0)
        self.disk = Disk(self.store)
        self.door = Door(self.store, catalogue)
        self.nodes = Nodes()
        self.door.listeners.append(lambda *_: follow(self.door))
        examiner = Examiner(self.nodes, Prometheus(""), metrics, **parts)
        self.door.aa_seen = examiner.aa_evidence
        self.pilot = Autopilot(self.door, self.nodes, examiner, clock=CLOCK)

    def lead(self, name: str) -> None:
        """Take the lead, from whoever has it: it rests, by a clock that jumps."""
        if not self.store.lead(name, 0.0, 1.0):
            assert self.store.lead(name, 2.0, 1.0)


class Moves:
    """Moves, each begun while those before may be under way, on the control that leads now.

    Attributes:
        people: what somebody may do to the rollout `digits`, by its word.
    """

    people: Mapping[str, Event] = {}

    def __init__(self, url: str, catalogue: Catalogue, metrics: Metrics, **parts: Any) -> None:
        self.controls: list[Control] = []
        self._url, self._catalogue, self._metrics, self._more = url, catalogue, metrics, parts
        self._running: list[asyncio.Task[Any]] = []

    def follow(self, door: Door) -> None:
        """A change is in force."""

    async def move(self, words: list[str]) -> None:
        """One that all stories have: a look, what people do, or a method by its name."""
        match words:
            case ["look"]:
                self.begin(self.now.pilot._look_at("digits"))
            case ["do", action]:
                self.begin(self.now.door.act("digits", self.people[action], ANNA, ANY))
            case [name]:
                await getattr(self, name)()

    def begin(self, move: Any) -> None:
        """Begin it, and go on."""
        self._running.append(asyncio.create_task(move))

    async def take_over(self) -> None:
        """Another control leads; the one before may still hold a write."""
        self.now = Control(self._url, self._catalogue, self._metrics, self.follow, **self._more)
        self.controls.append(self.now)
        self.now.lead(f"control {len(self.controls)}")
        await self.now.door.open()

    async def hold(self) -> None:
        """The disk writes nothing more."""
        self.now.disk.free.clear()

    async def release(self) -> None:
        """The disk writes again."""
        self.now.disk.free.set()

    async def settle(self) -> None:
        """Until all that was begun has ended, well or with a refusal."""
        for control in self.controls:
            control.disk.free.set()
        for outcome in await asyncio.gather(*self._running, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, IllegalTransition):
                assert getattr(outcome, "status", None) in {412, 503}, outcome
        self._running.clear()

    def close(self) -> None:
        """Let go of the database."""
        for control in self.controls:
            control.store.close()
