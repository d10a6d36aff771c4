"""Counts of comparisons, by the units of the guards: an observer of the comparer."""

from collections.abc import Callable
from typing import NamedTuple

from router.counting.recorder import StageRecorder
from router.counting.split import key_hash
from router.counting.stage_counts import StageCounts
from router.metrics import COMPARISON, COMPARISON_DISTANCE
from router.mirror.answered_values import NOTHING, answered_values
from router.mirror.frame import Frame
from router.mirror.mirrored import Mirrored
from router.rollout.guards.drift import DriftGuard
from router.rollout.values import Rollout
from serving.telemetry.cells import Counter, Histogram, Metrics

KEPT_STAGES = 8
_BOTH = ("same", "different")


class ComparisonCounts:
    """What one candidate's comparisons came to, by stage, and in metrics.

    Args:
        target: key of the candidate.
        metrics: where its outputs are counted.
    """

    def __init__(self, target: str, metrics: Metrics) -> None:
        self._target = target
        self._metrics = metrics
        self._recorders: dict[int, StageRecorder] = {}
        self._bound: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}

    def publish(self, mirrored: Mirrored) -> None:
        """As `ComparisonObserver`."""
        if mirrored.outputs is None:
            self._failed(mirrored)
        else:
            self._compared(mirrored)

    def rotate(self) -> None:
        """Settle what arrived; called ten times a second."""
        for recorder in self._recorders.values():
            recorder.rotate()

    def report(self, answered: int) -> dict[int, StageCounts]:
        """Counts by stage, as of `StageRecorder.report`."""
        return {stage: recorder.report(answered) for stage, recorder in self._recorders.items()}

    def _compared(self, mirrored: Mirrored) -> None:
        frame, rollout = mirrored.frame, mirrored.rollout
        recorder = self._recorder(frame)
        first = _first(recorder, frame, rollout)
        count = _counter(recorder, frame, rollout, first)
        if all(first) and not frame.recorded:
            _count_shifts(recorder, mirrored)
        for comparison in mirrored.comparisons:
            ruled = rollout.rules_on(comparison.output)
            verdict = ("same" if comparison.same else "different") if ruled else "unruled"
            counter, distance = self._series(frame.model, comparison.output, verdict)
            counter.add()
            distance.observe(comparison.distance)
            if ruled:
                count(comparison.output, same=comparison.same)
                if comparison.kind in {"same", "value"}:  # of the others the distance says nothing
                    recorder.measured(comparison.output, comparison.distance)

    def _failed(self, mirrored: Mirrored) -> None:
        """The candidate gave no answer: a difference in every output that is judged and that stable gave."""
        frame, rollout = mirrored.frame, mirrored.rollout
        recorder = self._recorder(frame)
        count = _counter(recorder, frame, rollout, _first(recorder, frame, rollout))
        for output in filter(rollout.rules_on, mirrored.reference):
            self._series(frame.model, output, "failed")[0].add()
            count(output, same=False)

    def _recorder(self, frame: Frame) -> StageRecorder:
        recorder = self._recorders.get(frame.stage)
        if recorder is None:
            recorder = self._recorders[frame.stage] = StageRecorder(frame.model, frame.stage, 0.0)
            for old in sorted(self._recorders)[:-KEPT_STAGES]:
                del self._recorders[old]
        return recorder

    def _series(self, model: str, output: str, verdict: str) -> tuple[Counter, Histogram]:
        bound = self._bound.get((model, output, verdict))
        if bound is None:
            # Whichever comes first, both are there from then on, so that a rate of either begins at 0.
            for each in _BOTH if verdict in _BOTH else (verdict,):
                self._bound[model, output, each] = self._bind(model, output, each)
            bound = self._bound[model, output, verdict]
        return bound

    def _bind(self, model: str, output: str, verdict: str) -> tuple[Counter, Histogram]:
        labels = (model, self._target, output)
        return (
            self._metrics.counter(COMPARISON, *labels, verdict),
            self._metrics.histogram(COMPARISON_DISTANCE, *labels),
        )


class _First(NamedTuple):
    """Whether a request is the first of its key, and of its body as far as a guard asks for that."""

    key: bool
    body: bool


def _first(recorder: StageRecorder, frame: Frame, rollout: Rollout) -> _First:
    asked = any(guard.units and guard.units.output for guard in rollout.guards)
    asked = asked or bool(rollout.guards_of(DriftGuard))
    new_key = frame.key == 0 or recorder.first_of_key(frame.key)
    return _First(new_key, not asked or recorder.first_of_body(key_hash(frame.request)))


def _count_shifts(recorder: StageRecorder, mirrored: Mirrored) -> None:
    """With which values both sides answered, where a guard asks; of a request that stands for itself."""
    for guard in mirrored.rollout.guards_of(DriftGuard):
        reference, outputs = mirrored.reference.get(guard.output), mirrored.outputs or {}
        stable = NOTHING if reference is None else answered_values(reference)
        if stable and guard.output in outputs:
            recorder.shifted(guard.output, answered_values(outputs[guard.output]), stable)


def _counter(recorder: StageRecorder, frame: Frame, rollout: Rollout, first: _First) -> Callable[..., None]:
    """How to count a comparison of this request, by the units of the guards.

    The sums of a stage have what stands for itself: each request, of a sticky key its first one in this
    process, and for a guard that says so of equal bodies the first. Units of keys and of time are counted
    beside them.
    """
    guards = {units.output: guard for guard in rollout.guards if (units := guard.units) and units.output}

    def count(output: str, *, same: bool) -> None:
        guard = guards.get(output)
        per = "key" if guard is None or guard.units is None else guard.units.per
        if first.body or per != "body":
            if first.key:
                recorder.compared(output, same=same, recorded=frame.recorded)
            if guard is not None and rollout.sticky_header is not None and per == "key":
                recorder.compared_for_key(guard.name, frame.key, same=same)
        if isinstance(per, int):
            recorder.compared_now(output, same=same)

    return count
