"""The shapes in which a node's supervisor says what its processes served and use; part of a sync report."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from router.node_traffic import MAX_ROWS

_COUNT = Field(ge=0, le=2**53)


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore")


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


class Compared(_Shape):
    """What one candidate's output was compared, since the node started."""

    model: str
    target: str
    output: str
    comparisons: int = _COUNT
    differences: int = _COUNT


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


class NodeUse(_Shape):
    """All that a node's supervisor says beside its readiness."""

    answered: list[Answered] = Field(max_length=MAX_ROWS)
    compared: list[Compared] = Field(max_length=MAX_ROWS)
    processes: list[ProcessUse] = Field(max_length=MAX_ROWS)
    machine: MachineUse
