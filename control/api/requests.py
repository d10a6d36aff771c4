"""What requests to the admin door may say, and answers as JSON."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import Depends, Header, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from control.plane import Plane
from control.rollouts.state import OPERATOR
from control.rollouts.writer import ANY, Actor, Entry
from control.views.rollout import judged, rollout_view
from serving.errors import InvalidInput

NO_NUL = r"^[^\x00]*$"
"""PostgreSQL keeps no NUL in text."""


class Json(JSONResponse):
    """JSON by orjson."""

    def render(self, content: Any) -> bytes:
        """Encode."""
        return orjson.dumps(content)


class Why(BaseModel):
    """The reason of an action, kept in the audit log."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", max_length=1000, pattern=NO_NUL)


class WantedAA(BaseModel):
    """An A/A test: how much of the traffic the copy of stable gets, and for how long."""

    model_config = ConfigDict(extra="forbid")
    weight: float = Field(
        10.0, gt=0, lt=100, allow_inf_nan=False, description="Percent that the copy answers"
    )
    mirror: float = Field(
        100.0, ge=0, le=100, allow_inf_nan=False, description="Percent of stable's requests that it runs too"
    )
    seconds: float = Field(
        600.0, ge=1, le=86_400, allow_inf_nan=False, description="For how long, while the copy is ready"
    )
    requests: int | None = Field(None, ge=1, le=2**53, description="It ends sooner when so many were counted")
    reason: str = Field("", max_length=1000, pattern=NO_NUL)


Model = Annotated[str, Path(description="Public model name", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Version = Annotated[str, Path(description="Version of a model", pattern=r"^[1-9][0-9]{0,9}$")]
Topic = Annotated[str, Field(pattern=r"^(overview|needs|load|rollout:[A-Za-z0-9][A-Za-z0-9._-]{0,127})$")]
Topics = Annotated[
    Sequence[Topic],
    Query(
        max_length=20,
        description="What to tell every second besides changes: overview, needs, load, or rollout:NAME",
    ),
]
Reason = Annotated[str, Query(max_length=1000, pattern=NO_NUL, description="Why, for the audit log")]
DryRun = Annotated[bool, Query(alias="dryRun", description="only say what would change")]
BasedOn = Annotated[
    Sequence[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}:[0-9]{1,15}$")]],
    Query(
        alias="basedOn",
        max_length=1000,
        description="NAME:REVISION, the revision of a rollout that the change is based on, 0 for none; one"
        " that is not named is not checked",
    ),
]
IfMatch = Annotated[str | None, Header(description='The revision that the change is based on, e.g. "12"')]
DOCUMENT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


async def _plane(request: Request) -> Plane:
    plane: Plane = request.app.state.plane
    return plane


Control = Annotated[Plane, Depends(_plane)]
"""The control plane behind the door."""


def view(entry: Entry, plane: Plane, now: float) -> dict[str, Any]:
    """A rollout as it stands at a monotonic second."""
    needs, seen = plane.attention.of(entry, now), judged(plane.examiner, entry)
    follow = plane.follow_view(entry)
    return rollout_view(entry, plane.door, plane.nodes, now, needs, seen, plane.told(entry), follow)


def shown(entry: Entry, plane: Plane) -> Json:
    """A rollout as it stands, with its revision as ETag."""
    return Json(view(entry, plane, time.monotonic()), headers={"etag": f'"{entry.revision}"'})


def revision_of(if_match: str | None) -> int | None:
    """The revision that a change is based on; `ANY` for none.

    Raises:
        InvalidInput: it is no revision.
    """
    if if_match is None or if_match.strip() == "*":
        return ANY
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InvalidInput(f"If-Match: expected a revision in quotes, got {if_match[:40]!r}")
    return int(text)


def roles_of(request: Request) -> frozenset[str]:
    """What who asks may do; without tokens whoever reaches the door is an operator."""
    return getattr(request.state, "roles", frozenset({OPERATOR}))


def actor_of(request: Request) -> Actor:
    """Who asks, for the audit log."""
    return Actor(getattr(request.state, "actor", "local"), "api")
