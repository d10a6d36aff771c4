"""What is seen of one target, in the bins of its profile and in slices of time, until control has it. Pure.

Law: slices begin at whole multiples of `SLICE_SECONDS`, in every process at the same ones, so those of all
processes add. One that has changed is told whole, and whoever is told replaces what it knew of it: told
twice, counted once. Whether an answer is counted depends on how much came before it in its second, never on
what it says; what is left out is counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from router.drift.features import Column, Side, columns
from router.drift.profile import Profile
from router.drift.references import Reference
from serving.errors import InvalidInput
from serving.wire.tensors import Array

SLICE_SECONDS: Final = 300
KEPT_SLICES: Final = 13
"""Of the last hour, and the one that has begun."""
TOGETHER: Final = 256
"""Answers that are counted at a time: each feature costs about as much for one as for so many."""
MOST_FEATURES: Final = 1000
"""Of a target that are watched: answers come first."""
MOST_VALUES: Final = 1_000_000
"""Of one target that are looked at in a second."""
TELL_SECONDS: Final = 2.0
"""Between two times that control is told."""
WITHOUT_SIGNATURE: Final = (
    "profile.json is of an older version, and says nothing of the model's tensors: write it anew with"
    " `understudy profile`"
)

Tensors = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Seen:
    """One good answer.

    Attributes:
        inputs: tensors of the request, as far as they are known here.
        outputs: of the answer.
        fraction: of all answers that come here, 0 to 1; 0 where that is not known.
    """

    inputs: Tensors
    outputs: Tensors
    fraction: float

    @property
    def values(self) -> int:
        """Elements of all its tensors."""
        return sum(array.size for tensors in (self.inputs, self.outputs) for array in tensors.values())


@dataclass(frozen=True, slots=True)
class Slice:
    """What was seen in a stretch of time.

    Attributes:
        begins: seconds since 1970.
        counted: over the bins of the profile.
        answers: that came here.
        left_out: of them not counted, as they were too many or could not be read.
        of: answers there were, as far as the fraction tells that comes here.
    """

    begins: int
    counted: Profile
    answers: int = 0
    left_out: int = 0
    of: float = 0.0


@dataclass(slots=True)
class _Second:
    """What was looked at within a second."""

    number: int = 0
    values: int = 0

    def has_room(self, values: int, now: float) -> bool:
        if int(now) != self.number:
            self.number, self.values = int(now), 0
        self.values += values
        return self.values <= MOST_VALUES


@dataclass(slots=True)
class _Waiting:
    """Answers that are yet to be counted, and how many beside them are not."""

    seen: list[Seen] = field(default_factory=list)
    beyond: int = 0
    of: float = 0.0


class Watch:
    """Watches one target.

    Attributes:
        reference: what it is held against.
        problem: why the latest answers could not be counted; empty where they could.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.problem = ""
        self._empty = watched(reference.profile).empty
        self._slices: dict[int, Slice] = {}
        self._waiting = _Waiting()
        self._second = _Second()
        self._changed: set[int] = set()
        self._given: set[int] = set()
        self._answered = -1
        self._next = 0.0

    def see(self, seen: Seen, now: float) -> None:
        """Take in an answer, at a time in seconds since 1970."""
        waiting = self._waiting
        waiting.of += 1 / seen.fraction if seen.fraction > 0 else 1.0
        if self._second.has_room(seen.values, now):
            waiting.seen.append(seen)
        else:
            waiting.beyond += 1
        if len(waiting.seen) >= TOGETHER:
            self.count(now)

    def count(self, now: float) -> None:
        """Count what waits, as of a time in seconds since 1970."""
        waiting, self._waiting = self._waiting, _Waiting()
        if not (waiting.seen or waiting.beyond):
            return
        begins = int(now) // SLICE_SECONDS * SLICE_SECONDS
        before = self._slices.get(begins) or Slice(begins, self._empty)
        profile, left_out = self._counted(before.counted, waiting.seen)
        self._slices[begins] = Slice(
            begins,
            profile,
            before.answers + len(waiting.seen) + waiting.beyond,
            before.left_out + left_out + waiting.beyond,
            before.of + waiting.of,
        )
        self._changed.add(begins)
        for old in sorted(self._slices)[:-KEPT_SLICES]:
            del self._slices[old]

    def _counted(self, onto: Profile, seen: Sequence[Seen]) -> tuple[Profile, int]:
        """With these answers, and how many could not be counted."""
        signature = self.reference.profile.signature
        if not (signature.inputs or signature.outputs):
            self.problem = WITHOUT_SIGNATURE
            return onto, len(seen)
        try:
            counted = onto.counted(self._columns(seen))
        except (InvalidInput, ValueError) as error:  # the profile is of a model with other tensors
            self.problem = f"answers do not fit the profile: {error}"
            return onto, len(seen)
        self.problem = ""
        return counted, 0

    def _columns(self, seen: Sequence[Seen]) -> Iterator[Column]:
        """The features of all tensors that are there: what is kept back of a record is not missing."""
        profile = self.reference.profile
        sides: tuple[tuple[Side, list[Tensors]], ...] = (
            ("input", [each.inputs for each in seen]),
            ("output", [each.outputs for each in seen]),
        )
        for side, tensors in sides:
            for spec in profile.signature.inputs if side == "input" else profile.signature.outputs:
                if rows := [each for each in tensors if spec.name in each]:
                    yield from columns([spec], side, rows, profile.classes, profile.features)

    def hurry(self) -> None:
        """Tell control soon: this process ends."""
        self._next = 0.0
        self._answered = -1
        self._changed |= self._given

    def give(self, answered: int, now: float) -> tuple[Slice, ...]:
        """What control is to be told, each slice whole.

        Args:
            answered: how many reports control has answered; until that changes it is told of the same again.
            now: monotonic seconds.
        """
        if answered != self._answered:
            self._answered = answered
            self._given = set()
            if now >= self._next:
                self._next = now + TELL_SECONDS
                self._given, self._changed = self._changed, set()
        return tuple(self._slices[begins] for begins in sorted(self._given) if begins in self._slices)


def watched(profile: Profile) -> Profile:
    """A profile without the features that are too many: those of answers come first."""
    if len(profile.features) <= MOST_FEATURES:
        return profile
    ordered = sorted(profile.features.items(), key=lambda item: item[1].side != "output")
    return replace(profile, features=dict(ordered[:MOST_FEATURES]))
