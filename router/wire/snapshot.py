"""How a snapshot travels from control to routers: whole, or what is new since one that the router has. Pure.

Law: a difference applied to the snapshot that it rests on is the whole one, and is applied to no other. A
rollout travels as its canonical document, which people may read and one parser reads (decision 48), and as
the values that steps and promotions move. What a newer control adds is left out. A candidate that stands on
some nodes is told beside the rest: who knows of no placing finds none, and counts nothing of its stage.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from router.rollout.parser import of_our_own, to_document
from router.rollout.sections.targets import target_of_json, target_to_json
from router.rollout.snapshot import Arm, Placed, ServedRollout, Snapshot, Waves
from router.rollout.values import Rollout, Shadow
from router.wire.report import Held

NO_STAGE = 0
"""The stage, which control never judges, of a rollout whose canary is not where the draws are."""


def to_wire(snapshot: Snapshot, base: Snapshot | None = None) -> dict[str, Any]:
    """As JSON.

    Args:
        snapshot: what is to be in force.
        base: what the router has; only what changed since is told then. None tells everything.
    """
    had = {} if base is None else base.rollouts
    changed = {
        model: _rollout(served) for model, served in snapshot.rollouts.items() if had.get(model) != served
    }
    wire = {**_head(snapshot), "rollouts": changed}
    if base is None:
        return wire
    return {**wire, "base": base.revision, "gone": sorted(had.keys() - snapshot.rollouts.keys())}


def _head(snapshot: Snapshot) -> dict[str, Any]:
    """Which snapshot it is."""
    return {"epoch": snapshot.epoch, "revision": snapshot.revision, "made": snapshot.made}


def held(snapshot: Snapshot) -> Held:
    """What of a snapshot a process says that it has."""
    return Held(epoch=snapshot.epoch, revision=snapshot.revision, made=snapshot.made)


def _rollout(served: ServedRollout) -> dict[str, Any]:
    shown = served.at(None)
    return {
        "document": to_document(served.rollout),
        **_candidates(shown),
        **({"stage": NO_STAGE} if shown.elsewhere is not None else {}),
        **({} if shown is served else {"placed": {**_candidates(served), **_places(served)}}),
        "stable": target_to_json(served.stable),
        "draw": served.draw,
        "used": served.used,
        "digests": dict(served.digests),
        "judged_from": served.judged_from,
        "arms": [
            {**target_to_json(arm.target), "number": arm.number, "weight": arm.weight, "mirror": arm.mirror}
            for arm in served.arms
        ],
    }


def _candidates(served: ServedRollout) -> dict[str, Any]:
    """Those that may be placed, and the stage that counts them."""
    return {
        "stage": served.stage,
        "canary": None if served.canary is None else target_to_json(served.canary),
        "weight": served.weight,
        "mirror": served.mirror,
        "top_up": served.top_up,
        "shadows": [{**target_to_json(shadow.target), "sample": shadow.sample} for shadow in served.shadows],
        "warm": [target_to_json(target) for target in served.warm],
    }


def _places(served: ServedRollout) -> dict[str, Any]:
    """On which nodes they stand."""
    nodes = {key: {"nodes": placed.nodes, "of": placed.of} for key, placed in served.placed.items()}
    waves = served.waves
    if waves is None:
        return {"nodes": nodes}
    return {"nodes": nodes, "waves": {"now": waves.now, "done": waves.done, "last": waves.last}}


class Received:
    """The last snapshot that was taken, as values and as the bytes that are kept on disk.

    Of what is sent again as it was, the value stays the same object.
    """

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self._bytes: dict[str, bytes] = {}

    def read(self, wire: Mapping[str, Any]) -> "Reading":
        """Begin to read what control sent.

        Raises:
            KeyError, TypeError: it is no snapshot.
            ValueError: it is the difference from another one than the last that was taken.
        """
        base = wire.get("base")
        if base is not None and base != self.snapshot.revision:
            raise ValueError(f"a difference from revision {base}, not from {self.snapshot.revision}")
        return Reading(wire, self.snapshot.rollouts, self._bytes, difference=base is not None)

    def take(self, reading: "Reading") -> bool:
        """What was read is in force now; False where it says what was in force before."""
        if held(reading.snapshot) == held(self.snapshot) and reading.texts == self._bytes:
            return False
        self.snapshot, self._bytes = reading.snapshot, reading.texts
        return True

    def encoded(self) -> bytes:
        """The whole snapshot, as `from_wire` reads it."""
        rollouts = {model: orjson.Fragment(text) for model, text in self._bytes.items()}
        return orjson.dumps({**_head(self.snapshot), "rollouts": rollouts})


class Reading:
    """A snapshot that is being read: `rollouts` has to be gone through first."""

    def __init__(
        self,
        wire: Mapping[str, Any],
        had: Mapping[str, ServedRollout],
        texts: Mapping[str, bytes],
        *,
        difference: bool,
    ) -> None:
        self._wire = wire
        self._had, self._had_texts = had, texts
        gone = set(wire["gone"]) if difference else had.keys()
        self._found = {model: served for model, served in had.items() if model not in gone}
        self.texts = {model: text for model, text in texts.items() if model not in gone}

    def rollouts(self) -> Iterator[str]:
        """Read one rollout after the other, so that others may have the event loop in between.

        Raises:
            DocumentError: a document in it is not valid here (control is of another version).
            KeyError, TypeError: it is not a snapshot.
        """
        for model, served in self._wire["rollouts"].items():
            text = orjson.dumps(served)
            known = self._had.get(model) if self._had_texts.get(model) == text else None
            self._found[model] = _served(model, served) if known is None else known
            self.texts[model] = text
            yield model

    @property
    def snapshot(self) -> Snapshot:
        """What was read."""
        wire = self._wire  # of an older control: without an epoch
        return Snapshot(wire["revision"], self._found, wire.get("epoch", 0), wire.get("made", 0.0))


def from_wire(wire: Mapping[str, Any]) -> Snapshot:
    """From JSON, a whole one; keys that this version does not know are left out.

    Raises:
        DocumentError, KeyError, TypeError: as of `Reading.rollouts`.
    """
    reading = Received().read(wire)
    for _ in reading.rollouts():
        pass
    return reading.snapshot


def _served(model: str, wire: Mapping[str, Any]) -> ServedRollout:
    rollout: Rollout = of_our_own(model, wire["document"], f"snapshot/{model}")
    placed: Mapping[str, Any] = wire.get("placed", {})
    wire = {**wire, **placed}
    return ServedRollout(
        rollout=rollout,
        stage=wire["stage"],
        stable=target_of_json(wire["stable"]),
        canary=None if wire["canary"] is None else target_of_json(wire["canary"]),
        weight=wire["weight"],
        mirror=wire["mirror"],
        shadows=tuple(Shadow(target_of_json(shadow), shadow["sample"]) for shadow in wire["shadows"]),
        warm=tuple(target_of_json(target) for target in wire["warm"]),
        draw=wire.get("draw", 0),  # of an older control: none
        used=wire.get("used", 0.0),
        digests=dict(wire.get("digests", {})),
        top_up=wire.get("top_up", 0.0),
        judged_from=wire.get("judged_from", 0),
        arms=tuple(
            Arm(arm["number"], target_of_json(arm), arm["weight"], arm["mirror"])
            for arm in wire.get("arms", ())
        ),
        placed={
            key: Placed(tuple(where["nodes"]), where["of"]) for key, where in placed.get("nodes", {}).items()
        },
        waves=_waves(placed.get("waves")),
    )


def _waves(wire: Mapping[str, Any] | None) -> Waves | None:
    return None if wire is None else Waves(wire["now"], tuple(wire["done"]), wire["last"])
