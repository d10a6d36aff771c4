"""Labels held against two answers to one request: was the candidate nearer to the truth? Pure.

Law: both answers are scored by one rule, that of the outcome, and whether they can be scored is seen by
stable's answer alone, so it is never the candidate's fault that a pair is left out. An answer that no label
equals (the candidate failed, a number that is not finite) is wrong, and has the greatest loss.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Final, Literal, NamedTuple, get_args

import orjson

from control.judging.outcomes.mean_bets import MeanBets
from control.judging.outcomes.paired_labels import PairedLabels, loss_bets
from control.judging.outcomes.side_sums import Two
from control.judging.outcomes.stage_outcomes import StageOutcomes
from control.store.label_pairs import ALONE, WAITS, LabelRow, PairRow, scored_bit
from control.store.outcome_entries import Place, guard_place
from router.mirror.label_pairs import Value
from router.rollout.guards.outcomes import AccuracyGuard
from router.rollout.values import Outcome, Rollout

Unscored = Literal["drawn to the canary", "drawn to a candidate", "no pair", "not comparable"]
"""Why a label counts for nothing: stable was not to answer (with a canary, or in an A/B/n test); the request
was not mirrored, or its pair is not there (yet); it is text where answers are numbers, or the reverse.
"""
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
        sums: what they add to each stage, by guard and by the two sides of an A/B/n test.
        labels: those of which something became, with what that is.
    """

    sums: Mapping[Place, LabelSums]
    labels: Sequence[LabelRow]


def sides_place(model: str, stage: int, outcome: str, two: Two) -> Place:
    """Where it is kept how two sides of an A/B/n test compare by a label."""
    first, second = two
    return model, stage, f"best {outcome} {first} {second}"


def entered(
    labels: Sequence[LabelRow],
    pairs: Sequence[PairRow],
    rollouts: Mapping[str, Rollout],
    candidates: Callable[[str, int], Mapping[str, int]],
) -> Entered:
    """Hold labels against pairs.

    Args:
        labels: at which nobody has looked, or that were looked at when a pair was not there.
        pairs: all that there are of their requests, of any output and candidate.
        rollouts: the documents in force, by public name.
        candidates: of an A/B/n test, the numbers of those who had a share in a stage, by key; else none.
    """
    entering = _Entering(pairs, rollouts, candidates)
    found = [entering.held(label) for label in labels]
    return Entered(entering.sums(), [each for each in found if each is not None])


class _Entering:
    """Sums in the making."""

    def __init__(
        self,
        pairs: Sequence[PairRow],
        rollouts: Mapping[str, Rollout],
        candidates: Callable[[str, int], Mapping[str, int]],
    ) -> None:
        self._answers: dict[tuple[bytes, str], dict[int, PairRow]] = {}
        for pair in pairs:
            self._answers.setdefault((pair.id, pair.output), {})[pair.number] = pair
        self._rollouts = rollouts
        self._candidates = candidates
        self._sums: dict[Place, LabelSums] = {}
        self._gains: dict[tuple[Place, Outcome, float], list[float]] = {}

    def held(self, label: LabelRow) -> LabelRow | None:
        """Hold one label against the pairs that are new to it; None where nothing became of it."""
        rollout = self._rollouts.get(label.model)
        outcome = None if rollout is None else rollout.outcome(label.name)
        if rollout is None or outcome is None or outcome.kind != "label":
            return label._replace(entered=ALONE) if label.entered == WAITS else None
        tested = tuple(self._candidates(label.model, label.stage).values())
        pairs = self._answers.get((label.id, outcome.output), {})
        pairs = {number: pairs[number] for number in sorted(pairs) if number in (tested or (1,))}
        new = pairs.keys() - label.held_against
        if label.entered != WAITS and not new:
            return None
        self._count_missing(label, rollout, tested, pairs.keys(), new)
        gains = {number: _gain_of(outcome, label, pair) for number, pair in pairs.items()}
        for number in new:
            self._add_for_guards(label, rollout, outcome, number if tested else 0, gains[number])
        if tested and rollout.best is not None and rollout.best.outcome == outcome.name:
            self._add_for_best(label, outcome, gains, new)
        return _after(label, tested or (1,), new)

    def sums(self) -> dict[Place, LabelSums]:
        """What all of them have come to."""
        for (place, outcome, margin), gains in self._gains.items():
            self._add(place, summed(outcome, margin, gains))
        return self._sums

    def _count_missing(
        self,
        label: LabelRow,
        rollout: Rollout,
        tested: Sequence[int],
        there: Collection[int],
        new: Collection[int],
    ) -> None:
        """Labels without a pair: one more at a first look, one less when the pair has come."""
        first = label.entered == WAITS
        changed = [number for number in tested or (1,) if (number not in there if first else number in new)]
        why: Unscored = "no pair"
        if label.arm:
            why = "drawn to a candidate" if tested else "drawn to the canary"
        for number in changed:
            for guard in _guards(rollout, label.name):
                place = guard_place(label.model, label.stage, guard.name, number if tested else 0)
                self._add(place, LabelSums(unscored={why: 1 if first else -1}))

    def _add_for_guards(
        self, label: LabelRow, rollout: Rollout, outcome: Outcome, candidate: int, found: float | None
    ) -> None:
        for guard in _guards(rollout, outcome.name):
            place = guard_place(label.model, label.stage, guard.name, candidate)
            self._add_gain(place, outcome, guard.margin, found)

    def _add_for_best(
        self, label: LabelRow, outcome: Outcome, gains: Mapping[int, float | None], new: Collection[int]
    ) -> None:
        """Of each two sides the gain of the second over the first; stable's over itself is 0."""
        sides: dict[int, float | None] = {0: 0.0, **gains}
        for first, second in combinations(sides, 2):
            one, other = sides[first], sides[second]
            if first in new or second in new:
                found = None if one is None or other is None else other - one
                place = sides_place(label.model, label.stage, outcome.name, (first, second))
                self._add_gain(place, outcome, 0.0, found)

    def _add_gain(self, place: Place, outcome: Outcome, margin: float, found: float | None) -> None:
        if found is None:
            self._add(place, LabelSums(unscored={"not comparable": 1}))
        else:
            self._gains.setdefault((place, outcome, margin), []).append(found)

    def _add(self, place: Place, more: LabelSums) -> None:
        self._sums[place] = self._sums.get(place, LabelSums()) + more


def _guards(rollout: Rollout, outcome: str) -> list[AccuracyGuard]:
    return [guard for guard in rollout.guards_of(AccuracyGuard) if guard.outcome == outcome]


def _gain_of(outcome: Outcome, label: LabelRow, pair: PairRow) -> float | None:
    sides = Side.from_json(pair.reference), Side.from_json(pair.candidate)
    return gain(outcome, orjson.loads(label.label), *sides)


def _after(label: LabelRow, candidates: Collection[int], new: Collection[int]) -> LabelRow:
    """The label with what was made of it now."""
    held = label.held_against | set(new)
    bits = sum(map(scored_bit, held))
    return label._replace(entered=bits if held >= set(candidates) else bits | ALONE)
