"""Labels held against two answers to one request: was the candidate nearer to the truth? Pure.

Law: both answers are scored by one rule, that of the outcome, and whether they can be scored is seen by
stable's answer alone, so it is never the candidate's fault that a pair is left out. An answer that no label
equals (the candidate failed, a number that is not finite) is wrong, and has the greatest loss.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple, get_args

import orjson

from control.judging.outcomes.mean_bets import MeanBets
from control.judging.outcomes.paired_labels import PairedLabels, loss_bets
from control.judging.outcomes.stage_outcomes import StageOutcomes
from control.store.label_pairs import LabelRow, PairRow, Place
from router.mirror.label_pairs import Value
from router.rollout.guards.outcomes import AccuracyGuard
from router.rollout.values import Outcome, Rollout

Unscored = Literal["drawn to the canary", "no pair", "not comparable"]
"""Why a label counts for nothing: stable was not to answer; the request was not mirrored, or its pair is not
there (yet); it is text where the answers are numbers, or the other way round."""
UNSCORED: Final[tuple[Unscored, ...]] = get_args(Unscored)


class Side(NamedTuple):
    """What one side answered.

    Args:
        value: as of `router.mirror.label_pairs`.
        name: of the class that it is the number of, where the model has names; else None.
    """

    value: Value
    name: str | None = None

    @classmethod
    def of(cls, value: Value, names: Sequence[str]) -> "Side":
        """The answer of a model whose classes have these names, in their order."""
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(names):
            return cls(value)
        return cls(value, names[value])

    def to_json(self) -> str:
        """As it is kept."""
        return orjson.dumps([self.value] if self.name is None else [self.value, self.name]).decode()

    @classmethod
    def from_json(cls, text: str) -> "Side":
        """What `to_json` made."""
        return cls(*orjson.loads(text))


def gain(outcome: Outcome, label: Value, reference: Side, candidate: Side) -> float | None:
    """The reference's loss less the candidate's, -1 to 1; without a range just one of -1, 0 and 1.

    Args:
        outcome: a label.
        label: the truth.
        reference: what stable answered.
        candidate: what the candidate did.

    Returns:
        None where the label cannot be held against such answers.
    """
    if not _comparable(label, candidate if reference.value is None else reference):
        return None
    return _loss(outcome, label, reference) - _loss(outcome, label, candidate)


def _comparable(label: Value, side: Side) -> bool:
    if side.value is None:
        return True  # both are wrong
    if isinstance(label, str):
        return isinstance(side.value, str) or side.name is not None
    return not isinstance(side.value, str)


def _loss(outcome: Outcome, label: Value, side: Side) -> float:
    value = side.value
    if outcome.range is None and outcome.tolerance is None:
        return 0.0 if value is not None and label in (value, side.name) else 1.0
    if value is None or isinstance(value, str) or label is None or isinstance(label, str):
        return 1.0
    distance = abs(float(label) - float(value))
    if outcome.range is None:
        return 0.0 if outcome.tolerance is not None and distance <= outcome.tolerance else 1.0
    least, most = outcome.range
    return min(distance / (most - least), 1.0)


@dataclass(frozen=True, slots=True)
class LabelSums:
    """What the labels of one stage have come to, for one guard.

    Args:
        labels: right or wrong.
        bets: of labels with a range, what bets on the mean gain have won.
        unscored: labels that count for nothing, by reason.
    """

    labels: PairedLabels = field(default_factory=PairedLabels)
    bets: MeanBets = field(default_factory=MeanBets)
    unscored: Mapping[Unscored, int] = field(default_factory=dict)

    def __add__(self, other: "LabelSums") -> "LabelSums":
        unscored = {
            reason: number
            for reason in UNSCORED
            if (number := self.unscored.get(reason, 0) + other.unscored.get(reason, 0))
        }
        return LabelSums(self.labels + other.labels, self.bets + other.bets, unscored)

    def settled(self) -> "LabelSums":
        """Without reasons that no label has any more."""
        return replace(self, unscored={why: number for why, number in self.unscored.items() if number > 0})

    @property
    def scored(self) -> int:
        """Labels that were held against a pair."""
        return round(self.labels.labels + self.bets.events)

    def shown(self) -> dict[str, Any]:
        """For people."""
        labels = self.labels
        counts = {"gained": labels.gained, "same": labels.same, "lost": labels.lost}
        rounded = {name: round(number) for name, number in counts.items()}
        return {"scored": self.scored, **rounded, "unscored": dict(self.unscored)}

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "labels": self.labels.to_json(),
            "bets": self.bets.to_json(),
            "unscored": dict(self.unscored),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "LabelSums":
        """What `to_json` made."""
        return cls(
            PairedLabels.from_json(value["labels"]),
            MeanBets.from_json(value["bets"]),
            dict(value["unscored"]),
        )

    def outcomes(self) -> StageOutcomes:
        """As the judge wants it; the weight has no part in it."""
        return StageOutcomes(0.0, bets=self.bets, labels=self.labels, waiting=self.unscored.get("no pair", 0))


def summed(outcome: Outcome, margin: float, gains: Sequence[float]) -> LabelSums:
    """The sums of these gains, in any order.

    Args:
        outcome: a label.
        margin: of the guard.
        gains: as of `gain`.
    """
    if outcome.range is not None:
        return LabelSums(bets=loss_bets(gains, margin)) if gains else LabelSums()
    counts = Counter(gains)
    return LabelSums(PairedLabels(float(counts[1.0]), float(counts[0.0]), float(counts[-1.0])))


class Entered(NamedTuple):
    """What labels have come to.

    Args:
        sums: what they add to each stage and guard.
        scored: those that were held against their pair.
        alone: those whose pair is not there.
    """

    sums: Mapping[Place, LabelSums]
    scored: Sequence[LabelRow]
    alone: Sequence[LabelRow]


def entered(
    labels: Sequence[LabelRow],
    alone: Sequence[LabelRow],
    pairs: Sequence[PairRow],
    rollouts: Mapping[str, Rollout],
) -> Entered:
    """Hold labels against pairs.

    Args:
        labels: at which nobody has looked.
        alone: that were looked at before their pair was there.
        pairs: of their requests, of any output.
        rollouts: the documents in force, by public name.
    """
    entering = _Entering(pairs, rollouts)
    without = [label for label in labels if not entering.scores(label, was_alone=False)]
    scored = [label for label in alone if entering.scores(label, was_alone=True)]
    left = {(label.id, label.name) for label in without}
    scored += [label for label in labels if (label.id, label.name) not in left]
    return Entered(entering.sums(), scored, without)


class _Entering:
    """Sums in the making."""

    def __init__(self, pairs: Sequence[PairRow], rollouts: Mapping[str, Rollout]) -> None:
        self._answers = {(pair.id, pair.output): pair for pair in pairs}
        self._rollouts = rollouts
        self._sums: dict[Place, LabelSums] = {}
        self._gains: dict[tuple[Place, Outcome, float], list[float]] = {}

    def scores(self, label: LabelRow, *, was_alone: bool) -> bool:
        """Hold one label against its pair; whether that is there."""
        rollout = self._rollouts.get(label.model)
        outcome = None if rollout is None else rollout.outcome(label.name)
        if rollout is None or outcome is None or outcome.kind != "label":
            return False
        guards = [guard for guard in rollout.guards_of(AccuracyGuard) if guard.outcome == outcome.name]
        pair = self._answers.get((label.id, outcome.output))
        if was_alone != (pair is None):
            why: Unscored = "drawn to the canary" if label.arm else "no pair"
            for guard in guards:
                self._count((label.model, label.stage, guard.name), why, -1 if was_alone else 1)
        if pair is None:
            return False
        sides = Side.from_json(pair.reference), Side.from_json(pair.candidate)
        found = gain(outcome, orjson.loads(label.label), *sides)
        for guard in guards:
            place = pair.model, pair.stage, guard.name
            if found is None:
                self._count(place, "not comparable", 1)
            else:
                self._gains.setdefault((place, outcome, guard.margin), []).append(found)
        return True

    def sums(self) -> dict[Place, LabelSums]:
        """What all of them have come to."""
        for (place, outcome, margin), gains in self._gains.items():
            self._add(place, summed(outcome, margin, gains))
        return self._sums

    def _count(self, place: Place, why: Unscored, number: int) -> None:
        self._add(place, LabelSums(unscored={why: number}))

    def _add(self, place: Place, more: LabelSums) -> None:
        self._sums[place] = self._sums.get(place, LabelSums()) + more
