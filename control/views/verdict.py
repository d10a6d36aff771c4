"""The verdict on a rollout's candidate in one word, for controllers that ask before they go on. Pure.

Law: `proven` and `harmful` are what the guards say of the candidate that is asked for, now; `promoted` and
`taken_off` are what became of it, by whomever. Of anyone else nothing is said but `none`.
"""

from typing import Any, Literal

from control.judging.verdicts import Judgement
from control.rollouts.state import Progress, status_sentence
from control.rollouts.writer import Entry
from control.views.candidates import Judged
from serving.errors import InvalidInput

Word = Literal["proven", "harmful", "undecided", "promoted", "taken_off", "none"]


def verdict_view(entry: Entry, seen: Judged, candidate: str | None = None) -> dict[str, Any]:
    """What is to be said of a candidate, with a reason for a person.

    Args:
        entry: the rollout.
        seen: what was last judged of it.
        candidate: the key of the target that is asked for; None: the rollout's canary, whichever it is.

    Raises:
        InvalidInput: an A/B/n test has several candidates, and none was named.
    """
    progress = entry.progress
    if candidate is None and progress.arms:
        raise InvalidInput(f"{entry.rollout.model} has several candidates: name one, ?candidate=NAME/VERSION")
    word, reason = _word(entry, seen, candidate or progress.candidate)
    return {
        "model": entry.rollout.model,
        "candidate": candidate or progress.candidate,
        "verdict": word,
        "reason": reason,
        "phase": progress.phase,
        "stage": progress.stage,
        "revision": entry.revision,
    }


def _word(entry: Entry, seen: Judged, candidate: str | None) -> tuple[Word, str]:
    rollout, progress = entry.rollout, entry.progress
    off = {arm.target: arm.off_reason for arm in progress.arms}
    if candidate is None or (candidate != progress.candidate and candidate not in off):
        return "none", f"{candidate or 'nobody'} is no candidate; {status_sentence(rollout, progress)}"
    if progress.phase == "aa":
        return "none", status_sentence(rollout, progress)
    if progress.phase == "promoted" and progress.stable.key == candidate:
        return "promoted", status_sentence(rollout, progress)
    if progress.phase in {"rolled_back", "ended", "promoted"} or off.get(candidate):
        return "taken_off", off.get(candidate) or status_sentence(rollout, progress)
    judgement = seen.arms.get(candidate) if off else seen.sole
    return _judged(progress, judgement)


def _judged(progress: Progress, judgement: Judgement | None) -> tuple[Word, str]:
    if judgement is None:
        return "undecided", f"nothing was judged yet in stage {progress.stage}"
    return judgement.verdict, judgement.reason
