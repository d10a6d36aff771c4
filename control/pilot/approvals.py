"""People who approve: each approval is held against what is in force, and counts exactly once.

Law: an approval is based on the revision that it was held against. Where another one came between, as when
two people approve at the same time, it is held against what is in force then, and counts beside the other.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from control.judging.verdicts import Judgement, as_json
from control.pilot.examiner import Examiner
from control.rollouts import approving
from control.rollouts.events import Approve, Reject
from control.rollouts.looking import hash_of, looked_at
from control.rollouts.writer import Actor, Conflict, Door, Entry
from control.store.approvals import Link
from control.store.store import Stale
from router.rollout.values import Approve as ApproveStep

TRIES = 20


class Approvals:
    """The desk at which people approve.

    Args:
        door: where changes go through.
        examiner: what the guards say.
    """

    def __init__(self, door: Door, examiner: Examiner) -> None:
        self._door = door
        self._examiner = examiner

    def looked_at(self, entry: Entry) -> dict[str, Any]:
        """What someone who looks at a rollout now sees of it."""
        return looked_at(entry.rollout, entry.progress, entry.digests, self._judgement(entry))

    async def approve(
        self,
        model: str,
        person: Actor,
        roles: frozenset[str],
        seen: str,
        reason: str = "",
        link: Link | None = None,
    ) -> Entry:
        """Count the approval of someone who was shown this.

        Args:
            model: the public name.
            person: who approves.
            roles: all that they have.
            seen: hash of what they were shown.
            reason: theirs, for the audit log; or empty.
            link: by which they came, which is used up by it.

        Raises:
            NotEntitled: they may not.
            Conflict: what they were shown is no longer so.
            IllegalTransition: no approval of theirs is wanted.
            Used: the link was used before.
        """

        def event(entry: Entry) -> Approve:
            at = entry.progress.stage, entry.progress.step
            approval = Approve(person.name, roles, *at, seen, time.time())
            if isinstance(approving.step_of(entry.rollout, entry.progress), ApproveStep):
                approving.approve(entry.rollout, entry.progress, approval)  # who may not, hears that first
                self._require_seen(entry, seen)
            return approval

        return await self._act(model, event, person, reason, link)

    async def reject(
        self, model: str, person: Actor, roles: frozenset[str], reason: str, link: Link | None = None
    ) -> Entry:
        """Pause a rollout that waits for approval; the arguments and errors are those of `approve`."""

        def event(entry: Entry) -> Reject:
            return Reject(person.name, roles, entry.progress.stage, entry.progress.step, reason)

        return await self._act(model, event, person, reason, link)

    async def _act(
        self,
        model: str,
        event: Callable[[Entry], Approve | Reject],
        person: Actor,
        reason: str,
        link: Link | None,
    ) -> Entry:
        for _ in range(TRIES):
            entry = self._door.get(model)
            happens = event(entry)
            evidence = partial(self._evidence, entry, person)
            try:
                return await self._door.act(model, happens, person, entry.revision, evidence, reason, link)
            except Stale:
                continue
        raise Conflict(f"{model!r} changes all the time; try again")

    def _require_seen(self, entry: Entry, seen: str) -> None:
        if seen != hash_of(self.looked_at(entry)):
            raise Conflict(
                "what was looked at is no longer so: the document, the bytes, the step or a verdict of"
                f" {entry.rollout.model!r} has changed; look again"
            )

    def _judgement(self, entry: Entry) -> Judgement | None:
        return self._examiner.judgements.get(entry.rollout.model)

    def _evidence(self, entry: Entry, person: Actor) -> dict[str, Any]:
        """The evidence as it is now, for the audit row, with who looked at which."""
        judgement = self._judgement(entry)
        known = {"guards": []} if judgement is None else as_json(judgement)
        stages = [entry.progress.evidence_stage, entry.progress.stage]
        looked = self.looked_at(entry)
        told = {
            "person": person.name,
            "seen": hash_of(looked),
            "step": looked["step"],
            "targets": looked["targets"],
        }
        return {**known, "candidate": entry.progress.candidate, "stages": stages, "approval": told}
