"""How an A/B/n test moves: what the state machine does in rollouts with `candidates`, and there alone. Pure.

Law:
- In `comparing` each candidate that is not taken off has its fixed share. Harm takes off that one candidate,
  whose share goes to stable; the others keep theirs, and all keep their numbers. With the last one the
  rollout is rolled back.
- Of one evidence the best is found once, and what is found later changes nothing. Where the document says so
  it is promoted at once, or the test ends where it is stable; else a person decides. Harm done by it undoes
  the finding.
- One that is ready nowhere for its `progressDeadline`, while another one is, is taken off too.
- After `best.max` without a best the test ends undecided, and stable answers all.
- Until every worker has loaded the one that is promoted, all go on as before. Harm of that one ends its
  promotion and not the test.
"""

from collections.abc import Mapping
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
    if event.target not in progress.on_keys:
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
    if event.target not in {progress.stable.key, *progress.on_keys}:
        raise IllegalTransition(f"{event.target} takes no part in {rollout.model!r} now")
    if progress.best:
        return progress, ()
    found = replace(progress, best=event.target, reason=event.reason)
    if rollout.best.promote:
        return _act_on_best(rollout, found)
    return found, (Effect("best_found", found.reason),)


def watch(
    rollout: Rollout, progress: Progress, away: Mapping[str, str], elapsed: float, *, served: bool
) -> Move:
    """So many seconds went by, in which these candidates were ready nowhere; `served` is that of a tick."""
    if progress.phase != "comparing":
        return progress, ()
    after, effects = _take_off_unready(rollout, _waiting(progress, away, elapsed), away)
    best = rollout.best
    if effects or best is None:
        return after, effects
    if after.best:  # `promote` may have been said since
        return _act_on_best(rollout, after) if best.promote else (after, ())
    if best.max_seconds is None or not served:
        return after, ()
    after = replace(after, waited_seconds=after.waited_seconds + elapsed)
    if after.waited_seconds < best.max_seconds:
        return after, ()
    return _end(after, f"undecided after {duration_text(best.max_seconds)}")


def _waiting(progress: Progress, away: Mapping[str, str], elapsed: float) -> Progress:
    """For how long each has been ready nowhere; while nobody is ready, that says nothing of any of them."""
    on = set(progress.on_keys)
    if on <= away.keys():
        return progress
    arms = tuple(
        replace(arm, unready_seconds=arm.unready_seconds + elapsed if arm.target in away else 0.0)
        if arm.target in on
        else arm
        for arm in progress.arms
    )
    return replace(progress, arms=arms)


def _take_off_unready(rollout: Rollout, progress: Progress, away: Mapping[str, str]) -> Move:
    """Take off who is away for too long: nobody can be shown to be better than one that has no share."""
    effects: tuple[Effect, ...] = ()
    for number, arm in progress.on:
        deadline = rollout.candidates[number - 1].progress_deadline_seconds
        if arm.unready_seconds >= deadline and arm.target in away:
            why = f": {away[arm.target]}" if away[arm.target] else ""
            reason = f"it was ready nowhere for {deadline:g} s{why}"
            progress, more = take_off(rollout, progress, TakenOff(arm.target, reason, progress.stage))
            effects += more
    return progress, effects


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
    others = [key for key in progress.on_keys if key != target.key]
    arms = _off(progress, f"{target.key} was promoted", *others)
    after = replace(progress, phase="promoted", stable=target, arms=arms)
    return after, (Effect("promoted", f"{target.key} took over from {progress.stable.key}: {after.reason}"),)


def abort(rollout: Rollout, progress: Progress, event: Abort | Failed) -> Move:
    """Take off all that are there, or undo a promotion."""
    on = progress.on_keys if progress.phase != "promoted" else (progress.candidate or "",)
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
    on = progress.on_keys
    after = replace(progress, phase="ended", reason=reason, arms=_off(progress, reason, *on))
    return after, (Effect("ended", f"the test of {listed(on)} ended: {reason}"),)


def _off(progress: Progress, reason: str, *targets: str) -> tuple[ArmProgress, ...]:
    return tuple(replace(arm, off_reason=reason) if arm.target in targets else arm for arm in progress.arms)


def _named(rollout: Rollout, progress: Progress, name: str) -> str:
    """The key of the candidate that a person means, by its key or its model."""
    on = progress.on_keys
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
