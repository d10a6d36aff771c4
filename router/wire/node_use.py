"""What a node's supervisor says its processes served and use: part of its reports."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

MAX_ROWS = 10_000
"""Of each list: what is beyond is left out, since charts may be incomplete and an exchange may not fail."""

_COUNT = Field(ge=0, le=2**53)
Place = tuple[str, str, str]
"""The public name of a rollout, the key of a target, and its role or an output."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Answered(_Shape):
    """What one target answered for one model in one role, since the node started.

    `latency` counts answers by the edges of `serving.telemetry.families.SECONDS_BUCKETS`, the last those
    beyond.
    """

    model: str
    target: str
    role: str
    requests: int = _COUNT
    failures: int = _COUNT
    latency: list[Annotated[int, _COUNT]] = Field(max_length=100)

    @property
    def place(self) -> Place:
        """Where it is counted."""
        return self.model, self.target, self.role


class Compared(_Shape):
    """What one candidate's output was compared, since the node started."""

    model: str
    target: str
    output: str
    comparisons: int = _COUNT
    differences: int = _COUNT

    @property
    def place(self) -> Place:
        """Where it is counted."""
        return self.model, self.target, self.output


Counted = TypeVar("Counted", bound=Answered | Compared)


class ProcessUse(_Shape):
    """One process: CPU time since it began, memory resident now."""

    kind: str
    name: str
    pid: int = Field(ge=1, le=2**31)
    cpu_seconds: float = Field(ge=0, allow_inf_nan=False)
    memory_bytes: int = _COUNT


class MachineUse(_Shape):
    """The machine that a node runs on."""

    cpus: int = Field(ge=1, le=2**20)
    busy_seconds: float = Field(ge=0, allow_inf_nan=False)
    memory_bytes: int = _COUNT
    available_bytes: int = _COUNT


class Recorded(_Shape):
    """What became of all that a node had to record of one model, since its accounts began.

    `outcomes` add up to `requests`: sampled_out, written, pending, and what was dropped, by reason.
    """

    model: str
    kind: str = Field(description="request or comparison")
    requests: int = _COUNT
    outcomes: dict[str, Annotated[int, _COUNT]]


class NodeUse(_Shape):
    """All that a node's supervisor says beside its readiness."""

    partly: bool = Field(
        False,
        description="What is left out of `answered` and `compared`, where nothing ever goes, is as in `base`",
    )
    answered: tuple[Answered, ...] = Field(max_length=MAX_ROWS)
    compared: tuple[Compared, ...] = Field(max_length=MAX_ROWS)
    processes: tuple[ProcessUse, ...] = Field(max_length=MAX_ROWS)
    machine: MachineUse
    records: tuple[Recorded, ...] | None = Field(
        None, max_length=MAX_ROWS, description="Of the prediction log; null where the node keeps none"
    )

    def after(self, before: "NodeUse | None") -> "NodeUse":
        """All of it, where it tells what has changed since another."""
        if before is None:
            return self.model_copy(update={"partly": False})
        answered = _all_of(before.answered, self.answered)
        compared = _all_of(before.compared, self.compared)
        return self.model_copy(update={"partly": False, "answered": answered, "compared": compared})


def _all_of(before: tuple[Counted, ...], told: tuple[Counted, ...]) -> tuple[Counted, ...]:
    if not told:
        return before
    return tuple({row.place: row for row in (*before, *told)}.values())
