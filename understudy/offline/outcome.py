"""What a test of a candidate against a base came to, as one value and as JSON. Pure."""

from dataclasses import asdict, dataclass
from typing import Any

from control.judging.aa_report import Share
from control.judging.verdicts import Judgement, Verdict
from control.judging.verdicts import as_json as judgement_as_json
from understudy.offline.figures import Accuracy, Cell, Deviation, Speed
from understudy.offline.segments import Segment

EXIT_CODES: dict[Verdict, int] = {"proven": 0, "harmful": 3, "undecided": 5}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two models.

    Args:
        key: `name/version`.
        sha256: of its files.
        failures: rows on which it failed.
        peak_bytes: resident memory that loading it and running it once took, at most, in a process of its
            own.
    """

    key: str
    sha256: str
    failures: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Output:
    """One output that is judged.

    Args:
        output: its name.
        differing: of the comparisons.
        farthest: the greatest distance by its rule, of those that could be measured.
    """

    output: str
    differing: Share
    farthest: float


@dataclass(frozen=True, slots=True)
class Tested:
    """A candidate held against a base on the rows of a file.

    Args:
        source: where the rows come from.
        rows: how many.
        base: what was there.
        candidate: what is to be.
        judgement: of the guards, by `control.judging`.
        notes: what was left out of the document, in words.
        outputs: what differs, output by output.
        failures: rows on which only the candidate failed: the first places, with the reason.
        speed: None where no row could be timed.
        accuracy: None without labels; of a model of numbers a `Deviation`.
        confusion: what differs in the value of the model, most rows first.
        segments: in which rows differ more than elsewhere, the worst first.
        seconds: that all of it took.
    """

    source: str
    rows: int
    base: Side
    candidate: Side
    judgement: Judgement
    notes: tuple[str, ...]
    outputs: tuple[Output, ...]
    failures: tuple[str, ...]
    speed: Speed | None
    accuracy: Accuracy | Deviation | None
    confusion: tuple[Cell, ...]
    segments: tuple[Segment, ...]
    seconds: float

    @property
    def title(self) -> str:
        """In a line."""
        return f"{self.candidate.key} against {self.base.key} on {self.rows:,} rows of {self.source}"

    @property
    def exit_code(self) -> int:
        """0 proven, 3 harmful, 5 undecided."""
        return EXIT_CODES[self.judgement.verdict]


def as_json(tested: Tested) -> dict[str, Any]:
    """The outcome as JSON values; e-values stay natural logarithms, durations are in seconds."""
    found = asdict(tested) | {"judgement": judgement_as_json(tested.judgement)}
    return {"verdict": tested.judgement.verdict, "exit_code": tested.exit_code, **found}
