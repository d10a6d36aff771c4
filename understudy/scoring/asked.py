"""What is asked of a job, and what it came to. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from control.judging.verdicts import Judgement
from router.rollout.values import Rollout
from serving.places import Origin
from understudy.offline.outcome import EXIT_CODES

Note = Callable[[int, int], None]
"""Is told how many of at most how many rows are done, by any thread."""


@dataclass(frozen=True, slots=True)
class CanaryAsked:
    """The canary that a job is to have.

    Args:
        key: `name/version`.
        share: of the rows, above 0 and at most 1.
        salt: of the draw; empty for one that is another for each file.
        stops: whether it is stopped once it is harmful.
        serves: whether its answers are the output.
        rollout: whose rules and guards judge; None for the defaults.
    """

    key: str
    share: float
    salt: str = ""
    stops: bool = True
    serves: bool = False
    rollout: Rollout | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done.

    Args:
        source: a file.
        folder: where the parts go.
        models: where models come from.
        key: `name/version`, or a name.
        keep: which columns of the input the output has, as `kept_columns` takes them.
        jobs: chunks at work beside each other.
        max_bad: the job ends once there are more bad rows, or, as a float, a larger share of all; None for
            never.
        batch: rows of one run, where they may run together; 0 tries which number is fast.
        canary: if there is to be one.
    """

    source: Path
    folder: Path
    models: Path | Origin
    key: str
    keep: str = "others"
    jobs: int = 1
    max_bad: int | float | None = None
    batch: int = 0
    canary: CanaryAsked | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job came to.

    Args:
        folder: of the output.
        model: `name/version`.
        digest: SHA-256 of its files.
        rows: that have an answer.
        bad: that have none.
        parts: of the output.
        before: of these rows, those that were done when the job went on.
        seconds: that it took now.
        canary: what became of it; None without one.
    """

    folder: str
    model: str
    digest: str
    rows: int
    bad: int
    parts: int
    before: int
    seconds: float
    canary: "CanaryOutcome | None" = None

    @property
    def exit_code(self) -> int:
        """0, or with a canary 0 proven, 3 harmful, 5 undecided."""
        return 0 if self.canary is None else EXIT_CODES[self.canary.judgement.verdict]


@dataclass(frozen=True, slots=True)
class CanaryOutcome:
    """What became of a canary.

    Args:
        model: `name/version`.
        digest: SHA-256 of its files.
        rows: that it scored too.
        served: rows whose answer is its own.
        stopped: the part after which it was found harmful; None where it was not stopped.
        judgement: of its guards.
        notes: what rows cannot tell, in words.
    """

    model: str
    digest: str
    rows: int
    served: int
    stopped: int | None
    judgement: Judgement
    notes: tuple[str, ...]
