"""What can happen to a rollout, and what comes of it, as values.

`control.rollouts.progress.advance` takes an event and tells its effects. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from router.rollout.values import Rollout
from serving.errors import ServingError

Verdict = Literal["harmful", "proven", "undecided"]
EffectKind = Literal[
    "edited", "started", "step", "paused", "resumed", "promoting", "promoted", "rolled_back", "cooled",
    "aa_started", "aa_ended", "taken_off", "best_found", "ended", "approval_wanted", "approved",
    "placed",
]  # fmt: skip


class IllegalTransition(ServingError):
    """The event does not apply to the phase that the rollout is in."""

    kind = "conflict"


class ForeignVerdict(IllegalTransition):
    """The verdict speaks about another stage than the one under way."""


class NotEntitled(ServingError):
    """Someone else has to do that."""

    kind = "forbidden"


@dataclass(frozen=True, slots=True)
class Edited:
    """The document is now `rollout`; the same one again changes nothing.

    Args:
        rollout: the whole new document.
        other_bytes: its stable or canary names files with other bytes than those accepted before.
        by: who made it.
    """

    rollout: Rollout
    other_bytes: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class EpochBegun:
    """A person lets what is stored rule, whatever nodes served meanwhile.

    Args:
        stage: with which the rollout goes on; nobody has seen its number.
    """

    stage: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by.

    Args:
        now: seconds on a monotonic clock.
        verdict: of all enforced guards together; None when there is nothing to judge.
        reason: of the verdict.
        stage: the stage that was under way when the verdict was made; required with a verdict.
        ready: whether the canary can answer. While it cannot, no timed pause gets shorter and no weight
            counts as set; the `max` of a `prove` step runs on.
        unready: why it cannot, for a person.
        counted: requests that an A/A test has counted until now.
        away: of an A/B/n test the candidates that are ready nowhere: by key why, for a person.
        hook: why the hook that is asked has not answered yet, for a person.
        served: whether enough nodes serve what the rollout is at. While they do not, no time counts.
        living: names of the nodes that serve, each once, where the document has a placement.
    """

    now: float
    verdict: Verdict | None = None
    reason: str = ""
    stage: int | None = None
    ready: bool = True
    unready: str = ""
    counted: int = 0
    away: Mapping[str, str] = field(default_factory=dict)
    hook: str = ""
    served: bool = True
    living: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Pause:
    """Hold the rollout where it is; the weight stays in force.

    Args:
        reason: for a person.
        cause: a person's wish, or counts that cannot be trusted.
        stage: the stage under way when the counts were looked at; None when a person asks.
    """

    reason: str
    cause: Literal["person", "mismatch", "foreign"] = "person"
    stage: int | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """A person lets a paused rollout go on, or a rolled back one start again."""


@dataclass(frozen=True, slots=True)
class Promote:
    """A person promotes the canary, whatever its step or weight.

    Args:
        reason: for a person.
        target: key of the one that is meant, or its model where no other has it; required in an A/B/n test.
    """

    reason: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class TakenOff:
    """A candidate of an A/B/n test does harm.

    Args:
        target: its key.
        reason: for a person.
        stage: the stage under way when the verdict was made.
    """

    target: str
    reason: str
    stage: int


@dataclass(frozen=True, slots=True)
class BestFound:
    """The best of an A/B/n test is found, which stable may be.

    Args:
        target: its key.
        reason: for a person.
        stage: the stage under way when it was found.
    """

    target: str
    reason: str
    stage: int


@dataclass(frozen=True, slots=True)
class Approve:
    """A person approves of what they saw.

    Args:
        person: who.
        roles: all that they have.
        stage: the stage under way when they looked.
        step: the index of the step under way then.
        seen: what stands for all that they were shown.
        at: seconds since 1970.
    """

    person: str
    roles: frozenset[str]
    stage: int
    step: int
    seen: str
    at: float


@dataclass(frozen=True, slots=True)
class Reject:
    """A person who could approve does not want it; the fields are those of `Approve`."""

    person: str
    roles: frozenset[str]
    stage: int
    step: int
    reason: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """A hook has answered.

    Args:
        attempt: what it was asked.
        passed: whether the rollout may go on.
        reason: of the hook, for a person; or empty.
    """

    attempt: str
    passed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Abort:
    """A person takes the canary or all candidates off, undoes a promotion, or ends an A/A test."""

    reason: str


@dataclass(frozen=True, slots=True)
class StartAA:
    """A person lets stable be its own canary for a while; see `AATest`.

    Args:
        weight: percentage of the requests that the copy answers.
    """

    weight: float
    mirror: float
    seconds: float
    requests: int | None
    by: str


@dataclass(frozen=True, slots=True)
class TargetsReady:
    """The candidate is loaded in every worker."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The candidate cannot go on: it does not load, or it keeps dying."""

    reason: str


@dataclass(frozen=True, slots=True)
class PromotionFailed:
    """The candidate cannot be loaded in every worker; the rollout stays where it was."""

    reason: str


Event = (
    Edited
    | Tick
    | Pause
    | Resume
    | Promote
    | Abort
    | StartAA
    | TargetsReady
    | Failed
    | PromotionFailed
    | TakenOff
    | BestFound
    | Approve
    | Reject
    | RunResult
    | EpochBegun
)


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that happened and is worth an audit row and an announcement."""

    kind: EffectKind
    text: str
