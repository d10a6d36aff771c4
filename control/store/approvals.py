"""What approvals by link rest on: the key that signs links, which were used, and what was refused.

Law: a link is used up in the transaction of the change that it brought, or not at all. Refusals are beside
the audit log, since nothing changed: the last `MAX_REFUSALS` of people, and of strangers.
"""

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from control.store.database import APPROVAL_KEYS, APPROVAL_REFUSALS, USED_LINKS
from serving.errors import ServingError

MAX_REFUSALS = 1000
SECRET_BYTES = 32


class Used(ServingError):
    """The link was used before."""

    kind = "conflict"


@dataclass(frozen=True, slots=True)
class Link:
    """A link that can be used once.

    Args:
        nonce: by chance.
        until: seconds since 1970 until which it is valid, and so is remembered.
    """

    nonce: str
    until: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """An approval that did not count.

    Args:
        at: seconds since 1970.
        model: the public name; empty where nobody known asked.
        person: who asked; empty for a stranger.
        reason: why not.
    """

    at: float
    model: str
    person: str
    reason: str


class ApprovalStore:
    """The tables of approvals; its methods block.

    Args:
        reading: begins a transaction that reads.
        writing: begins one that writes, of the control that leads.
    """

    def __init__(
        self,
        reading: Callable[[], AbstractContextManager[Connection]],
        writing: Callable[[], AbstractContextManager[Connection]],
    ) -> None:
        self._reading = reading
        self._writing = writing

    def key(self, now: float) -> bytes:
        """The key that signs links; made by the first that asks."""
        query = sa.select(APPROVAL_KEYS.c.secret).order_by(APPROVAL_KEYS.c.made.desc()).limit(1)
        with self._reading() as connection:
            found = connection.execute(query).scalar_one_or_none()
        if found is not None:
            return bytes(found)
        with self._writing() as connection:
            found = connection.execute(query).scalar_one_or_none()
            if found is None:
                found = secrets.token_bytes(SECRET_BYTES)
                connection.execute(sa.insert(APPROVAL_KEYS).values(id=1, secret=found, made=now))
        return bytes(found)

    def refused(self, refusal: Refusal) -> None:
        """Keep that an approval was refused."""
        rows = APPROVAL_REFUSALS
        strangers = rows.c.person == "" if not refusal.person else rows.c.person != ""
        with self._writing() as connection:
            number = connection.execute(sa.select(sa.func.max(rows.c.number))).scalar_one_or_none() or 0
            connection.execute(
                sa.insert(rows).values(
                    number=number + 1,
                    at=refusal.at,
                    model=refusal.model,
                    person=refusal.person,
                    reason=refusal.reason,
                )
            )
            newest = sa.select(rows.c.number).where(strangers).order_by(rows.c.number.desc())
            last = connection.execute(newest.offset(MAX_REFUSALS).limit(1)).scalar_one_or_none()
            if last is not None:
                connection.execute(sa.delete(rows).where(strangers, rows.c.number <= last))

    def refusals(self, model: str, limit: int = 100) -> tuple[Refusal, ...]:
        """What was refused of a rollout, and of strangers, the latest first."""
        rows = APPROVAL_REFUSALS
        query = sa.select(rows.c.at, rows.c.model, rows.c.person, rows.c.reason)
        query = query.where(rows.c.model.in_([model, ""])).order_by(rows.c.number.desc()).limit(limit)
        with self._reading() as connection:
            return tuple(Refusal(*row) for row in connection.execute(query))


def use_up(connection: Connection, link: Link, now: float) -> None:
    """Use a link, within the transaction of what it brings; those that are valid no longer are forgotten.

    Raises:
        Used: it was used before.
    """
    connection.execute(sa.delete(USED_LINKS).where(USED_LINKS.c.until < now))
    known = sa.select(USED_LINKS.c.nonce).where(USED_LINKS.c.nonce == link.nonce)
    if connection.execute(known).scalar_one_or_none() is not None:
        raise Used("this link was used before; each can be used once")
    connection.execute(sa.insert(USED_LINKS).values(nonce=link.nonce, until=link.until))
