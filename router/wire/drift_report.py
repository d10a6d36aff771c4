"""What was seen of targets that have a profile, as it is told control: part of a report. Pure.

It imports nothing of `router.drift`: all processes read reports, and most have nothing of this.
"""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

MOST_BINS: Final = 1002
MOST_FEATURES: Final = 1000
"""Of a target."""
MOST_SLICES: Final = 13
MOST_WATCHED: Final = 100
"""Targets that one process tells of."""

_COUNT = Annotated[int, Field(ge=0, le=2**53)]
_NUMBER = Annotated[float, Field(allow_inf_nan=False)]


class _Reported(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class TallyReport(_Reported):
    """One `router.drift.tally.Tally`."""

    counts: tuple[_COUNT, ...] = Field(max_length=MOST_BINS)
    missing: _COUNT = 0
    finite: _COUNT = 0
    mean: _NUMBER = 0.0
    squares: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    least: _NUMBER | None = None
    greatest: _NUMBER | None = None


class SliceReport(_Reported):
    """One `router.drift.watch.Slice`; features without a row are left out."""

    begins: _COUNT = Field(description="Seconds since 1970")
    answers: _COUNT
    left_out: _COUNT = 0
    of: float = Field(ge=0, le=2**53, description="Answers there were, as far as the sample tells")
    features: dict[Annotated[str, Field(max_length=1200)], TallyReport] = Field(max_length=MOST_FEATURES)


class DriftReport(_Reported):
    """What a process has seen of one target of one rollout since control answered last."""

    model: str = Field(max_length=200, description="The rollout's public name")
    target: str = Field(max_length=2500)
    profile: str = Field(max_length=64, description="Digest of the profile in whose bins it counts")
    problem: str = Field("", max_length=1000, description="Why its latest answers are not counted")
    slices: tuple[SliceReport, ...] = Field((), max_length=MOST_SLICES)
