"""How an A/B/n test moves: what the state machine does in rollouts with `candidates`, and there alone. Pure.

Law:
- In `comparing` each candidate that is not taken off has its fixed share. Harm takes off that one candidate,
  whose share goes to stable; the others keep theirs, and all keep their numbers. With the last one the
  rollout is rolled back.
- Of one evidence the best is found once, and what is found later changes nothing. Where the document says so
  it is promoted at once, or the test ends where it is stable; else a person decides. Harm done by it undoes
  the finding.
- After `best.max` without a best the test ends undecided, and stable answers all.
- Until every worker has loaded the one that is promoted, all go on as before. Harm of that one ends its
  promotion and not the test.
"""

from dataclasses import replace

from control.rollouts.events import (
    Abort,
    BestFound,
    Effect,
    Failed,
    IllegalTransition,
    Promote,
    TakenOff,
)
from control.rollouts.state import ArmProgress, Progress, listed, status_sentence
from router.rollout.kinds import duration_text
from router.rollout.snapshot import Arm
from router.rollout.values import Canary, Rollout

Move = tuple[Progress, tuple[Effect, ...]]


def begin_test(rollout: Rollout, start: Progress) -> Progress:
    """The progress of a test whose document was just accepted; every candidate takes its share."""
    arms = tuple(ArmProgress(each.target.key) for each in rollout.candidates)
    return replace(start, phase="comparing", arms=arms)


def served_arms(rollout: Rollout, progress: Progress) -> tuple[Arm, ...]:
    """The candidates that are to be served now, with the shares of the document."""
    return tuple(
        Arm(number, each.target, each.weight or 0.0, each.mirror)
        for number, _ in progress.on
        for each in [rollout.candidates[number - 1]]
    )


def candidate_of(rollout: Rollout, key: str | None) -> Canary:
    """The candidate whose target has this key, which must be one of the document's."""
    return next(each for each in rollout.candidates if each.target.key == key)


def take_off(rollout: Rollout, progress: Progress, event: TakenOff) -> Move:
    """One candidate does harm."""
    if event.target not in {arm.target for _, arm in progress.on}:
        raise IllegalTransition(f"{event.target} takes no part in {rollout.model!r} now")
    after = replace(progress, arms=_off(progress, event.reason, event.target))
    text = f"{event.target} was taken off: {event.reason}"
    if not after.on:
        why = "; ".join(f"{arm.target}: {arm.off_reason}" for arm in after.arms)
        back = replace(after, phase="rolled_back", candidate=None, best="", cause=None, reason=why)
        return back, (Effect("rolled_back", f"{text}; no candidate is left"),)
    if progress.best == event.target:
        after = replace(after, best="", reason="")
    if progress.candidate == event.target:
        after = replace(after, phase="comparing", candidate=None, cause=None, reason="")
    return after, (Effect("taken_off", text),)


def find_best(rollout: Rollout, progress: Progress, event: BestFound) -> Move:
    """All sides were compared, and one is better than each of the others."""
    if rollout.best is None:
        raise IllegalTransition(f"{rollout.model!r} asks for no best")
    if event.target not in {progress.stable.key, *(arm.target for _, arm in progress.on)}:
        raise IllegalTransition(f"{event.target} takes no part in {rollout.model!r} now")
    if progress.best:
        return progress, ()
    found = replace(progress, best=event.target, reason=event.reason)
    if rollout.best.promote:
        return _act_on_best(rollout, found)
    return found, (Effect("best_found", found.reason),)


def watch(rollout: Rollout, progress: Progress, elapsed: float) -> Move:
    """So many seconds went by."""
    best = rollout.best
    if progress.phase != "comparing" or best is None:
        return progress, ()
    if progress.best:  # `promote` may have been said since
        return _act_on_best(rollout, progress) if best.promote else (progress, ())
    if best.max_seconds is None:
        return progress, ()
    waiting = replace(progress, waited_seconds=progress.waited_seconds + elapsed)
    if waiting.waited_seconds < best.max_seconds:
        return waiting, ()
    return _end(waiting, f"undecided after {duration_text(best.max_seconds)}")


def promote(rollout: Rollout, progress: Progress, event: Promote) -> Move:
    """Begin to promote one of the candidates.

    Raises:
        IllegalTransition: it is not said which, or that one takes no part.
    """
    key = _named(rollout, progress, event.target)
    after = replace(progress, phase="promoting", candidate=key, cause=None, reason=event.reason)
    return after, (Effect("promoting", status_sentence(rollout, after)),)


def promoted(rollout: Rollout, progress: Progress) -> Move:
    """Every worker has loaded the one that is promoted; the others are no longer needed."""
    target = candidate_of(rollout, progress.candidate).target
    others = _off(progress, f"{target.key} was promoted", *_others(progress, target.key))
    after = replace(progress, phase="promoted", stable=target, arms=others)
    return after, (Effect("promoted", f"{target.key} took over from {progress.stable.key}: {after.reason}"),)


def abort(rollout: Rollout, progress: Progress, event: Abort | Failed) -> Move:
    """Take off all that are there, or undo a promotion."""
    still_on = [arm.target for _, arm in progress.on]
    on = still_on if progress.phase != "promoted" else [progress.candidate or ""]
    back = replace(
        progress,
        phase="rolled_back",
        stable=rollout.stable,
        candidate=None,
        cause=None,
        reason=event.reason,
        arms=_off(progress, event.reason, *on),
        best="",
    )
    were = "was" if len(on) == 1 else "were"
    return back, (Effect("rolled_back", f"{listed(on)} {were} taken off: {event.reason}"),)


def _act_on_best(rollout: Rollout, progress: Progress) -> Move:
    if progress.best == progress.stable.key:
        return _end(progress, progress.reason)
    return promote(rollout, progress, Promote(progress.reason, progress.best))


def _end(progress: Progress, reason: str) -> Move:
    on = [arm.target for _, arm in progress.on]
    after = replace(progress, phase="ended", reason=reason, arms=_off(progress, reason, *on))
    return after, (Effect("ended", f"the test of {listed(on)} ended: {reason}"),)


def _off(progress: Progress, reason: str, *targets: str) -> tuple[ArmProgress, ...]:
    return tuple(replace(arm, off_reason=reason) if arm.target in targets else arm for arm in progress.arms)


def _others(progress: Progress, key: str) -> list[str]:
    return [arm.target for _, arm in progress.on if arm.target != key]


def _named(rollout: Rollout, progress: Progress, name: str) -> str:
    """The key of the candidate that a person means, by its key or its model."""
    on = [arm.target for _, arm in progress.on]
    if not name:
        raise IllegalTransition(f"promote which of {rollout.model!r}? say a target: {listed(on)}")
    keys = {each.target.key for each in rollout.candidates if name in {each.target.key, each.target.model}}
    if len(keys) != 1:
        fault = "is a candidate at several places, say the one with its URL" if keys else "is no candidate"
        raise IllegalTransition(f"{name[:140]!r} {fault} of {rollout.model!r}: {listed(on)}")
    [key] = keys
    if key not in on:
        reason = next(arm.off_reason for arm in progress.arms if arm.target == key)
        raise IllegalTransition(
            f"{key} was taken off: {reason}; to promote it all the same, put it as the `canary` with weight 0"
            " and promote that"
        )
    return key
