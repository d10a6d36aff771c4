"""A canary inside a job: what it said beside stable, row by row, and what comes of that. Pure.

Law: rows are compared by `router.rollout.compare` as if each were alone, and judged by the guards and the
e-values of `understudy test`, at the end of each chunk in the order of the file. Whether rows of a chunk are
drawn follows from the chunks `window` and more before it, so that it is the same whenever a job was killed,
and however its chunks overtake each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from control.judging.verdicts import Judgement
from router.counting.pairs import NO_PAIRS, PairCounts
from router.counting.stage_counts import StageCounts
from router.rollout.compare import compare
from router.rollout.rules import Rule
from router.rollout.values import Rollout
from serving.wire.tensors import Array
from understudy.offline import judging
from understudy.offline.counts import failed_of, stage_of
from understudy.offline.running import Answer
from understudy.scoring.running import Answers

NOTHING = stage_of(0, (0, 0), {}, {})


@dataclass(frozen=True, slots=True)
class Compared:
    """Rows that both scored.

    Args:
        counts: as guards are judged by.
        agreed: of each row of which both gave an answer, or stable alone, whether they agree.
    """

    counts: StageCounts
    agreed: Mapping[int, bool]


def compared(rows: Sequence[int], stable: Answers, canary: Answers, rollout: Rollout) -> Compared:
    """Hold a canary's answers against stable's.

    Args:
        rows: those that the canary was asked.
        stable: its answers, also to other rows.
        canary: its answers to these.
        rollout: whose rules compare.
    """
    failures = [
        failed_of(stable.failed.get(row, _ANSWERED), canary.failed.get(row, _ANSWERED))
        for row in rows
        if row in stable.failed or row in canary.failed
    ]
    answered = [row for row in rows if row not in stable.failed]
    both = [row for row in answered if row not in canary.failed]
    names = [name for piece in stable.pieces[:1] for name in piece if rollout.rules_on(name)]
    differing = np.zeros(len(both), bool)
    agreement, farthest = {}, {}
    for name in names:
        found, far = _differing(name, stable.of(name, both), canary.of(name, both), rollout.compare)
        missing = len(answered) - len(both)
        agreement[name] = (len(answered), int(found.sum()) + missing)
        farthest[name] = far
        differing |= found
    agreed = dict.fromkeys(answered, False) | dict(zip(both, (~differing).tolist(), strict=True))
    by_role = [sum(failed) for failed in zip(*failures, strict=True)] or [0, 0]
    return Compared(stage_of(len(rows), by_role, agreement, farthest), agreed)


_ANSWERED = Answer({})


def _differing(
    output: str, stable: Sequence[Array], canary: Sequence[Array], rules: Mapping[str, Rule]
) -> tuple[npt.NDArray[np.bool_], float]:
    """Of each row whether it differs; and the greatest distance."""
    found = np.zeros(len(stable), bool)
    farthest = 0.0
    spans = [(0, len(stable))] if len(stable) else []
    while spans:
        begin, end = spans.pop()
        alone, half = end - begin == 1, (begin + end) // 2
        reference, candidate = _together(stable[begin:end]), _together(canary[begin:end])
        if reference is None or candidate is None:
            spans += [(begin, half), (half, end)]
            continue
        [comparison] = compare({output: reference}, {output: candidate}, rules)
        if comparison.same or (alone and comparison.kind == "value"):
            farthest = max(farthest, comparison.distance)
        if alone:
            found[begin] = not comparison.same
        elif not comparison.same:
            spans += [(begin, half), (half, end)]
    return found, farthest


def _together(rows: Sequence[Array]) -> Array | None:
    """Rows as one array, each a vector along the last axis; None where they have several shapes."""
    if isinstance(rows, np.ndarray):
        whole: Array = rows
    elif len({row.shape for row in rows}) > 1:
        return None
    else:
        whole = np.stack(rows)
    return whole.reshape(-1, 1) if whole.ndim == 1 else whole


@dataclass(slots=True)
class Trial:
    """Verdicts over the chunks of a job, in order.

    Args:
        rollout: whose guards judge.
        pairs: compute times of both models side by side.
        window: how many chunks before a chunk its verdict is taken.
        stops: whether harm stops the canary.

    Attributes:
        judged: chunks that are in the counts.
        stopped: the number of the chunk whose end was the first at which it was found harmful.
    """

    rollout: Rollout
    pairs: PairCounts = NO_PAIRS
    window: int = 1
    stops: bool = True
    judged: int = 0
    stopped: int | None = None
    counts: StageCounts = NOTHING
    _waiting: dict[int, StageCounts] = field(default_factory=dict)

    def add(self, chunk: int, counts: StageCounts) -> None:
        """Take in a chunk that is done; each once, in any order."""
        self._waiting[chunk] = counts
        while (found := self._waiting.pop(self.judged, None)) is not None:
            self.counts += found
            if self.stops and self.stopped is None and found.canary.requests and self._is_harmful():
                self.stopped = self.judged
            self.judged += 1

    def draws(self, chunk: int) -> bool | None:
        """Whether the canary scores rows of a chunk; None where that is not known yet."""
        if self.stopped is not None and self.stopped + self.window <= chunk:
            return False
        return True if self.judged + self.window > chunk else None

    @property
    def judgement(self) -> Judgement:
        """Of all chunks so far."""
        return judging.verdict(self.rollout, replace(self.counts, pairs=self.pairs))

    def _is_harmful(self) -> bool:
        return self.judgement.verdict == "harmful"
