"""The recorders of all rollouts: one for each stage, and in an A/B/n test one for each candidate of it.

Law: a stage of one control is counted by one recorder, whatever snapshots come meanwhile. Those of the latest
stages are kept until control has the last of each.
"""

from router.counting.abreast import Abreast
from router.counting.recorder import StageRecorder
from router.counting.slices import Timed
from router.counting.split import fresh_weight
from router.rollout.snapshot import ServedRollout

KEPT_STAGES = 8
"""Ended stages whose counts are still reported, so that control gets the last of each."""

Recorders = StageRecorder | Abreast
"""Of one stage: of the one candidate, or of several."""


class StageRecorders:
    """What a process counts.

    Attributes:
        kept: by public name, of the latest stages.
    """

    def __init__(self) -> None:
        self.kept: dict[str, list[Recorders]] = {}

    def of(self, served: ServedRollout) -> Recorders:
        """Those of the stage of a rollout."""
        kept = self.kept.setdefault(served.rollout.model, [])
        wanted = _counted(served)
        for recorders in kept:
            if recorders.stage == served.stage:
                if [recorder.candidate for recorder in recorders.recorders] == wanted:
                    return recorders
                kept.remove(recorders)  # of a control that has lost its memory
                break
        kept.append(_recorders(served))
        del kept[:-KEPT_STAGES]
        return kept[-1]

    def each(self, model: str) -> list[StageRecorder]:
        """All of a rollout, each of which is told by itself."""
        return [recorder for recorders in self.kept.get(model, ()) for recorder in recorders.recorders]

    def rotate(self, model: str) -> bool:
        """Settle those of a rollout; whether an error of a candidate is among what was settled."""
        failed = [recorders.rotate() for recorders in self.kept[model]]
        return any(failed)


def _counted(served: ServedRollout) -> list[str]:
    """Which candidates, as of `StageRecorder`."""
    return [arm.target.key for arm in served.arms] or [""]


def _recorders(served: ServedRollout) -> Recorders:
    views = served.each()
    made = [_recorder(*each) for each in zip(views, _counted(served), strict=True)]
    if not served.arms:
        return made[0]
    timed = Timed(
        compute=any(view.times_answers for view in views), waits=any(view.times_clients for view in views)
    )
    return Abreast(made, timed)


def _recorder(served: ServedRollout, candidate: str) -> StageRecorder:
    """Counts a rollout with one canary or none: of several candidates each as if the others were not."""
    return StageRecorder(
        served.rollout.model,
        served.stage,
        fresh_weight(served.weight, served.used) / 100,
        beyond=served.used / 100,
        longest=2.0 * served.rollout.timeout_seconds,  # an attempt at the canary, and one at stable after it
        timed=Timed(served.times_answers, served.times_clients),
        segments=0 if served.segments is None else served.segments.max,
        candidate=candidate,
    )
