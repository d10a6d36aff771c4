"""Which examples are taken, and which of those are kept. Pure.

Law: of each output those that differ come before those that agree; among those that differ the latest are
kept, and of the older ones the most distant. Taking is bounded in time, keeping in number and bytes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count

from router.mirror.examples import MAX_EXAMPLE_BYTES, Example, encoded, example_of, redacted
from router.mirror.mirrored import Mirrored
from router.rollout.compare import Comparison
from router.rollout.values import Examples
from serving.wire.tensors import Array

BYTES_PER_SECOND = 64 << 10
"""What one sandbox sends to control."""
WAITING_BYTES = 512 << 10
WAITING = 64
DIFFERING_PER_SECOND = 10.0
AGREEING_PER_SECOND = 0.5


class Sampler:
    """Takes examples in one sandbox, at a bounded rate, and holds them until control has them.

    Args:
        origin: names this process in the ids.
        model: the public name of the rollout.
        target: key of the candidate.
    """

    def __init__(self, origin: str, model: str, target: str) -> None:
        self._origin = origin
        self._model = model
        self._target = target
        self._numbers = count(1)
        self._budgets: dict[tuple[str, bool], _Budget] = {}
        self._farthest: dict[str, float] = {}
        self._waiting = Ring(WAITING, WAITING_BYTES)
        self._given: list[Example] = []
        self._answered = -1
        self._bytes = _Budget(BYTES_PER_SECOND, 2.0 * BYTES_PER_SECOND)
        self._rules = Examples()
        self.seen: Counter[str] = Counter()
        """Comparisons that were looked at, by output."""

    def publish(self, mirrored: Mirrored) -> None:
        """Keep examples of a request, if it is worth it: as `ComparisonObserver`."""
        rollout, outputs = mirrored.rollout, mirrored.outputs
        if outputs is None or not rollout.examples.keep:
            return
        ruled = (each for each in mirrored.comparisons if rollout.rules_on(each.output))
        wanted = [each for each in ruled if self.wants(each, mirrored.now)]
        if not wanted:
            return
        request = mirrored.inputs() if rollout.examples.inputs else None
        frame = mirrored.frame
        for each in wanted:
            sides = mirrored.reference.get(each.output), outputs.get(each.output)
            self.take(
                each, sides, request, frame.stage, mirrored.at, frame.receipt.decode("ascii", "replace")
            )

    def wants(self, comparison: Comparison, now: float) -> bool:
        """Whether this one is to be taken. The farthest so far of its output may overdraw the budget once.

        Args:
            comparison: of one output.
            now: monotonic seconds.
        """
        same, output = comparison.same, comparison.output
        self.seen[output] += 1
        budget = self._budgets.get((output, same))
        if budget is None:
            rate = AGREEING_PER_SECOND if same else DIFFERING_PER_SECOND
            budget = self._budgets[output, same] = _Budget(rate, max(1.0, rate))
        farther = not same and comparison.distance > self._farthest.get(output, 0.0)
        if not budget.spend(1.0, now, debt=DIFFERING_PER_SECOND if farther else 0.0):
            return False
        if farther:
            self._farthest[output] = comparison.distance
        return True

    def take(
        self,
        comparison: Comparison,
        sides: tuple[Array | None, Array | None],
        request: Mapping[str, Array] | None,
        stage: int,
        at: float,
        receipt: str = "",
    ) -> None:
        """Take one example.

        Args:
            comparison: of one output.
            sides: reference and candidate; None where an output is missing.
            request: the inputs by name; None leaves them out.
            stage: that the comparison counts in.
            at: seconds since 1970.
            receipt: as of `Example`.
        """
        id_ = f"{self._origin}-{next(self._numbers)}"
        example = example_of(id_, (self._model, self._target, stage), comparison, sides, request, at, receipt)
        self._waiting.add(redacted(example, self._rules))

    def follow(self, rules: Examples) -> None:
        """From now on these are the document's rules; what they do not let be kept is forgotten at once."""
        if rules == self._rules:
            return
        self._rules = rules
        waiting = [example for example, _ in self._waiting.in_order()] if rules.keep else []
        self._waiting.replace(redacted(example, rules) for example in waiting)
        self._given = [redacted(example, rules) for example in self._given] if rules.keep else []

    def give(self, now: float, answered: int) -> list[Example]:
        """What control is to be told: as many as the bandwidth allows, those that matter most first.

        Args:
            now: monotonic seconds.
            answered: how many reports control has answered; until that changes it is told the same again.
        """
        if answered == self._answered:
            return self._given
        self._answered = answered
        given = []
        for example, size in self._waiting.in_order():
            if not self._bytes.spend(size, now):
                break
            given.append(example)
        self._waiting.remove(example.id for example in given)
        self._given = given
        return given


class Ring:
    """Examples within a number and a size; see the module for which of them stay.

    Args:
        keep: at most so many.
        max_bytes: of their JSON.
    """

    def __init__(self, keep: int, max_bytes: int) -> None:
        self.keep = keep
        self.bytes = 0
        self._max_bytes = max_bytes
        self._groups: dict[tuple[str, str, bool], list[tuple[Example, int]]] = {}
        self._ids: set[str] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, example: Example) -> None:
        """Take it in, unless it is known or too large; another one may have to go for it."""
        size = len(encoded(example))
        if example.id in self._ids or size > MAX_EXAMPLE_BYTES:
            return
        same = example.verdict == "same"
        self._groups.setdefault((example.target, example.output, same), []).append((example, size))
        self._ids.add(example.id)
        self.bytes += size
        while len(self) > self.keep or self.bytes > self._max_bytes:
            self.drop_one()

    def drop_one(self) -> None:
        """Let one go: of the largest group, in which five that differ count as one that agrees."""
        key = max(self._groups, key=lambda key: len(self._groups[key]) * (5 if key[2] else 1))
        group = self._groups[key]
        older = range((len(group) + 1) // 2)
        example, size = group.pop(min(older, key=lambda index: group[index][0].distance))
        self._ids.remove(example.id)
        self.bytes -= size
        if not group:
            del self._groups[key]

    def in_order(self) -> list[tuple[Example, int]]:
        """Examples and their sizes: those that differ first, then the farthest of each kind."""
        entries = [entry for group in self._groups.values() for entry in group]
        return sorted(entries, key=lambda entry: (entry[0].verdict == "same", -entry[0].distance))

    def remove(self, ids: Iterable[str]) -> None:
        """Let these go."""
        gone = set(ids)
        kept = [entry[0] for entry in self.in_order() if entry[0].id not in gone]
        self.replace(kept)

    def replace(self, examples: Iterable[Example]) -> None:
        """Hold these instead, in the order of their times."""
        self._groups.clear()
        self._ids.clear()
        self.bytes = 0
        for example in sorted(examples, key=lambda example: example.at):
            self.add(example)


class _Budget:
    """So much a second, with a burst; it may be overdrawn down to a debt."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at: float | None = None

    def spend(self, amount: float, now: float, debt: float = 0.0) -> bool:
        if self._at is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left + debt < amount:
            return False
        self._left -= amount
        return True
