"""What people and hooks are asked in steps: the state machine's part in `approve` and `run`. Pure.

Law:
- Past an `approve` step leads nothing but as many different people as it asks for, each with one of its roles
  and none of them an author: who made the revision, or edited it since its steps began. No verdict, time,
  resuming or promoting does.
- An approval holds for the stage, the step and the document that it was given in; whatever changes one of
  them drops it. So does resuming after a rejection or the end of its time.
- Past a `run` step leads an answer of the hook to the attempt under way, or a person who promotes.
"""

from dataclasses import replace

from control.rollouts.events import Approve, ForeignVerdict, IllegalTransition, NotEntitled, Reject, RunResult
from control.rollouts.state import OPERATOR, Approval, Progress, approvers, asked, wanting
from router.rollout.kinds import duration_text
from router.rollout.values import Approve as ApproveStep
from router.rollout.values import Rollout, Step
from router.rollout.values import Run as RunStep


def step_of(rollout: Rollout, progress: Progress) -> Step | None:
    """The step under way; None where there is none."""
    steps = rollout.canary.steps if rollout.canary is not None and not progress.arms else ()
    return steps[progress.step] if progress.phase == "progressing" and progress.step < len(steps) else None


def asks_approval(rollout: Rollout) -> bool:
    """Whether some step of it does."""
    return rollout.canary is not None and any(isinstance(step, ApproveStep) for step in rollout.canary.steps)


def passed_by(rollout: Rollout, progress: Progress) -> int | None:
    """The number of the next `approve` step that a promotion would pass by; None where there is none."""
    steps = rollout.canary.steps if rollout.canary is not None else ()
    ahead = enumerate(steps[progress.step :], progress.step + 1)
    return next((number for number, step in ahead if isinstance(step, ApproveStep)), None)


def role_in(step: ApproveStep, roles: frozenset[str]) -> str:
    """By which of their roles someone may approve; empty for none."""
    return next((role for role in step.roles or (OPERATOR,) if role in roles), "")


def missing(step: ApproveStep, progress: Progress) -> int:
    """How many approvals are wanting."""
    return max(0, step.by - len(progress.approvals))


def approve(rollout: Rollout, progress: Progress, event: Approve) -> Progress:
    """Count an approval.

    Raises:
        NotEntitled: this person may not approve this.
        IllegalTransition: no approval is wanted there, or not one more of this person.
    """
    step = _wanted(rollout, progress, event)
    role = _role(step, event)
    if event.person in progress.authors:
        raise NotEntitled(
            f"{event.person} made this revision of {rollout.model!r}, or edited it since, so the approval of"
            " somebody else is needed"
        )
    if any(each.person == event.person for each in progress.approvals):
        raise IllegalTransition(f"{event.person} approved of this already; {wanting(step, progress)}")
    given = Approval(event.person, role, event.at, event.seen)
    return replace(progress, approvals=(*progress.approvals, given))


def rejection(rollout: Rollout, progress: Progress, event: Reject) -> str:
    """Why a rollout that is rejected is paused; who made it may reject it, too.

    Raises:
        NotEntitled, IllegalTransition: as `approve`.
    """
    role = _role(_wanted(rollout, progress, event), event)
    return f"rejected by {event.person} ({role}){f': {event.reason}' if event.reason else ''}"


def expiry(step: ApproveStep, progress: Progress) -> str:
    """Why a rollout whose time for approvals is over is paused."""
    given = f"only {approvers(progress.approvals)} approved" if progress.approvals else "nobody approved"
    return (
        f"it was not approved by {asked(step)} within {duration_text(step.expires_seconds or 0.0)}: {given}"
    )


def check_result(rollout: Rollout, progress: Progress, event: RunResult) -> None:
    """Refuse an answer to another question than the one that was asked last.

    Raises:
        ForeignVerdict: it is one.
    """
    if not isinstance(step_of(rollout, progress), RunStep) or attempt(progress) != event.attempt:
        raise ForeignVerdict(
            f"the hook of {rollout.model!r} answered {event.attempt}, which is not under way"
        )


def attempt(progress: Progress) -> str:
    """The question that a `run` step asks now: stage, step and resumes, which never come again together."""
    return f"{progress.stage}-{progress.step + 1}-{progress.resumes}"


def _wanted(rollout: Rollout, progress: Progress, event: Approve | Reject) -> ApproveStep:
    step = step_of(rollout, progress)
    if not isinstance(step, ApproveStep):
        raise IllegalTransition(f"no approval of {rollout.model!r} is wanted now")
    if (event.stage, event.step) != (progress.stage, progress.step):
        raise IllegalTransition(f"{rollout.model!r} has moved on since it was looked at: look again")
    return step


def _role(step: ApproveStep, event: Approve | Reject) -> str:
    role = role_in(step, event.roles)
    if not role:
        has = ", ".join(sorted(event.roles)) or "none"
        raise NotEntitled(
            f"this needs the role {' or '.join(step.roles or (OPERATOR,))}; {event.person} has {has}"
        )
    return role
