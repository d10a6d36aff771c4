"""What a fault is played on: scenes put rollouts of their own on one `understudy up`, any number in turn.

The scenes themselves: `harness.scene_list`.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.hostile import Hostile, hostile
from harness.incident import Fault, Incident, endure
from harness.load import Load
from harness.pilot import Pilot, piloted
from harness.system import MODELS, Up, eventually, running
from harness.wire import Wire, wire_to

OPTIONS = ("--workers", "2")
# A machine that stalls for a second sheds requests, rightly; here only the faults are to cost any.
ENVIRONMENT = {"UNDERSTUDY_RECEIVE_SECONDS": "2", "UNDERSTUDY_MAX_WAIT_SECONDS": "0"}


@dataclass(frozen=True, slots=True)
class Place:
    """A running system; a target outside of it, and the bad network to that."""

    up: Up
    server: Hostile
    wire: Wire

    @property
    def far(self) -> dict[str, str]:
        """The target, by way of the network."""
        return {"model": "digits/2", "url": self.wire.url}

    @property
    def far_key(self) -> str:
        """How it is called in metrics; clients are told no URL."""
        return f"digits/2@{self.wire.url}"


@contextlib.contextmanager
def place(folder: Path, models: Path = MODELS) -> Iterator[Place]:
    """A system on which scenes are played."""
    with hostile() as server, wire_to(int(server.url.rpartition(":")[2])) as wire:
        text = "digits: {stable: digits/1}"
        with running(folder, text, models=models, options=OPTIONS, environment=ENVIRONMENT) as up:
            yield Place(up, server, wire)


def settled(up: Up) -> bool:
    """Whether control leads and every process follows it."""
    up.admin.get("/v1/rollouts").raise_for_status()
    return up.all_targets_ready()


def grows(count: Callable[[], float], by: float = 20) -> Callable[[], bool]:
    """Whether a number has grown by so much since this was first asked."""
    first: list[float] = []

    def grown() -> bool:
        first[:] = first or [count()]
        return count() >= first[0] + by

    return grown


@dataclass(frozen=True, slots=True)
class Stage:
    """What a scene is given: the place, its public name, the load that it will be under."""

    place: Place
    model: str
    load: Load

    def answers(self, target: str) -> Callable[[], bool]:
        """Whether clients are given answers by this target from now on."""
        return grows(lambda: self.load.ledger.targets[target])

    def metric(self, name: str, **labels: str) -> float:
        """Of this public name."""
        return self.place.up.metric(f"understudy_{name}", model=self.model, **labels)

    def sandbox(self) -> int:
        """The process of the canary."""
        pilot = Pilot(self.place.up, self.model)
        return int(eventually(pilot.sandboxes, "the canary's sandbox")[0])


@dataclass(frozen=True, slots=True)
class Scene:
    """One row of the table.

    Args:
        name: of the test, and of the public model.
        document: of the rollout.
        fault: what is done.
        allowed: statuses other than 200 that clients may see.
        rate: of the load, requests a second.
    """

    name: str
    document: Callable[[Place], Mapping[str, object]]
    fault: Callable[[Stage], Fault]
    allowed: frozenset[int] = frozenset()
    rate: float = 100.0


def play(scene: Scene, at: Place, calm: int = 100) -> Incident:
    """Put the rollout, run the load, have the fault."""
    up = at.up
    at.wire.set()
    at.server.manner = "well"
    with piloted(up, scene.name, scene.document(at)) as pilot:
        eventually(up.all_targets_ready, f"{scene.name} is ready")
        load = pilot.load(scene.rate)
        asked = at.server.asked
        stage = Stage(at, scene.name, load)
        received = lambda: {"digits/2": at.server.asked - asked}  # noqa: E731
        return endure(up, scene.name, load, scene.fault(stage), calm=calm, received=received)
