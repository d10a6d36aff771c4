"""Links for those who may approve: made when an approval is wanted, and held against what is in force."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from control.people.file import People, Person
from control.people.links import Claims, Forged, read, sign
from control.pilot.approvals import Approvals
from control.rollouts import approving
from control.rollouts.looking import hash_of
from control.rollouts.writer import Actor, Conflict, Door, Entry
from control.store.approvals import Link
from router.rollout.values import Approve
from serving.errors import ServingError

VALID_SECONDS = 7 * 86_400.0
"""A link is good for so long at most, or as long as the step waits."""


class Expired(ServingError):
    """Its time is over."""

    kind = "forbidden"


class Unknown(ServingError):
    """Whoever it was made for is not known any more."""

    kind = "forbidden"


@dataclass(frozen=True, slots=True)
class Opened:
    """A link that fits what is in force.

    Args:
        claims: what it is for.
        person: as they are known now.
        entry: the rollout that waits.
    """

    claims: Claims
    person: Person
    entry: Entry


class ApprovalLinks:
    """Makes links and opens them.

    Args:
        door: the rollouts.
        approvals: where people approve.
        people: those who may, as they are now.
        key: what links are signed with; empty while it is not known.
    """

    def __init__(
        self, door: Door, approvals: Approvals, people: Callable[[], People], key: Callable[[], bytes]
    ) -> None:
        self._door = door
        self._approvals = approvals
        self._people = people
        self._key = key

    def for_each(self, model: str) -> tuple[tuple[str, str], ...]:
        """For everyone with an address who may approve of a rollout now: the address, and a token."""
        entry, key = self._door.entries.get(model), self._key()
        if entry is None or not key:
            return ()
        step = approving.step_of(entry.rollout, entry.progress)
        if not isinstance(step, Approve):
            return ()
        out = {*entry.progress.authors, *(each.person for each in entry.progress.approvals)}
        return tuple(
            (person.email, sign(key, self._claims(entry, step, person)))
            for person in self._people()
            if person.email and person.name not in out and approving.role_in(step, person.roles)
        )

    def _claims(self, entry: Entry, step: Approve, person: Person) -> Claims:
        progress, valid = entry.progress, VALID_SECONDS
        if step.expires_seconds is not None:
            valid = min(valid, max(0.0, step.expires_seconds - progress.waited_seconds))
        seen = hash_of(self._approvals.looked_at(entry))
        at = entry.rollout.model, entry.revision, progress.stage, progress.step
        return Claims(*at, seen, person.name, time.time() + valid, secrets.token_urlsafe(18))

    def read(self, token: str) -> Claims:
        """What a token says.

        Raises:
            Forged: it is not ours.
        """
        key = self._key()
        if not key:
            raise Forged("no links are made here: control has no file of people")
        return read(key, token)

    def open(self, claims: Claims) -> Opened:
        """What waits for whom it was made for.

        Raises:
            Expired: its time is over.
            Unknown: the person is in the file no longer.
            Conflict: the rollout has moved on.
            NotFound: it is no longer there.
        """
        if time.time() > claims.until:
            raise Expired("this link has expired; sign in on the page with your own token")
        person = self._people().get(claims.person)
        if person is None:
            raise Unknown(f"{claims.person} is not known here any more")
        entry = self._door.get(claims.model)
        step = approving.step_of(entry.rollout, entry.progress)
        if not isinstance(step, Approve) or _at(entry) != (claims.stage, claims.step):
            raise Conflict(f"{claims.model!r} does not wait for what this link was made for any more")
        return Opened(claims, person, entry)

    async def use(self, claims: Claims, seen: str, reason: str, *, approves: bool) -> Entry:
        """Approve or reject by a link, which is used up by it.

        Raises:
            ServingError: as `open` and `Approvals.approve`; the link is not used up then.
        """
        person = self.open(claims).person
        actor, link = Actor(person.name, "link"), Link(claims.nonce, claims.until)
        if approves:
            return await self._approvals.approve(claims.model, actor, person.roles, seen, reason, link)
        return await self._approvals.reject(claims.model, actor, person.roles, reason, link)


def _at(entry: Entry) -> tuple[int, int]:
    return entry.progress.stage, entry.progress.step
