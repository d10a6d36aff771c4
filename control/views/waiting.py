"""What a rollout waits for, as the admin API shows it. Pure."""

from typing import Any

from control.judging.verdicts import Judgement
from control.rollouts import approving
from control.rollouts.looking import hash_of, looked_at
from control.rollouts.state import OPERATOR
from control.rollouts.writer import Entry
from router.rollout.values import Approve, Run


def waiting_view(entry: Entry, judgement: Judgement | None) -> dict[str, Any] | None:
    """Whose approval or which hook is waited for; None for neither."""
    rollout, progress = entry.rollout, entry.progress
    step = approving.step_of(rollout, progress)
    if isinstance(step, Run):
        run = {"url": step.url, "attempt": approving.attempt(progress)}
        return {"approval": None, "run": run, "expires": _left(step.timeout_seconds, progress.waited_seconds)}
    if not isinstance(step, Approve):
        return None
    looked = looked_at(rollout, progress, entry.digests, judgement)
    approval = {
        "by": step.by,
        "from": list(step.roles) or [OPERATOR],
        "given": [{"person": each.person, "role": each.role, "at": each.at} for each in progress.approvals],
        "missing": approving.missing(step, progress),
        "not_by": list(progress.authors),
        "seen": hash_of(looked),
        "evidence": {name: value for name, value in looked.items() if name != "document"},
    }
    return {
        "approval": approval,
        "run": None,
        "expires": _left(step.expires_seconds, progress.waited_seconds),
    }


def _left(limit: float | None, waited: float) -> float | None:
    return None if limit is None else max(0.0, limit - waited)
