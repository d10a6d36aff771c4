"""How a rollout moves: the state machine of one public model name, as a table.

Law:
- Steps are taken in the order of the document, one at a time; a tick ends at most one. Promotion comes
  behind the last step, or because a person says so.
- Harm takes the canary off at once, in every phase in which there is one. Nothing but `proven` leads past a
  `prove` step: no other verdict, no length of time, no resuming.
- A candidate that is ready nowhere for its `progressDeadline` pauses the rollout, with the reason.
- Time is what ticks add up to, and a tick adds `MAX_TICK_SECONDS` at most. So a clock that jumps, a machine
  that sleeps or a control that was down cannot make a step end early; at worst it ends late.
- A step counts its time, and ends by itself, only while enough nodes serve it; harm does not wait, nor do
  people and hooks that are asked. An answer is counted in the stage that its node served, so evidence is of
  one stage either way.
- Whatever matters to the statistics (weight, targets, document) has a stage number of its own, which never
  comes again.
- What an edit leaves alone goes on: with the same stable, canary and steps a rollout stays at its step, a
  promoted or promoting one stays so, and the clock of a timed pause runs on. The evidence, and a `prove` step
  that waits for it, begin again when what is judged or how changes, and go on where only something beside it
  does: examples, records, shadows, how much is mirrored, what is kept warm, deadlines. With another course it
  starts from its first step. A candidate that was taken off stays off until its course or what judged it
  changes, or a person resumes.
- Sticky users are drawn once: over edits a canary keeps its draw, and the greatest weight that the draw ever
  had. They are drawn anew for a canary that was not there before, or had other bytes, or another header; and
  where steps begin again below the weight in force, which sends users back to stable anyway.
- How the server behind a URL is asked is part of what is judged, and no part of the course.
- A verdict names the stage that it was made in, and is refused in any other: what is known of one canary is
  never held against the next.
- Stable may be its own canary, in the phase `aa` and there alone: only where the document names no canary and
  stable is no URL. No verdict moves it; it ends by its time, its number of requests, a person, an edit, or
  because its copy is ready nowhere, and leaves the document and its evidence as they were.
- An A/B/n test has the phases `comparing`, `promoting`, `promoted`, `paused` (where a promotion failed),
  `rolled_back` and `ended`; what it does in them is the law of `control.rollouts.comparing`.
- A promotion whose candidate does not load everywhere leaves the rollout where it was, paused.
- Where a candidate with a placement stands is the law of `control.rollouts.placing`; other nodes for the
  canary begin a stage.
- A canary in waves goes through its steps on the nodes of one label after the other. When it is promoted
  there it answers all of theirs, and its steps begin again on those of the next label; a person's promotion
  is of the wave under way. Behind the last wave it is promoted everywhere. Harm takes it off everywhere.
- People and hooks that are asked in steps have a law of their own, `control.rollouts.approving`.
- An event that the table does not have for a phase raises `IllegalTransition`, and nothing changes.

Everything is in `Progress`, so control may be killed between any two events. Pure: the clock is the caller's.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from control.rollouts import approving, comparing, placing
from control.rollouts.aa import judged_in_aa
from control.rollouts.events import (
    Abort,
    Approve,
    BestFound,
    Edited,
    Effect,
    EffectKind,
    EpochBegun,
    Event,
    Failed,
    ForeignVerdict,
    IllegalTransition,
    Pause,
    Promote,
    PromotionFailed,
    Reject,
    Resume,
    RunResult,
    StartAA,
    TakenOff,
    TargetsReady,
    Tick,
)
from control.rollouts.state import (
    LIVE,
    AATest,
    Cause,
    Phase,
    Progress,
    Warm,
    approvers,
    status_sentence,
    wave_of,
    where,
)
from router.rollout.snapshot import ServedRollout
from router.rollout.values import Approve as ApproveStep
from router.rollout.values import Canary, Placement, Prove, Rollout, SetWeight, Target
from router.rollout.values import Pause as PauseStep
from router.rollout.values import Run as RunStep

MAX_TICK_SECONDS = 5.0
AA_UNREADY_SECONDS = 120.0
"""An A/A test whose copy is ready nowhere for so long ends."""

_PHASES: tuple[Phase, ...] = (*LIVE, "promoted", "rolled_back", "ended")

_Move = tuple[Progress, tuple[Effect, ...]]


def begin(rollout: Rollout, stage: int = 1, authors: tuple[str, ...] = ()) -> Progress:
    """The progress of a rollout that was just accepted.

    Args:
        rollout: its document.
        stage: its first stage; for a name that was used before, one that was never given to it.
        authors: who made it.
    """
    canary = rollout.canary
    start = Progress("idle", rollout.stable, None, stage=stage, evidence_stage=stage)
    if approving.asks_approval(rollout):
        start = replace(start, authors=authors)
    if rollout.candidates:
        return comparing.begin_test(rollout, start)
    if canary is None:
        return replace(start, reason="there is no canary")
    start = replace(start, candidate=canary.target.key, draw=_draw(rollout, stage))
    if canary.weight is not None:
        return replace(start, weight=canary.weight, reason="its weight is fixed")
    return _enter(canary, start, 0)


def advance(rollout: Rollout, progress: Progress, event: Event) -> _Move:
    """What an event makes of a rollout.

    Args:
        rollout: the document in force before the event.
        progress: made by `begin` or `advance` under this document.
        event: what happened.

    Returns:
        The new progress, and what happened. Without effects only timers moved (`Store.tick` saves that);
        with effects the change deserves an audit row (`Store.change`), and `plan` may have changed.

    Raises:
        IllegalTransition: the table does not have this event for this phase.
        ForeignVerdict: it carries a verdict of another stage.
    """
    _check_verdict(rollout, progress, event)
    handler = _TABLE[type(event)].get(progress.phase)
    if handler is None or not (progress.tries or isinstance(event, Edited | Tick | StartAA | EpochBegun)):
        verb = type(event).__name__.lower()
        raise IllegalTransition(f"{verb} does not apply to {rollout.model!r}: {where(rollout, progress)}")
    after, effects = handler(rollout, progress, event)
    present = event.rollout if isinstance(event, Edited) else rollout
    return _settle(rollout, present, progress, after), effects


def _check_verdict(rollout: Rollout, progress: Progress, event: Event) -> None:
    """Targets, weight and evidence begin a stage each time they change, so its number names them all."""
    match event:
        case Tick(verdict=str(), stage=stage):
            pass
        case Pause(cause="mismatch" | "foreign", stage=stage):
            pass
        case TakenOff(stage=stage) | BestFound(stage=stage):
            pass
        case _:
            return
    if stage != progress.stage:
        raise ForeignVerdict(
            f"a verdict on stage {stage} of {rollout.model!r}, but stage {progress.stage} is under way"
        )


def served_by(
    rollout: Rollout, progress: Progress, digests: Mapping[str, str] | None = None
) -> ServedRollout:
    """What routers are to serve while the rollout is there, with the accepted bytes where they are known.

    They are told who is canary, and not where it comes from.
    """
    if rollout.follow is not None:
        rollout = replace(rollout, follow=None)
    if progress.aa is not None:
        return ServedRollout(
            judged_in_aa(rollout),
            stage=progress.stage,
            stable=progress.stable,
            canary=progress.stable,
            weight=progress.weight,
            mirror=progress.aa.mirror,
            shadows=rollout.shadows,
            warm=tuple(entry.target for entry in progress.warm),
            draw=progress.draw,
            digests=digests or {},
            placed=placing.placed(rollout, progress),
        )
    canary = rollout.canary if progress.live else None
    warm = {entry.target.key: entry.target for entry in progress.warm}
    if progress.live and progress.phase == "promoting":
        target = promotes(rollout, progress)
        warm[target.key] = target
    return ServedRollout(
        rollout,
        stage=progress.stage,
        stable=progress.stable,
        canary=canary.target if canary else None,
        weight=progress.weight,
        mirror=canary.mirror if canary else 0.0,
        top_up=canary.top_up if canary else 0.0,
        judged_from=progress.judged_from,
        shadows=rollout.shadows,
        warm=tuple(warm.values()),
        draw=progress.draw,
        used=progress.used,
        digests=digests or {},
        arms=comparing.served_arms(rollout, progress),
        placed=placing.placed(rollout, progress),
        waves=placing.waves(rollout, progress),
    )


def promotes(rollout: Rollout, progress: Progress) -> Target:
    """The target that is promoted or was, of a rollout in that phase."""
    if progress.arms:
        return comparing.candidate_of(rollout, progress.candidate).target
    return _canary(rollout).target


def possible(rollout: Rollout, progress: Progress) -> list[str]:
    """What a person may do to it now, of `pause`, `resume`, `promote` and `abort`."""
    if not progress.tries:
        return []
    passed_by = approving.passed_by(rollout, progress)
    events: tuple[tuple[str, type[Event]], ...] = (
        ("pause", Pause),
        ("resume", Resume),
        ("promote", Promote),
        ("abort", Abort),
    )
    found = [name for name, event in events if progress.phase in _TABLE[event]]
    return [name for name in found if name != "promote" or passed_by is None]


# ------------------------------------------------------------------ what every move has in common
def _settle(rollout: Rollout, present: Rollout, before: Progress, after: Progress) -> Progress:
    """Number the stage, keep warm what has left the role of stable, and remember who was drawn.

    Args:
        rollout: as the document was before.
        present: as it is now.
        before: where it was.
        after: where it is.
    """
    warm = after.warm
    if after.stable.who != before.stable.who:
        if rollout.keep_warm_seconds > 0:
            warm = (Warm(before.stable, rollout.keep_warm_seconds), *warm)
        warm = tuple(entry for entry in warm if entry.target.who != after.stable.who)
    same = _served(rollout, before) == _served(present, after) and after.evidence_stage <= before.stage
    stage = before.stage if same else max(before.stage + 1, after.evidence_stage)
    held = after.approvals if (stage, after.step) == (before.stage, before.step) else ()
    return replace(
        after,
        warm=warm,
        stage=stage,
        used=_used(present, before, after, stage),
        approvals=held,
        standing=placing.standing(present, after),
    )


def _used(rollout: Rollout, before: Progress, after: Progress, stage: int) -> float:
    """The greatest weight by which sticky users were drawn before the stage under way."""
    if stage == before.stage:
        return before.used
    if not after.live or after.draw != before.draw or rollout.sticky_header is None:
        return 0.0
    return max(before.used, before.weight)


def _draw(rollout: Rollout, stage: int) -> int:
    """The draw of a canary that comes in this stage."""
    return stage if stage > 1 and rollout.sticky_header is not None else 0


def _served(rollout: Rollout, progress: Progress) -> tuple[object, ...]:
    if progress.arms:
        return progress.stable, progress.on_keys
    candidate = progress.candidate if progress.live else None
    nodes = placing.placed(rollout, progress).get(candidate or "")
    return progress.stable, candidate, progress.weight, nodes, placing.waves(rollout, progress)


def _enter(canary: Canary, progress: Progress, index: int) -> Progress:
    """Begin a step; behind the last one comes promotion."""
    moved = replace(
        progress,
        phase="progressing",
        step=index,
        waited_seconds=0.0,
        unready_seconds=0.0,
        cause=None,
        reason="",
    )
    if index == len(canary.steps):
        return replace(moved, phase="promoting", reason="every step is done")
    match canary.steps[index]:
        case SetWeight(percent):
            return replace(moved, weight=percent)
        case PauseStep(None):
            return replace(
                moved, phase="paused", cause="step", reason="the step waits for a person to resume"
            )
        case _:
            return moved


def _roll_back(rollout: Rollout, progress: Progress, reason: str) -> _Move:
    back = replace(
        progress, phase="rolled_back", stable=rollout.stable, weight=0.0, cause=None, reason=reason
    )
    return back, (Effect("rolled_back", f"{progress.candidate} was taken off: {reason}"),)


def _next(rollout: Rollout, progress: Progress, reason: str = "") -> _Move:
    after = _enter(_canary(rollout), progress, progress.step + 1)
    if reason:
        after = replace(after, reason=f"{after.reason}; {reason}" if after.reason else reason)
    return after, (Effect(_kind_of_step(rollout, after), status_sentence(rollout, after)),)


def _kind_of_step(rollout: Rollout, progress: Progress) -> EffectKind:
    """What it is called that a step has begun."""
    if isinstance(approving.step_of(rollout, progress), ApproveStep):
        return "approval_wanted"
    kinds: dict[Phase, EffectKind] = {"paused": "paused", "promoting": "promoting"}
    return kinds.get(progress.phase, "step")


def _canary(rollout: Rollout) -> Canary:
    assert rollout.canary is not None  # the progress has a candidate
    return rollout.canary


# ------------------------------------------------------------------ what each event does
def _edit(rollout: Rollout, progress: Progress, event: Edited) -> _Move:
    edited = event.rollout
    if edited == rollout and not event.other_bytes:
        return progress, ()
    if progress.aa is not None:
        return _edit(rollout, _without_aa(progress), event)
    if progress.authors:  # what was approved was another document, and has one author more
        authors = tuple(dict.fromkeys((*progress.authors, event.by)))
        progress = replace(progress, approvals=(), authors=authors)
    beside = not event.other_bytes and _judged(edited) == _judged(rollout)
    if beside:
        return progress, (Effect("edited", f"edited; {status_sentence(edited, progress)}"),)
    if not event.other_bytes and not _ended(progress) and _course(edited) == _course(rollout):
        stable = _asked_anew(progress.stable, edited)
        after = replace(progress, stable=stable, evidence_stage=progress.stage + 1)
        if progress.arms and progress.live:
            after = replace(after, waited_seconds=0.0, best="")
        if edited.sticky_header != rollout.sticky_header:
            after = replace(after, draw=_draw(edited, after.evidence_stage))
        if isinstance(approving.step_of(edited, progress), Prove | ApproveStep | RunStep):
            after = replace(after, waited_seconds=0.0)
        return after, (Effect("edited", f"edited; {status_sentence(edited, after)}"),)
    again = begin(edited, progress.stage + 1, (event.by,))
    after = replace(again, warm=progress.warm, standing=progress.standing)
    if not event.other_bytes and _same_users(rollout, edited, progress, after):
        after = replace(after, draw=progress.draw)
    return after, (Effect("started", status_sentence(edited, after)),)


def _ended(progress: Progress) -> bool:
    """Whether someone was taken off, who has another chance when what judged them changes."""
    off = progress.live and any(arm.off_reason for arm in progress.arms)
    return off or progress.phase in {"rolled_back", "ended"}


def _same_users(rollout: Rollout, edited: Rollout, before: Progress, after: Progress) -> bool:
    """Whether the canary of a rollout that begins again is there already, and keeps its users."""
    canary = edited.canary
    if canary is None or not before.live or before.candidate != after.candidate:
        return False
    fixed = canary.weight is not None
    return edited.sticky_header == rollout.sticky_header and (fixed or after.weight >= before.weight)


def _course(rollout: Rollout) -> tuple[object, ...]:
    """What decides where a rollout goes."""
    canary = rollout.canary
    arms = tuple((each.target.who, each.weight) for each in rollout.candidates)
    tried = canary and (canary.target.who, canary.weight, canary.steps, rollout.waves)
    return (rollout.stable.who, tried, arms)


def _asked_anew(target: Target, rollout: Rollout) -> Target:
    """A target as the document has its server asked now."""
    named = (rollout.stable, *(each.target for each in rollout.all_candidates))
    return next((each for each in named if each.who == target.who), target)


def _judged(rollout: Rollout) -> Rollout:
    """All of a document but what no verdict rests on."""
    canary = rollout.canary
    if canary is not None:
        where = Placement(waves=rollout.waves) if rollout.waves else None  # a part of the course
        canary = replace(canary, mirror=0.0, top_up=0.0, progress_deadline_seconds=0.0, placement=where)
    neutral = Rollout(rollout.model, rollout.stable)
    best = None if rollout.best is None else replace(rollout.best, max_seconds=None, promote=False)
    return replace(
        rollout,
        canary=canary,
        candidates=tuple(replace(each, mirror=0.0) for each in rollout.candidates),
        best=best,
        shadows=neutral.shadows,
        keep_warm_seconds=neutral.keep_warm_seconds,
        examples=neutral.examples,
        record=neutral.record,
        follow=None,  # who is canary says the canary
    )


def _tick(rollout: Rollout, progress: Progress, event: Tick) -> _Move:
    last = event.now if progress.ticked_at is None else progress.ticked_at
    elapsed = min(max(event.now - last, 0.0), MAX_TICK_SECONDS)
    kept = tuple(
        replace(entry, seconds_left=entry.seconds_left - elapsed)
        for entry in progress.warm
        if entry.seconds_left > elapsed
    )
    cooled = tuple(
        Effect("cooled", f"{entry.target.key} is no longer kept warm")
        for entry in progress.warm
        if entry.seconds_left <= elapsed
    )
    after, effects = _watch(rollout, replace(progress, warm=kept), event, elapsed)
    after, moved = placing.place(rollout, after, event.living, elapsed)
    counting = after.phase in {"progressing", "aa", "comparing"} or after.warm or after.standing
    return replace(after, ticked_at=event.now if counting else None), effects + moved + cooled


def _watch(rollout: Rollout, progress: Progress, event: Tick, elapsed: float) -> _Move:
    if progress.aa is not None:
        return _watch_aa(progress, progress.aa, event, elapsed)
    if progress.arms:
        return comparing.watch(rollout, progress, event.away, elapsed, served=event.served)
    if event.verdict == "harmful" and progress.live:
        return _roll_back(rollout, progress, event.reason)
    if progress.phase != "progressing":
        return progress, ()
    step = _canary(rollout).steps[progress.step]
    asks = isinstance(step, ApproveStep | RunStep)  # of somebody, who has his time wherever it is served
    served = event.served or asks
    counted = elapsed if served and (event.ready or asks or isinstance(step, Prove)) else 0.0
    waited = progress.waited_seconds + counted
    unready = 0.0 if event.ready else progress.unready_seconds + elapsed
    waiting = replace(progress, waited_seconds=waited, unready_seconds=unready)
    deadline = _canary(rollout).progress_deadline_seconds
    if unready >= deadline:
        reason = f"it was ready nowhere for {deadline:g} s"
        held = replace(waiting, unready_seconds=0.0)
        return _held(rollout, held, "unready", f"{reason}: {event.unready}" if event.unready else reason)
    if not served:
        return waiting, ()
    match step:
        case SetWeight() if event.ready:
            return _next(rollout, waiting)
        case PauseStep(float() | int() as seconds) if waited >= seconds:
            return _next(rollout, waiting)
        case Prove() if event.verdict == "proven":
            return _next(rollout, waiting, event.reason)
        case Prove(float() | int() as seconds, on_timeout) if waited >= seconds:
            reason = f"not proven within {seconds:g} s"
            reason = f"{reason}: {event.reason}" if event.reason else reason
            if on_timeout == "rollback":
                return _roll_back(rollout, waiting, reason)
            return _held(rollout, waiting, "undecided", reason)
        case ApproveStep(expires_seconds=float() | int() as seconds) if waited >= seconds:
            return _held(rollout, waiting, "expired", approving.expiry(step, waiting))
        case RunStep(timeout_seconds=seconds) if waited >= seconds:
            reason = f"the hook did not let it go on within {seconds:g} s"
            return _held(rollout, waiting, "hook", f"{reason}: {event.hook}" if event.hook else reason)
    return waiting, ()


def _watch_aa(progress: Progress, aa: AATest, event: Tick, elapsed: float) -> _Move:
    waited = progress.waited_seconds + (elapsed if event.ready and event.served else 0.0)
    unready = 0.0 if event.ready else progress.unready_seconds + elapsed
    waiting = replace(progress, waited_seconds=waited, unready_seconds=unready)
    if aa.requests is not None and event.counted >= aa.requests:
        return _end_aa(waiting, f"{event.counted:,} requests were counted")
    if waited >= aa.seconds:
        return _end_aa(waiting, f"after {aa.seconds:g} s")
    if unready >= AA_UNREADY_SECONDS:
        why = f": {event.unready}" if event.unready else ""
        return _end_aa(waiting, f"its copy was ready nowhere for {AA_UNREADY_SECONDS:g} s{why}")
    return waiting, ()


def _held(rollout: Rollout, progress: Progress, cause: Cause, reason: str) -> _Move:
    after = replace(progress, phase="paused", cause=cause, reason=reason)
    return after, (Effect("paused", status_sentence(rollout, after)),)


def _pause(rollout: Rollout, progress: Progress, event: Pause) -> _Move:
    return _held(rollout, progress, event.cause, event.reason)


def _resume(rollout: Rollout, progress: Progress, _: Resume) -> _Move:
    resumed = replace(progress, resumes=progress.resumes + 1)
    if progress.cause == "step":
        return _next(rollout, resumed)
    if progress.cause == "load":
        return _promote(rollout, resumed, Promote("it is tried again", progress.candidate or ""))
    after = replace(resumed, phase="progressing", cause=None, reason="")
    if progress.cause in {"undecided", "rejected", "expired", "hook"}:
        after = replace(after, waited_seconds=0.0, approvals=())
    elif progress.cause in {"mismatch", "foreign"}:  # what was counted until now is not to be trusted
        after = replace(after, evidence_stage=progress.stage + 1)
    return after, (Effect("resumed", status_sentence(rollout, after)),)


def _retry(rollout: Rollout, progress: Progress, _: Resume) -> _Move:
    again = begin(rollout, progress.stage + 1, progress.authors)
    kept = replace(again, warm=progress.warm, standing=progress.standing)
    after = replace(kept, resumes=progress.resumes + 1)
    return after, (Effect("started", status_sentence(rollout, after)),)


def _promote(rollout: Rollout, progress: Progress, event: Promote) -> _Move:
    if progress.arms:
        return comparing.promote(rollout, progress, event)
    if event.target and event.target not in {progress.candidate, _canary(rollout).target.model}:
        raise IllegalTransition(
            f"{event.target[:140]!r} is no candidate of {rollout.model!r}; its canary is {progress.candidate}"
        )
    if (number := approving.passed_by(rollout, progress)) is not None:
        raise IllegalTransition(
            f"promoting {rollout.model!r} now would pass by step {number}, which asks for approval: have it"
            " approved, or put a document without that step"
        )
    after = replace(progress, phase="promoting", cause=None, reason=event.reason)
    return after, (Effect("promoting", status_sentence(rollout, after)),)


def _not_promoted(rollout: Rollout, progress: Progress, event: PromotionFailed) -> _Move:
    return _held(rollout, progress, "load", event.reason)


def _promoted(rollout: Rollout, progress: Progress, _: TargetsReady) -> _Move:
    if progress.arms:
        return comparing.promoted(rollout, progress)
    if progress.wave + 1 < len(rollout.waves):
        return _next_wave(rollout, progress)
    target = _canary(rollout).target
    after = replace(progress, phase="promoted", stable=target, weight=0.0)
    return after, (Effect("promoted", f"{target.key} took over from {progress.stable.key}: {after.reason}"),)


def _next_wave(rollout: Rollout, progress: Progress) -> _Move:
    """The nodes of a wave are done; the steps begin again, on those of the next."""
    begun = replace(progress, wave=progress.wave + 1, weight=0.0)
    after = _enter(_canary(rollout), begun, 0)
    done = f"{progress.candidate} answers all in {wave_of(rollout, progress)}: {progress.reason}"
    after = replace(after, reason=f"{after.reason}; {done}" if after.reason else done)
    return after, (Effect(_kind_of_step(rollout, after), status_sentence(rollout, after)),)


def _approve(rollout: Rollout, progress: Progress, event: Approve) -> _Move:
    step = approving.step_of(rollout, progress)
    after = approving.approve(rollout, progress, event)
    assert isinstance(step, ApproveStep)  # or it would have been refused
    if approving.missing(step, after):
        return after, (Effect("approved", status_sentence(rollout, after)),)
    return _next(rollout, after, f"approved by {approvers(after.approvals)}")


def _reject(rollout: Rollout, progress: Progress, event: Reject) -> _Move:
    return _held(rollout, progress, "rejected", approving.rejection(rollout, progress, event))


def _hook_answered(rollout: Rollout, progress: Progress, event: RunResult) -> _Move:
    approving.check_result(rollout, progress, event)
    told = f": {event.reason}" if event.reason else ""
    if event.passed:
        return _next(rollout, progress, f"the hook let it go on{told}")
    return _held(rollout, progress, "hook", f"the hook halted it{told}")


def _end(rollout: Rollout, progress: Progress, event: Abort | Failed) -> _Move:
    if progress.arms:
        return comparing.abort(rollout, progress, event)
    return _roll_back(rollout, progress, event.reason)


def _start_aa(rollout: Rollout, progress: Progress, event: StartAA) -> _Move:
    if rollout.canary is not None or rollout.candidates or progress.aa is not None:
        remedy = (
            "abort ends it"
            if progress.aa is not None
            else "an A/A takes a document without a canary or candidates"
        )
        raise IllegalTransition(f"no A/A of {rollout.model!r}: {where(rollout, progress)}; {remedy}")
    if progress.stable.url is not None:
        raise IllegalTransition(
            f"no A/A of {rollout.model!r}: stable is behind a URL, and a copy of it would be no model of the"
            " repository in a process of its own"
        )
    aa = AATest(progress.stage + 1, event.mirror, event.seconds, event.requests, event.by)
    after = replace(
        progress,
        phase="aa",
        candidate=progress.stable.key,
        weight=event.weight,
        waited_seconds=0.0,
        unready_seconds=0.0,
        reason=f"started by {event.by}",
        aa=aa,
        draw=_draw(rollout, progress.stage + 1),
    )
    return after, (Effect("aa_started", status_sentence(rollout, after)),)


def _end_aa(progress: Progress, reason: str) -> _Move:
    return _without_aa(progress), (
        Effect("aa_ended", f"the A/A of {progress.stable.key} against itself ended: {reason}"),
    )


def _without_aa(progress: Progress) -> Progress:
    return replace(
        progress,
        phase="idle",
        candidate=None,
        weight=0.0,
        waited_seconds=0.0,
        unready_seconds=0.0,
        reason="there is no canary",
        aa=None,
        draw=0,
    )


def _abort_aa(_: Rollout, progress: Progress, event: Abort | Failed) -> _Move:
    return _end_aa(progress, event.reason)


def _begin_epoch(rollout: Rollout, progress: Progress, event: EpochBegun) -> _Move:
    """Evidence begins again, and users are drawn anew: what both rested on is not all known any more."""
    aa = None if progress.aa is None else replace(progress.aa, stage=event.stage)
    draw = _draw(rollout, event.stage) if progress.live else progress.draw
    after = replace(progress, evidence_stage=event.stage, waited_seconds=0.0, aa=aa, draw=draw, best="")
    return after, (Effect("edited", f"a new epoch begins; {status_sentence(rollout, after)}"),)


_Handler = Callable[[Rollout, Progress, Any], _Move]

_TABLE: dict[type[Event], dict[Phase, _Handler]] = {
    Edited: dict.fromkeys(_PHASES, _edit),
    EpochBegun: dict.fromkeys(_PHASES, _begin_epoch),
    Tick: dict.fromkeys(_PHASES, _tick),
    Pause: {"progressing": _pause},
    Resume: {"paused": _resume, "rolled_back": _retry, "ended": _retry},
    Promote: dict.fromkeys(("idle", "progressing", "paused", "comparing"), _promote),
    Abort: {**dict.fromkeys((*LIVE, "promoted"), _end), "aa": _abort_aa},
    StartAA: dict.fromkeys(_PHASES, _start_aa),
    Failed: {**dict.fromkeys(LIVE, _end), "aa": _abort_aa},
    TargetsReady: {"promoting": _promoted},
    PromotionFailed: {"promoting": _not_promoted},
    TakenOff: dict.fromkeys(("comparing", "promoting", "paused"), comparing.take_off),
    BestFound: {"comparing": comparing.find_best},
    Approve: {"progressing": _approve},
    Reject: {"progressing": _reject},
    RunResult: {"progressing": _hook_answered},
}
"""Without anyone beside stable, which only `idle` can be, `advance` lets but edits, ticks and A/A through."""
