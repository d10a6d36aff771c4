"""Rows -> the counts that guards are judged by, as workers and a sandbox count requests. Pure.

Law: a row is a request that stable answers and the canary answers too, so that each role has it. Errors go
into a stage of weight 1/2, as if a fair coin had sent one copy to each. That is an e-process though no coin
was thrown: with a = 1 - (factor of a failure of the canary), stable's factor is 1 + r a, and over a row
`E[product] - 1 = a (r p_stable - p_canary) - r a^2 p_both <= 0` where p_canary >= r p_stable, and likewise
the other way round, however the two hang together. Rows on which both fail only weaken what is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b

from router.counting.pairs import NO_PAIRS, PairCounts
from router.counting.stage_counts import RoleCounts, StageCounts
from router.mirror.mirrored import Tensors
from router.rollout.compare import Comparison, compare
from router.rollout.rules import Rule
from router.rollout.values import Rollout
from serving.wire.tensors import Array
from understudy.offline.running import Answer

WEIGHT = 0.5


class Tally:
    """Counts of rows under one document.

    Args:
        rollout: whose rules compare, and whose guards say what is counted.

    Attributes:
        differs: of each row whether an output that is judged differs, or the candidate gave none where the
            base did.
        answered: of each row whether both gave an answer.
        only_candidate: rows on which the candidate failed and the base did not, with the reason.
        unanswered: rows to which the base gave no answer, with the reason; nothing is compared there.
    """

    def __init__(self, rollout: Rollout) -> None:
        self.differs: list[bool] = []
        self.answered: list[bool] = []
        self.only_candidate: dict[int, str] = {}
        self.unanswered: dict[int, str] = {}
        self._rules = rollout.compare
        self._ruled = lru_cache(rollout.rules_on)
        self._by_body = {
            units.output for guard in rollout.guards if (units := guard.units) and units.per == "body"
        }
        self._failures = [0, 0]
        self._agreement: dict[str, tuple[int, int]] = {}
        self._farthest: dict[str, float] = {}
        self._bodies: set[bytes] = set()
        self._repeated = 0

    def add(self, feeds: Mapping[str, Array], base: Answer, candidate: Answer) -> None:
        """Count one row."""
        row = len(self.differs)
        failed = failed_of(base, candidate)
        for role, has in enumerate(failed):
            self._failures[role] += has
        if failed == (False, True):
            self.only_candidate[row] = candidate.error
        if base.outputs is None:
            self.unanswered[row] = base.error
        new = self._is_new(feeds)
        self.answered.append(base.outputs is not None and candidate.outputs is not None)
        self.differs.append(base.outputs is not None and self._compare(base, candidate, new=new))

    def _is_new(self, feeds: Mapping[str, Array]) -> bool:
        body = blake2b(digest_size=16)
        for name, array in feeds.items():
            data = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
            body.update(f"{name}{array.shape}".encode() + data)
        before = len(self._bodies)
        self._bodies.add(body.digest())
        self._repeated += len(self._bodies) == before
        return len(self._bodies) > before

    def _compare(self, base: Answer, candidate: Answer, *, new: bool) -> bool:
        """Compare as `router.mirror.comparer` does; whether an output that is judged differs."""
        assert base.outputs is not None
        reference = {name: array for name, array in base.outputs.items() if self._ruled(name)}
        found = _comparisons(reference, candidate.outputs, self._rules)
        for comparison in found:
            if comparison.kind in {"same", "value"}:  # of the others the distance says nothing
                farthest = self._farthest.get(comparison.output, 0.0)
                self._farthest[comparison.output] = max(farthest, comparison.distance)
            if new or comparison.output not in self._by_body:
                total, differing = self._agreement.get(comparison.output, (0, 0))
                self._agreement[comparison.output] = total + 1, differing + (not comparison.same)
        return any(not comparison.same for comparison in found)

    def counts(self, pairs: PairCounts = NO_PAIRS) -> StageCounts:
        """Of all rows, with these pairs of compute times."""
        found = stage_of(len(self.differs), self._failures, dict(self._agreement), dict(self._farthest))
        return replace(found, repeated=self._repeated, pairs=pairs)


def stage_of(
    rows: int,
    failures: Sequence[int],
    agreement: Mapping[str, tuple[int, int]],
    farthest: Mapping[str, float],
) -> StageCounts:
    """The counts of rows that both models were asked.

    Args:
        rows: how many.
        failures: of stable, and of the canary.
        agreement: output -> (comparisons, differences).
        farthest: output -> the greatest distance by its rule.
    """
    stable, canary = (RoleCounts(rows, rows, failed, failed) for failed in failures)
    return StageCounts(WEIGHT, stable, canary, agreement, farthest=farthest)


def _comparisons(
    reference: Tensors, outputs: Tensors | None, rules: Mapping[str, Rule]
) -> Sequence[Comparison]:
    """Of each output that is judged; where the candidate gave no answer, each of them differs."""
    if outputs is None:
        return [Comparison(output, same=False, kind="missing", distance=1.0) for output in reference]
    return compare(reference, {name: outputs[name] for name in reference if name in outputs}, rules)


def failed_of(base: Answer, candidate: Answer) -> tuple[bool, bool]:
    """Whether each failed; what the candidate refuses is its failure unless the base refuses it too."""
    stable = base.outputs is None and not base.refused
    canary = candidate.outputs is None and not (candidate.refused and base.refused)
    return stable, canary
