"""What a process of the data plane says to control in each exchange. Pure.

Law: documents of people are read strictly, what our own processes say to each other is not. A field that is
not known is left out, one that is not said has a default, and a word that is not known (a role, a kind of
process) is one that nobody asks for; but a value that cannot be is refused, with its place. So a field may be
added at any time. `WIRE` is raised only where a side must know that the other one understands.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from router.counting.stage_counts import StageCounts, from_json, to_json
from router.wire.drift_report import MOST_WATCHED, DriftReport
from router.wire.examples_report import ExamplesReport
from router.wire.node_use import NodeUse
from router.wire.pairs_report import PairsReport
from router.wire.receipt_keys import KeyRow

WIRE = 4
"""The contract of this release. 1 (said by nobody): every report and every snapshot is whole. 2: each side
may leave out what the other one has (`router.wire.ledger`, `router.wire.snapshot`). 3: a node's supervisor
speaks for its processes (`Exchange`), and targets are left out too where none has changed. 4: those that did
not change are left out beside those that did."""
NODES_SPEAK = 3
"""The first contract in which control hears a node's supervisor for its processes."""
ROWS_MOVE = 4
"""The first contract in which control knows of rows that are told in part."""

TargetPlace = tuple[str, str, str]
"""The public name of a rollout, the key of a target, and its role."""

_COUNT = Field(0, ge=0, le=2**53)
MAX_ROWS = 10_000
MAX_PROCESSES = 1000
"""Of one node."""


def _counts(value: object) -> StageCounts:
    return value if isinstance(value, StageCounts) else from_json(value)


Counts = Annotated[StageCounts, PlainValidator(_counts, json_schema_input_type=dict[str, Any])]


class Row(BaseModel):
    """A part of the contract."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class StageReport(Row):
    """The counts of one stage in one process."""

    model: str = Field(max_length=200)
    stage: int = Field(ge=0, le=2**53)
    candidate: str = Field(
        "",
        max_length=2500,
        description="In an A/B/n test whose counts beside stable's they are; empty: the canary's",
    )
    counts: Counts


class TargetReport(Row):
    """One target of one rollout in one process.

    Stable and warm targets are loaded in the worker itself, canaries and shadows in their sandbox.
    """

    model: str = Field(max_length=200, description="The rollout's public name")
    target: str = Field(max_length=2500)
    role: str = Field(max_length=100, description="stable, canary, shadow or warm")
    ready: bool
    problem: str = Field("", max_length=5000, description="Why it is not ready")
    sha256: str = Field("", max_length=64, description="Of its bytes; empty where they are not known")
    failures: int = Field(0, ge=0, le=2**53, description="Loads that failed one after the other")
    pairing: str = Field("", max_length=1000, description="Why stable cannot be timed beside it")
    top_up: str = Field("", max_length=1000, description="Why it runs no recorded requests now")

    @property
    def place(self) -> TargetPlace:
        """Where it is told of."""
        return self.model, self.target, self.role


class ServedReport(Row):
    """Who answers as stable of a rollout in one worker."""

    model: str = Field(max_length=200)
    target: str = Field(max_length=2500)
    sha256: str = Field("", max_length=64)


class Held(Row):
    """Which snapshot a process has, in force or on its disk; of a control without epochs, or none: zeros."""

    epoch: int = Field(0, ge=0, le=2**53)
    revision: int = Field(0, ge=0, le=2**53)
    made: float = Field(0.0, ge=0, le=2**37, description="When it was accepted; 0: not known")


class Unusable(Row):
    """That a process cannot use the snapshot that it was given last, and serves what it had before."""

    revision: int = Field(
        ge=0, le=2**53, description="Which it does not ask for again; 0: it tries again, or cannot tell which"
    )
    reason: str = Field(max_length=1000)


class Report(Row):
    """What a process says in `POST /v1/sync`."""

    wire: int = Field(1, ge=1, le=2**31, description="The contract that it speaks; 1 where it says none")
    instance: str = Field(max_length=300, description="Unique for each start of a process")
    node: str = Field(max_length=100)
    label: str = Field("", max_length=100, description="Of the node, as a worker says it; empty for none")
    kind: str = Field(max_length=100, description="worker, sandbox or node")
    revision: int = Field(ge=0, le=2**53, description="The snapshot in force there; 0: none yet")
    held: Held = Field(
        Held(), description="What is in force there or, before that, on its disk; of older nodes: zeros"
    )
    unusable: Unusable | None = None
    wait: float = Field(ge=0, le=30, description="Seconds to hold the answer when there is nothing new")
    number: int = Field(0, ge=0, le=2**53, description="Of this report, in its process; 0 of older nodes")
    base: int = Field(
        0,
        ge=0,
        le=2**53,
        description="Counts that are left out are as in this report, the last that was answered; 0: none are",
    )
    settled_until: float = Field(
        0.0, ge=0, le=2**53, description="Seconds since 1970 until which the counts left out are complete"
    )
    draining: bool = False
    unchanged: bool = Field(False, description="Targets, and who is served, are left out: as in `base`")
    partly: bool = Field(
        False, description="Those of them that are left out are as in `base`, but for those that are `gone`"
    )
    gone: tuple[TargetPlace, ...] = Field(
        (), max_length=MAX_ROWS, description="Where `base` has a target: rollout, target and role"
    )
    gone_served: tuple[str, ...] = Field((), max_length=MAX_ROWS, description="Rollouts that `base` serves")
    targets: tuple[TargetReport, ...] = Field((), max_length=MAX_ROWS)
    served: tuple[ServedReport, ...] = Field((), max_length=MAX_ROWS)
    ready: tuple[str, ...] = Field(
        (), max_length=MAX_ROWS, description="Of older nodes: shown, but relied on by nobody"
    )
    problems: Mapping[str, str] = Field(default_factory=dict, description="Of older nodes")
    counts: tuple[StageReport, ...] = Field((), max_length=MAX_ROWS)
    candidate: str | None = None
    live: bool = True
    use: NodeUse | None = Field(None, description="Of a node's supervisor: what its processes served and use")
    examples: ExamplesReport | None = None
    pairs: PairsReport | None = Field(None, description="Of a sandbox: answers that labels are held against")
    drift: tuple[DriftReport, ...] = Field(
        (),
        max_length=MOST_WATCHED,
        description="Of a log writer: what was seen of targets that have a profile",
    )
    receipt_keys: str | None = Field(
        None,
        max_length=100,
        description="Of a worker: the `ring_id` of the keys for receipts that it has; null asks for none",
    )


class Exchange(Report):
    """What control is told in one exchange: of a process, or of a node by its supervisor."""

    processes: tuple[Mapping[str, Any], ...] | None = Field(
        None,
        max_length=MAX_PROCESSES,
        description="Reports of the node's processes, each as a process says it; null: this one is alone",
    )


def encoded(report: Row) -> bytes:
    """As JSON."""
    return orjson.dumps(report, default=_plain, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.__dict__
    if isinstance(value, StageCounts):
        return to_json(value)
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    raise TypeError


class _Answered(Row):
    """An error in it does not repeat the value, which may be a secret."""

    model_config = ConfigDict(hide_input_in_errors=True)

    whole: bool = Field(
        False,
        description="The report was not taken, since what it leaves out is not known: say everything",
    )
    receipt_keys: tuple[KeyRow, ...] | None = Field(
        None,
        max_length=100,
        description="All keys for receipts, where the process asks for them and has others; else null",
    )


class ProcessAnswer(_Answered):
    """What became of the report of one process that its node's supervisor told."""

    problem: str = Field("", max_length=5000, description="Why it cannot be taken")


class Answer(_Answered):
    """What control answers, or a supervisor to its processes."""

    wire: int = Field(1, ge=1, le=2**31)
    revision: int = Field(0, ge=0, le=2**53)
    snapshot: Mapping[str, Any] | None = Field(
        description="A newer one, whole or as a difference; null where there is nothing new"
    )
    refused: str = Field(
        "",
        max_length=5000,
        description="Why this process is given no snapshot, and is to serve what it has; empty: it may be",
    )
    processes: Mapping[str, ProcessAnswer] | None = Field(
        None, description="By instance, where a supervisor told reports of its processes"
    )
    relayed: bool | None = Field(
        None,
        description="Of a supervisor: whether control has taken the report; if not, it is to be told again."
        " Null of control",
    )
