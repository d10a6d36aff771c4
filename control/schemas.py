"""The shapes of the admin API's answers, for its OpenAPI document; `control.views` makes the values.

Durations are seconds, moments are seconds since 1970, weights and shares are percentages from 0 to 100.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from control.state import Cause, Phase


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """An error (RFC 9457); `file`, `line` and `column` name a place in a document."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    file: str | None = None
    line: int | None = None
    column: int | None = None


class Status(_Shape):
    """Where a rollout is, and why."""

    phase: Phase
    sentence: str = Field(description="Phase and reason in words")
    step: int = Field(description="From 1; 0 without steps")
    waited_seconds: float
    cause: Cause | None
    reason: str
    stage: int = Field(description="Counts and evidence belong to a stage")


class Serving(_Shape):
    """What the data plane is told to serve."""

    stable: str
    canary: str | None
    weight: float
    mirror: float


class TargetStatus(_Shape):
    """One target, and in which processes it is ready."""

    target: str
    role: str = Field(description="stable, canary, shadow or warm")
    ready: dict[str, bool]
    problems: dict[str, str]


class NodeStatus(_Shape):
    """One node: the oldest revision that a worker of it has in force."""

    node: str
    workers: int
    revision: int
    in_force: bool = Field(description="Every worker has the newest revision in force")


class RolloutView(_Shape):
    """One rollout."""

    model: str
    revision: int
    status: Status
    serving: Serving
    targets: list[TargetStatus]
    nodes: list[NodeStatus]
    applied: dict[str, int] = Field(description="Worker -> revision in force there")
    in_force_everywhere: bool
    document: dict[str, Any]


class Shares(_Shape):
    """Percent of the requests by target, and the targets that only run copies."""

    shares: dict[str, float]
    shadows: list[str]


class ProposalView(_Shape):
    """What a change would do."""

    model: str
    changed: bool
    revision: int = Field(description="What it is based on; 0 when there is no such rollout yet")
    before: Shares | None
    after: Shares
    load: list[str] = Field(description="Targets that are not loaded yet")
    warnings: list[str]
    status: str
    document: dict[str, Any]


class RevisionView(_Shape):
    """One row of the audit log; without a document the rollout was deleted."""

    revision: int
    model: str
    at: float
    actor: str
    kind: str
    reason: str
    evidence: Any
    document: dict[str, Any] | None


class ModelView(_Shape):
    """One version of the repository, and the rollouts that use it."""

    name: str
    version: str
    rollouts: list[str]


class NodeRow(BaseModel):
    """One process of the data plane, as it last reported."""

    instance: str
    node: str
    kind: str
    candidate: str | None
    revision: int
    ready: list[str]
    problems: dict[str, str]
    draining: bool
    heard_seconds_ago: float
    counts: list[dict[str, Any]]


class SyncAnswer(_Shape):
    """What control says to the data plane; without a snapshot there is nothing new."""

    revision: int
    snapshot: dict[str, Any] | None


class Health(_Shape):
    """All is well."""

    status: str


class EvidenceView(BaseModel):
    """The guards of a rollout as last judged; null before the first look."""

    model: str
    revision: int
    stage: int
    alpha: float
    judgement: dict[str, Any] | None
