"""Pairs for labels on their way: what sandboxes told and is not kept yet, and which are to be kept. Pure.

Law: what does not fit goes by the hash of its receipt, the highest first, whatever was answered.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from control.outcomes.desk import InForce
from control.outcomes.intake import KEPT_SECONDS
from control.store.label_pairs import Place
from router.mirror.label_pairs import ID_BYTES, LabelPair, wanted_outputs
from router.rollout.values import Rollout
from router.wire.pairs_report import PairsReport

MOST_QUEUED: Final = 50_000
MAX_INSTANCES: Final = 100
BEYOND: Final = "beyond what control keeps"

Told = tuple[PairsReport, LabelPair]
"""A pair, and the report that told it."""
Queue = dict[tuple[str, str, str], Told]
"""By the id of the request, the output, and the key of the candidate."""


class Share:
    """Which ids may be kept: all, the lower half of all that there are, the lower quarter, and so on."""

    def __init__(self) -> None:
        self._halvings = 0

    @property
    def end(self) -> bytes | None:
        """The first id that is not kept; None where all are."""
        if not self._halvings:
            return None
        return (1 << (8 * ID_BYTES - self._halvings)).to_bytes(ID_BYTES)

    def halve(self) -> None:
        """Keep half of what was kept."""
        self._halvings += 1

    def has(self, id_: bytes) -> bool:
        """Whether one may be kept."""
        end = self.end
        return end is None or id_ < end


@dataclass(frozen=True, slots=True)
class Rules:
    """What a turn goes by."""

    rollouts: Mapping[str, Rollout]
    judged_from: Mapping[str, int]
    wanted: Mapping[str, frozenset[str]]
    now: float

    def judges(self, place: Place) -> bool:
        """Whether that stage is judged."""
        model, stage, _ = place
        return stage >= self.judged_from.get(model, stage + 1)

    def kept_until(self, model: str, output: str) -> float:
        """Of a pair that comes now, seconds since 1970."""
        labels = (each for each in self.rollouts[model].outcomes if each.output == output)
        return self.now + max(each.within_seconds for each in labels) + KEPT_SECONDS

    @classmethod
    def of(cls, in_force: Mapping[str, InForce], now: float) -> "Rules":
        """Those of the documents in force, at a time in seconds since 1970."""
        rollouts = {model: each.rollout for model, each in in_force.items()}
        wanted = {model: outputs for model, each in rollouts.items() if (outputs := wanted_outputs(each))}
        return cls(rollouts, {model: each.judged_from for model, each in in_force.items()}, wanted, now)


@dataclass(slots=True)
class _Heard:
    """What sandboxes say of one rollout, by instance."""

    seen: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, Counter[str]] = field(default_factory=dict)

    def hear(self, instance: str, report: PairsReport) -> None:
        """Keep the numbers of each process, of the longest silent ones only the sums."""
        self.left_out.pop(instance, None)
        if len(self.left_out) >= MAX_INSTANCES:
            silent = next(name for name in self.left_out if name)
            self.left_out[""] = self.left_out.pop("", Counter()) + self.left_out.pop(silent)
            self.seen[""] += self.seen.pop(silent)
        self.seen[instance] = report.seen
        self.left_out[instance] = Counter(report.left_out)


class ToldPairs:
    """What sandboxes told."""

    def __init__(self) -> None:
        self._queue: Queue = {}
        self._heard: dict[str, _Heard] = {}
        self.beyond: Counter[str] = Counter()
        """Pairs that were let go since they were too many, by public name."""

    def hear(self, instance: str, report: PairsReport) -> None:
        """Take in what one sandbox sends; what it sends again, since our answer got lost, counts once."""
        self._heard.setdefault(report.model, _Heard()).hear(instance, report)
        self.put_back({(pair.id, pair.output, report.target): (report, pair) for pair in report.kept})

    def take(self) -> Queue:
        """All that waits, which waits no more."""
        queue, self._queue = self._queue, {}
        return queue

    def put_back(self, queue: Queue) -> None:
        """Let these wait, too."""
        self._queue |= queue
        if len(self._queue) > MOST_QUEUED:
            in_order = sorted(self._queue.items(), key=lambda entry: entry[0])
            self._queue = dict(in_order[:MOST_QUEUED])
            self.beyond.update(report.model for _, (report, _) in in_order[MOST_QUEUED:])

    def numbers(self, model: str) -> tuple[int, Mapping[str, int]]:
        """How many requests sandboxes looked at since they started, and how many have no pair, by reason."""
        heard = self._heard.get(model, _Heard())
        left_out = sum(heard.left_out.values(), Counter())
        if self.beyond[model]:
            left_out[BEYOND] = self.beyond[model]
        return heard.seen.total(), left_out
