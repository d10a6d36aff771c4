"""What routers serve: the compiled, immutable form of all rollouts. Pure.

Law: control is the only one who makes snapshots; a router serves from one whole snapshot at a time.
`weight`, `stable` and `warm` may differ from the document, since steps and promotions move them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from math import fsum

from router.rollout.guards.latency import ClientsGuard, LatencyGuard
from router.rollout.guards.segments import SegmentsGuard
from router.rollout.guards.speed import Paired, paired_for
from router.rollout.values import AS_USUAL, Record, Rollout, Segments, Shadow, Target


@dataclass(frozen=True, slots=True)
class Pin:
    """A model and the bytes of it that were accepted; `sha256` is empty where that is not known."""

    model: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Arm:
    """A candidate of an A/B/n test that answers clients now.

    Attributes:
        number: its place among the document's candidates, from 1; those before it may have been taken off.
        target: who answers.
        weight: percent of the draws, above 0.
        mirror: percent of stable's answers that it also runs.
    """

    number: int
    target: Target
    weight: float
    mirror: float = 0.0


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a candidate stands that does not stand everywhere.

    Attributes:
        nodes: the names of the nodes.
        of: how many nodes there were when these were chosen.
    """

    nodes: tuple[str, ...] = ()
    of: int = 0

    def drawn(self, share: float) -> float:
        """What of the draws on these nodes makes this share of all draws, in percent."""
        return min(100.0, share * self.of / len(self.nodes)) if self.nodes else 0.0


@dataclass(frozen=True, slots=True)
class Waves:
    """How far a canary has come that goes from the nodes of one label to those of the next.

    Attributes:
        now: the label of the nodes on which it goes through its steps.
        done: those where it answers all.
        last: whether no label comes after this one, so that it is promoted everywhere next.
    """

    now: str
    done: tuple[str, ...] = ()
    last: bool = False


@dataclass(frozen=True, slots=True)
class ServedRollout:
    """One rollout as it is served now.

    Attributes:
        rollout: the accepted document.
        stage: the stretch to which counts belong.
        stable: who answers; after a promotion the former candidate.
        canary: the candidate that takes `weight`, or None.
        arms: the candidates of an A/B/n test that are not taken off; there is no canary beside them.
        weight: percent of the draws, 0 to 100.
        mirror: percent of stable's answers that the canary also runs.
        top_up: recorded requests a second that it also runs on each node.
        judged_from: the first stage of what the canary is judged by now.
        warm: targets kept loaded in every worker.
        draw: which draw of sticky users the canary is in; 0 is the first under this name.
        used: the greatest weight that this draw had before this stage, 0 to 100.
        digests: `name/version` -> SHA-256 of the bytes that were accepted, of every local target.
        placed: by key, the candidates that stand on some nodes only, and on which.
        waves: how far the canary has come, where it goes from label to label.
        elsewhere: of a rollout as one node has it (`at`): the canary, where it stands on others only.
    """

    rollout: Rollout
    stage: int
    stable: Target
    canary: Target | None = None
    weight: float = 0.0
    mirror: float = 0.0
    shadows: tuple[Shadow, ...] = ()
    warm: tuple[Target, ...] = ()
    draw: int = 0
    used: float = 0.0
    digests: Mapping[str, str] = field(default_factory=dict)
    top_up: float = 0.0
    judged_from: int = 0
    arms: tuple[Arm, ...] = ()
    placed: Mapping[str, Placed] = field(default_factory=dict)
    waves: Waves | None = None
    elsewhere: Target | None = None

    def at(self, node: str | None, label: str = "") -> "ServedRollout":
        """As one node serves it, or as one does that no candidate was placed on.

        `weight` is then that of the draws on the canary's nodes, on which alone there are draws.

        Args:
            node: its name; None for one that none was placed on.
            label: its label, or empty.
        """
        if self.waves is not None and self.canary is not None:
            return self._in_waves(self.waves, self.canary, label).at(node)
        if not self.placed:
            return self
        away = {key for key, placed in self.placed.items() if node not in placed.nodes}
        shadows = tuple(each for each in self.shadows if each.target.key not in away)
        canary = self.canary
        placed = None if canary is None else self.placed.get(canary.key)
        weight = self.weight if placed is None else placed.drawn(self.weight)
        view = self._without(canary) if canary is not None and canary.key in away else self
        return replace(view, shadows=shadows, placed={}, weight=weight)

    def _without(self, canary: Target) -> "ServedRollout":
        """As nodes serve it on which the canary does not stand."""
        return replace(self, waves=None, canary=None, mirror=0.0, top_up=0.0, elsewhere=canary)

    @property
    def alike(self) -> bool:
        """Whether all nodes serve it alike."""
        return not self.placed and self.waves is None

    def wants(self, role: str, target: Target, node: str, label: str) -> bool:
        """Whether a node is to have a target of `roles` in that role, quicker than by `at`."""
        placed, waves = self.placed.get(target.key), self.waves
        if placed is not None and role in {"canary", "shadow"} and node not in placed.nodes:
            return False
        if waves is None:
            return True
        if role == "warm":
            return waves.last or label == waves.now or target.key != (self.canary and self.canary.key)
        return label == waves.now if role == "canary" else label not in waves.done

    def _in_waves(self, waves: Waves, canary: Target, label: str) -> "ServedRollout":
        """As nodes of a label serve it: its steps, it alone, or stable without it."""
        if label == waves.now:
            return replace(self, waves=None)
        elsewhere = self._without(canary)
        warm = self.warm if waves.last else tuple(each for each in self.warm if each.key != canary.key)
        if label not in waves.done:
            return replace(elsewhere, warm=warm)
        # There shadows would be compared with the canary, in a stage that compares them with stable.
        return replace(elsewhere, stable=canary, warm=(self.stable, *warm), shadows=())

    @property
    def all_arms(self) -> tuple[Arm, ...]:
        """Whom clients may meet beside stable: the canary as a single arm, or those of an A/B/n test."""
        return self.arms if self.canary is None else (Arm(1, self.canary, self.weight, self.mirror),)

    @property
    def stable_weight(self) -> float:
        """Percent of the draws that are stable's."""
        return 100.0 - fsum(arm.weight for arm in self.all_arms)

    def each(self) -> "tuple[ServedRollout, ...]":
        """Each candidate with stable, as if the others were not there: one rollout with one canary each.

        Given that a request was drawn to the one or to stable, it was drawn to the one with the chance
        `weight` of that rollout. Without an A/B/n test that is the rollout itself.
        """
        if not self.arms:
            return (self,)
        left = self.stable_weight
        return tuple(
            replace(
                self,
                canary=arm.target,
                weight=100.0 * arm.weight / (arm.weight + left),
                mirror=arm.mirror,
                arms=(),
            )
            for arm in self.arms
        )

    def seen_by(self, target: Target) -> "ServedRollout":
        """As the sandbox of a candidate of an A/B/n test has it; for anyone else as it is."""
        return next((one for one in self.each() if self.arms and one.canary == target), self)

    def pin(self, target: Target) -> Pin:
        """Which bytes of a local target are meant."""
        return Pin(target.model, "" if target.url is not None else self.digests.get(target.model, ""))

    def candidate(self, target: Target, *, live: bool) -> "Candidate":
        """The sandbox of a canary or shadow."""
        return Candidate(self.rollout.model, target, live=live, sha256=self.pin(target).sha256)

    @property
    def receipts(self) -> bool:
        """Whether its answers carry receipts."""
        return self.rollout.record is not None or bool(self.rollout.outcomes)

    @property
    def record(self) -> Record | None:
        """Which answers go to the prediction log; None for none."""
        return self.rollout.record

    @property
    def tops_up(self) -> bool:
        """Whether recorded requests are to be run on the canary."""
        return self.canary is not None and self.top_up > 0

    @property
    def paired_for(self) -> Paired | None:
        """For what the canary's model is timed beside stable's; None where it is not."""
        return None if self.canary is None or self._at_url else paired_for(self.rollout)

    @property
    def times_answers(self) -> bool:
        """Whether compute times of answers are kept: where latency is guarded and no pairs can be timed."""
        return self.canary is not None and self._at_url and bool(self.rollout.guards_of(LatencyGuard))

    @property
    def times_clients(self) -> bool:
        """Whether it is kept how long clients waited."""
        return self.canary is not None and bool(self.rollout.guards_of(ClientsGuard))

    @property
    def segments(self) -> Segments | None:
        """By which errors are counted; None where no guard asks for it, or nobody is there to be judged."""
        guarded = self.canary is not None and bool(self.rollout.guards_of(SegmentsGuard))
        return self.rollout.segments if guarded else None

    @property
    def _at_url(self) -> bool:
        return any(target is not None and target.url is not None for target in (self.stable, self.canary))

    def roles(self) -> list[tuple[str, Target]]:
        """Every target with its role; one in two roles twice, as a canary that is being promoted."""
        canary = [("canary", arm.target) for arm in self.all_arms]
        shadows = [("shadow", shadow.target) for shadow in self.shadows]
        return [("stable", self.stable), *canary, *shadows, *(("warm", target) for target in self.warm)]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All rollouts by public model name, at one revision.

    Attributes:
        epoch: of the state database that gave the revision; 0: of a control that says none.
        made: when the revision was accepted, in seconds since 1970; 0: not known.
    """

    revision: int = 0
    rollouts: Mapping[str, ServedRollout] = field(default_factory=dict)
    epoch: int = 0
    made: float = 0.0

    def at(self, node: str, label: str = "") -> "Snapshot":
        """As one node serves it; the arguments are those of `ServedRollout.at`."""
        if all(served.alike for served in self.rollouts.values()):
            return self
        found = {model: served.at(node, label) for model, served in self.rollouts.items()}
        return replace(self, rollouts=found)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that runs in a sandbox: the canary of a rollout, or one of its shadows.

    Attributes:
        model: the rollout's public name.
        live: whether clients may be answered by it; a shadow is niced instead.
        sha256: of the bytes that were accepted; empty where that is not known.
    """

    model: str
    target: Target
    live: bool
    sha256: str = ""

    @property
    def id(self) -> str:
        """Short, safe in a file name, the same in every process."""
        server = "" if self.target.server == AS_USUAL else f"\0{self.target.server}"
        text = f"{self.model}\0{self.target.key}\0{self.live}\0{self.sha256}{server}"
        return blake2b(text.encode(), digest_size=8).hexdigest()


def candidates(snapshot: Snapshot) -> dict[str, Candidate]:
    """Who needs a sandbox, by id. A canary at a URL needs one only to be compared."""
    found: dict[str, Candidate] = {}
    for served in snapshot.rollouts.values():
        wanted = [served.candidate(shadow.target, live=False) for shadow in served.shadows]
        for one in served.each():
            compared = one.mirror > 0 or one.top_up > 0
            if one.canary is not None and (one.canary.url is None or compared):
                wanted.append(one.candidate(one.canary, live=True))
        found.update((candidate.id, candidate) for candidate in wanted)
    return found


def local_models(snapshot: Snapshot) -> tuple[Pin, ...]:
    """What every worker loads into its own process."""
    pins = (
        served.pin(target)
        for served in snapshot.rollouts.values()
        for target in (served.stable, *served.warm)
        if target.url is None
    )
    return tuple(dict.fromkeys(pins))


def has_outcomes(snapshot: Snapshot) -> bool:
    """Whether outcomes may be told of any rollout."""
    return any(served.rollout.outcomes for served in snapshot.rollouts.values())


def digests(snapshot: Snapshot) -> set[str]:
    """Of all bytes that the snapshot names."""
    return {sha256 for served in snapshot.rollouts.values() for sha256 in served.digests.values()}
