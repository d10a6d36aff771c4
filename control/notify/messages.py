"""Who is to be told of what, and what they are told, as values. `control.notify.file` reads them.

Law: no secret is shown in a `repr`.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

EventName = Literal[
    "started", "edited", "step", "paused", "resumed", "promoting", "promoted", "rolled_back", "deleted",
    "aa_started", "aa_ended", "taken_off", "best_found", "ended", "approval_wanted", "approved", "rejected",
    "not_followed", "placed",
]  # fmt: skip
EVENTS: tuple[EventName, ...] = get_args(EventName)
TOLD_BY_DEFAULT: tuple[EventName, ...] = (
    "started", "step", "paused", "promoted", "rolled_back", "taken_off", "best_found", "ended",
    "approval_wanted", "rejected", "not_followed",
)  # fmt: skip

Security = Literal["starttls", "tls", "none"]
_SENTENCES: dict[str, str] = {
    "started": "has started",
    "edited": "was edited",
    "step": "goes on",
    "paused": "is paused",
    "resumed": "goes on after a pause",
    "promoting": "is being promoted",
    "promoted": "is promoted",
    "rolled_back": "was rolled back",
    "deleted": "is served no longer",
    "aa_started": "is compared with itself",
    "aa_ended": "was compared with itself",
    "taken_off": "goes on without one of its candidates",
    "best_found": "has found the best",
    "approval_wanted": "wants approval",
    "approved": "was approved, and wants more approvals",
    "placed": "has a candidate on other nodes",
    "ended": "answers with stable alone, its test is over",
}


@dataclass(frozen=True, slots=True)
class Webhook:
    """A POST of JSON, signed where there is a secret."""

    url: str = field(repr=False)
    secret: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Slack:
    """A POST to an incoming webhook of Slack, or of what understands the same; its URL is a secret."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Email:
    """A mail by SMTP; `security` says how the connection is encrypted, `user` comes with a password."""

    host: str
    sender: str
    to: tuple[str, ...]
    port: int = 587
    security: Security = "starttls"
    user: str | None = None
    password: str | None = field(default=None, repr=False)


Way = Webhook | Slack | Email


@dataclass(frozen=True, slots=True)
class Channel:
    """Someone who is told.

    Args:
        name: in metrics and logs.
        way: how.
        events: of which kinds of events.
        models: of which rollouts; empty for all.
    """

    name: str
    way: Way
    events: tuple[EventName, ...] = TOLD_BY_DEFAULT
    models: tuple[str, ...] = ()

    def wants(self, notice: "Notice") -> bool:
        """Whether it is to be told of this; a refused edit may be about any rollout."""
        return notice.event in self.events and (
            notice.model in self.models or not self.models or not notice.model
        )


@dataclass(frozen=True, slots=True)
class Notifications:
    """All of the file.

    Args:
        channels: who is told.
        source: what tells, in the ids and texts.
        link: base of links to the admin door; None for none.
    """

    channels: tuple[Channel, ...]
    source: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell.

    Args:
        id: the same whenever this is told again.
        event: what happened.
        model: the public name; empty for an edit that was refused as a whole.
        at: seconds since 1970.
        text: a sentence for people, with the evidence in words.
        actor: who did it.
        revision: of the audit log; None for a refused edit, which is in none.
        evidence: what an automatic decision is based on, as in the audit log.
        link: where to look; None for nowhere.
        personal: of an approval that is wanted, addresses, each with a link that only its person may use.
    """

    id: str
    event: EventName
    model: str
    at: float
    text: str
    actor: str
    revision: int | None = None
    evidence: Any = None
    link: str | None = None
    personal: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def sentence(event: str, model: str, reason: str, actor: str) -> str:
    """What happened, for people."""
    if event == "rejected":
        return f"an edit was refused: {reason}"
    if event == "not_followed":
        return f"{model} does not follow its alias: {reason}"
    return f"{model} {_SENTENCES[event]}: {reason} (by {actor})"
