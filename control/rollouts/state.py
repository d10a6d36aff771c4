"""Where a rollout is, as a value that survives a restart, and in words.

Only `control.rollouts.progress` makes new ones; everyone else reads, stores and shows them. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from router.rollout.sections.targets import target_of_json, target_to_json
from router.rollout.values import Approve, Pause, Prove, Rollout, Run, SetWeight, Step, Target
from serving.document import DocumentError

Phase = Literal[
    "idle", "progressing", "paused", "promoting", "promoted", "rolled_back", "aa", "comparing", "ended",
]  # fmt: skip
Cause = Literal[
    "step", "person", "undecided", "mismatch", "foreign", "load", "unready", "rejected", "expired", "hook",
]  # fmt: skip

OPERATOR = "operator"
"""The role that may change rollouts."""
LIVE: tuple[Phase, ...] = ("idle", "progressing", "paused", "promoting", "aa", "comparing")


@dataclass(frozen=True, slots=True)
class Warm:
    """A former stable that stays loaded for `seconds_left`, so that going back needs no load."""

    target: Target
    seconds_left: float


@dataclass(frozen=True, slots=True)
class AATest:
    """Stable as its own canary (an A/A test), for a while; the document says nothing of it.

    Args:
        stage: whose counts speak about it.
        mirror: percentage of stable's requests that the copy runs too.
        seconds: for how long, counted while the copy is ready.
        requests: it ends sooner when so many were counted, of both roles together; None: it does not.
        by: who started it.
    """

    stage: int
    mirror: float
    seconds: float
    requests: int | None
    by: str


@dataclass(frozen=True, slots=True)
class ArmProgress:
    """A candidate of an A/B/n test; its place among them is that in the document.

    Args:
        target: its key.
        off_reason: why it was taken off, or left when the test ended; empty while it takes its share.
        unready_seconds: for how long it has been ready nowhere while another one was.
    """

    target: str
    off_reason: str = ""
    unready_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a candidate with a placement stands.

    Args:
        target: its key.
        nodes: by name, in order.
        of: how many nodes there were when these were chosen.
        share: the percentage of nodes that the document asked for then.
        stage: for which they were chosen, or found to be right.
        off_seconds: for how long they have been a wrong part of the living nodes.
    """

    target: str
    nodes: tuple[str, ...]
    of: int
    share: float
    stage: int
    off_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Approval:
    """That someone approved.

    Args:
        person: who.
        role: by which of their roles.
        at: when, in seconds since 1970.
        seen: what stands for all that they were shown.
    """

    person: str
    role: str
    at: float
    seen: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a rollout is.

    Args:
        phase: see the table.
        stable: the effective one; after a promotion the candidate, whatever the document says.
        candidate: key of the document's canary, or None; of stable itself while an A/A test runs; of an A/B/n
            test the one that is, was, or could not be promoted.
        weight: percentage of the requests that the canary gets now, 0 to 100.
        step: index of the step under way; their number once all are done.
        waited_seconds: counted in the step under way.
        unready_seconds: for how long the candidate has been ready nowhere.
        cause: why it is paused; None otherwise.
        reason: of the present phase or step, for a person.
        stage: number of the present stage, from 1.
        evidence_stage: first stage whose counts speak about the canary as it is now.
        resumes: how often a person resumed, since the rollout began.
        warm: former stables that are kept loaded, the latest first.
        ticked_at: clock of the last tick that counted; None when no time is being counted.
        aa: the A/A test that runs, in the phase of that name only.
        draw: which draw of sticky users the canary is in, the number of the stage in which it came; 0 is the
            first under this name.
        used: the greatest weight that this draw had in stages before; 0 without sticky users.
        arms: the candidates of an A/B/n test, in the order of the document; else none.
        best: key of the target that was found to be the best of an A/B/n test; empty until then.
        authors: who made the document, or edited it since its steps began; where steps ask for approval.
        approvals: those that hold for the step under way.
        standing: where candidates with a placement stand; of those that were not placed yet nothing.
        wave: of a canary that goes from label to label, the index of the label under way.
    """

    phase: Phase
    stable: Target
    candidate: str | None
    weight: float = 0.0
    step: int = 0
    waited_seconds: float = 0.0
    cause: Cause | None = None
    reason: str = ""
    stage: int = 1
    evidence_stage: int = 1
    resumes: int = 0
    warm: tuple[Warm, ...] = ()
    ticked_at: float | None = None
    unready_seconds: float = 0.0
    aa: AATest | None = None
    draw: int = 0
    used: float = 0.0
    arms: tuple[ArmProgress, ...] = ()
    best: str = ""
    authors: tuple[str, ...] = ()
    approvals: tuple[Approval, ...] = ()
    standing: tuple[Standing, ...] = ()
    wave: int = 0

    def stands(self, target: str | None) -> Standing | None:
        """Where the candidate of this key stands; None where that was never chosen."""
        return next((each for each in self.standing if each.target == target), None)

    @property
    def judged_from(self) -> int:
        """The first stage whose counts are judged; what shadows have shown began before an A/A test."""
        return self.evidence_stage if self.aa is None else self.aa.stage

    @property
    def live(self) -> bool:
        """Whether a canary, or candidates, are to be served, if only by forced header."""
        return self.tries and self.phase in LIVE

    @property
    def tries(self) -> bool:
        """Whether there is or was anyone beside stable whom clients meet."""
        return self.candidate is not None or bool(self.arms)

    @property
    def on(self) -> tuple[tuple[int, ArmProgress], ...]:
        """The candidates of an A/B/n test that take their share now, with their numbers, from 1."""
        if self.phase not in LIVE:
            return ()
        return tuple((number, arm) for number, arm in enumerate(self.arms, 1) if not arm.off_reason)

    @property
    def on_keys(self) -> tuple[str, ...]:
        """The keys of those that are `on`."""
        return tuple(arm.target for _, arm in self.on)


def status_sentence(rollout: Rollout, progress: Progress) -> str:
    """Where the rollout is and why, for a person."""
    alone = not progress.tries  # the reason is then that there is no canary, shadows or not
    because = f" ({progress.reason})" if progress.reason and not alone else ""
    return f"{where(rollout, progress)}{because}"


def to_json(progress: Progress) -> dict[str, Any]:
    """The progress as JSON-able values; what is not there is left out, as the release before wrote it."""
    value = asdict(progress)
    value["stable"] = target_to_json(progress.stable)
    warm = (
        {"target": target_to_json(each.target), "seconds_left": each.seconds_left} for each in progress.warm
    )
    value["warm"] = list(warm)
    for name in ("aa", "draw", "used", "arms", "best", "authors", "approvals", "standing", "wave"):
        if not value[name]:
            del value[name]
    return value


def from_json(value: Mapping[str, Any]) -> Progress:
    """The inverse of `to_json`.

    Raises:
        ValueError: it was not written by `to_json` of this version.
    """
    try:
        stable = target_of_json(value["stable"])
        warm = tuple(Warm(target_of_json(entry["target"]), entry["seconds_left"]) for entry in value["warm"])
        aa = AATest(**value["aa"]) if value.get("aa") is not None else None
        arms = tuple(ArmProgress(**arm) for arm in value.get("arms", ()))
        people = {
            "authors": tuple(value.get("authors", ())),
            "approvals": tuple(Approval(**each) for each in value.get("approvals", ())),
        }
        standing = tuple(
            Standing(**{**each, "nodes": tuple(each["nodes"])}) for each in value.get("standing", ())
        )
        found = {"stable": stable, "warm": warm, "aa": aa, "arms": arms, "standing": standing, **people}
        return Progress(**{**value, **found})
    except (KeyError, TypeError, AttributeError, DocumentError):
        raise ValueError("not a progress of this version") from None


def where(rollout: Rollout, progress: Progress) -> str:
    """The phase in words, without its reason."""
    stable, candidate = progress.stable.key, progress.candidate
    share = f"{progress.weight:g}%{_standing(rollout, progress)}"
    match progress.phase:
        case "idle" if candidate is None:
            return f"{stable} is stable{_beside(rollout)}"
        case "idle":
            return f"{candidate} is given {share}, {stable} the rest"
        case "comparing":
            return _compared(rollout, progress)
        case "ended":
            return f"the test of {_all(progress)} has ended, {stable} answers all"
        case "rolled_back" if progress.arms:
            return f"{_all(progress)} are taken off, {stable} is stable"
        case "paused" if progress.arms:
            return f"{candidate} could not be promoted, {listed(progress.on_keys)} keep their shares"
        case "progressing":
            return f"step {_step(rollout, progress)}, {candidate} at {share}: {_doing(rollout, progress)}"
        case "paused" if progress.cause == "load":
            return f"{candidate} could not be promoted, it stays at {share}"
        case "paused":
            return f"paused at step {_step(rollout, progress)}, {candidate} at {share}"
        case "promoting":
            return f"promoting {candidate}, until {_where_promoted(rollout, progress)} has loaded it"
        case "promoted":
            return f"{candidate} is promoted, it is stable now"
        case "rolled_back":
            return f"{candidate} is taken off, {stable} is stable"
        case "aa":
            return f"A/A: {stable} against itself at {share}, {_so_far(progress)}"


def _standing(rollout: Rollout, progress: Progress) -> str:
    """On which part of the nodes the canary stands, where that is not all."""
    if rollout.canary is None or rollout.canary.placement is None:
        return ""
    if rollout.waves:
        return f" in {wave_of(rollout, progress)}"
    found = progress.stands(progress.candidate)
    return f" on {on_nodes(len(found.nodes), found.of)}" if found is not None else " on no node yet"


def wave_of(rollout: Rollout, progress: Progress) -> str:
    """The wave under way in words: `wave eu-1, 1 of 3`."""
    return f"wave {rollout.waves[progress.wave]}, {progress.wave + 1} of {len(rollout.waves)}"


def on_nodes(number: int, of: int) -> str:
    """So many nodes of all in words: `1 of 3 nodes`."""
    return f"{number} of {of} node{'' if of == 1 else 's'}"


def _where_promoted(rollout: Rollout, progress: Progress) -> str:
    """Which workers load a candidate that is being promoted."""
    if progress.wave + 1 < len(rollout.waves):
        return f"every worker of {wave_of(rollout, progress)},"
    return "every worker"


def _compared(rollout: Rollout, progress: Progress) -> str:
    """Of an A/B/n test: who takes part, and who was taken off."""
    shares = [
        f"{arm.target} at {rollout.candidates[number - 1].weight or 0.0:g}%" for number, arm in progress.on
    ]
    off = [arm.target for arm in progress.arms if arm.off_reason]
    rest = f", {listed(off)} taken off" if off else ""
    return f"{listed(shares)}, against {progress.stable.key} and each other{rest}"


def _all(progress: Progress) -> str:
    return listed([arm.target for arm in progress.arms])


def listed(names: Sequence[str]) -> str:
    """A list in words."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _beside(rollout: Rollout) -> str:
    shadows = [shadow.target.key for shadow in rollout.shadows]
    if not shadows:
        return " (there is no canary)"
    return f", compared with {'shadow' if len(shadows) == 1 else 'shadows'} {' and '.join(shadows)}"


def _so_far(progress: Progress) -> str:
    assert progress.aa is not None  # it is in that phase
    return f"{progress.waited_seconds:.0f} of {progress.aa.seconds:g} s"


def _step(rollout: Rollout, progress: Progress) -> str:
    return f"{progress.step + 1} of {len(_steps(rollout))}"


def _steps(rollout: Rollout) -> tuple[Step, ...]:
    return rollout.canary.steps if rollout.canary else ()


def _doing(rollout: Rollout, progress: Progress) -> str:
    waited = f"{progress.waited_seconds:.0f}"
    match _steps(rollout)[progress.step]:
        case SetWeight():
            return "setting the weight"
        case Pause(seconds):
            return f"waited {waited} of {seconds:g} s"
        case Prove(None):
            return f"waiting for proof, {waited} s so far"
        case Prove(seconds):
            return f"waiting for proof, {waited} of at most {seconds:g} s"
        case Run(url, seconds):
            return f"waiting for the hook {url}, {waited} of at most {seconds:g} s"
        case Approve() as step:
            limit = (
                "" if step.expires_seconds is None else f", {waited} of at most {step.expires_seconds:g} s"
            )
            return f"waiting for approval by {wanting(step, progress)}{limit}"


def wanting(step: Approve, progress: Progress) -> str:
    """Whose approval a step wants, and whose it has: `2 of risk, ann (risk) so far`."""
    return f"{asked(step)}{f', {approvers(progress.approvals)} so far' if progress.approvals else ''}"


def asked(step: Approve) -> str:
    """Whose approval a step wants: `2 of risk or legal`."""
    return f"{step.by} of {' or '.join(step.roles or (OPERATOR,))}"


def approvers(approvals: Sequence[Approval]) -> str:
    """Who approved, in words: `ann (risk) and ben (legal)`."""
    return listed([f"{each.person} ({each.role})" for each in approvals])
