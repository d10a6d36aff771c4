"""The one door through which a rollout changes: the file, the API, the command line and the autopilot.

Law: a change is a whole document or an event, based on a revision; a stale one is refused. It is checked,
then written with its audit row in one transaction, and only then in force. What is in force is one
immutable snapshot; routers get the newest. Changes are made one at a time.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeVar

import structlog

from control.judging.outcomes.maturity import proofs_before_maturity
from control.rollouts.catalogue import Catalogue, Unservable
from control.rollouts.events import Edited, Effect, Event, StartAA
from control.rollouts.following import circles, kept
from control.rollouts.progress import advance, begin, served_by
from control.rollouts.state import Progress, from_json, status_sentence, to_json
from control.store.approvals import Link
from control.store.database import Lost
from control.store.leader import NotLeading
from control.store.store import Change, Revision, Stale, State, Store, Stored
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.outcomes import OutcomeGuard
from router.rollout.kinds import duration_text
from router.rollout.parser import of_an_older_release, to_document
from router.rollout.snapshot import Arm, ServedRollout, Snapshot
from router.rollout.values import Canary, Rollout, SetWeight, Target
from serving.document import DocumentError
from serving.errors import NotFound, ServingError, Unavailable, as_one

log = structlog.get_logger()

T = TypeVar("T")

ANY: Final = None
"""As `based_on`: whatever the rollout's revision is. For people who ask for it, never for the autopilot."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change: a name, and by what way (`file`, `api`, `autopilot`)."""

    name: str
    kind: str


CONTROL = Actor("control", "control")
REPOSITORY = Actor("repository", "repository")
"""Who chooses a stable where there is no rollout file."""
IN_DOUBT = "whether the last change was made is in doubt; control reads the state database again"


class Conflict(ServingError):
    """It cannot be done as things are now."""

    kind = "conflict"


@dataclass(frozen=True, slots=True)
class Entry:
    """One rollout in force."""

    rollout: Rollout
    progress: Progress
    revision: int
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the accepted bytes of its local models, by `name/version`."""
    kind: str = field(default="", compare=False)
    """Which door its revision came through: that of the actor."""
    number: int = 0
    """Of the candidate of an A/B/n test that is seen as if it were the canary (`each`); 0: as it is."""

    def each(self) -> "tuple[Entry, ...]":
        """Each candidate of an A/B/n test that is on, as if it alone were the canary beside stable.

        Its weight is its chance among the draws to it and stable, and its alpha the part that it has of the
        document's, so that each is judged as any canary is. Without an A/B/n test that is the entry itself.
        """
        served = served_by(self.rollout, self.progress, self.digests)
        if not served.arms:
            return (self,)
        return tuple(_alone(self, arm, one) for arm, one in zip(served.arms, served.each(), strict=True))


def _alone(entry: Entry, arm: Arm, served: ServedRollout) -> Entry:
    """An A/B/n test as one of its candidates sees it; `served` is what is served then."""
    rollout, canary = entry.rollout, Canary(arm.target, weight=served.weight, mirror=arm.mirror)
    alpha = rollout.alpha / len(rollout.candidates)  # of all that there were, whoever is still there
    return replace(
        entry,
        rollout=replace(rollout, canary=canary, candidates=(), best=None, alpha=alpha),
        progress=replace(entry.progress, candidate=arm.target.key, weight=served.weight, arms=(), best=""),
        number=arm.number,
    )


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a change would do, for a dry run."""

    before: Entry | None
    rollout: Rollout
    progress: Progress
    effects: tuple[Effect, ...]
    warnings: tuple[str, ...]
    digests: Mapping[str, str]

    @property
    def changes(self) -> bool:
        """Whether anything is different from what is in force."""
        before = self.before
        return before is None or before.rollout != self.rollout or before.digests != self.digests

    @property
    def begins_again(self) -> Literal["", "evidence", "rollout"]:
        """What of a rollout that was there would begin again."""
        before = self.before
        if before is None or not before.progress.tries or self.progress == before.progress:
            return ""
        if any(effect.kind == "started" for effect in self.effects):
            return "rollout" if self.progress.tries else ""
        return "evidence" if self.progress.evidence_stage > before.progress.evidence_stage else ""


@dataclass(frozen=True, slots=True)
class _Move:
    """One rollout's part of a change; `rollout` None deletes it."""

    model: str
    rollout: Rollout | None
    progress: Progress
    effects: tuple[Effect, ...]
    digests: Mapping[str, str]
    evidence: Any = None
    link: Link | None = None
    lineage: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Door:
    """All rollouts.

    Args:
        store: where they are kept.
        catalogue: what models there are.
    """

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue
        self._one_at_a_time = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._open = False
        self.entries: dict[str, Entry] = {}
        self.snapshot = Snapshot()
        self.aa_seen: Callable[[Entry], Mapping[str, Any] | None] = lambda _: None
        """What the A/A test of a rollout has shown until now, for the row of a change that ends it."""
        self.no_registry = ""
        """Why no document may follow an alias here; empty where one may."""
        self.listeners: list[Callable[[str, Mapping[str, Any]], None]] = []
        """Called with a kind and a JSON-able text after each change, in order."""

    # ------------------------------------------------------------------ reading

    async def open(self) -> None:
        """Take up what the store holds, and nothing else; a change in doubt is waited for.

        Raises:
            StoreError: it does not say.
        """
        async with self._one_at_a_time:
            read = self._store.settle if self._store.in_doubt else self._store.load
            state = await asyncio.to_thread(read)
            entries = {}
            for model, stored in state.rollouts.items():
                rollout, refused = of_an_older_release(model, stored.document, f"store/{model}")
                if refused:
                    log.warning("a stored rollout is read as near as this release can", reason=refused)
                progress = from_json(stored.progress)
                entries[model] = Entry(rollout, progress, stored.revision, stored.digests or {}, stored.kind)
            self.entries = entries
            self._open = True
            await self._publish(state.revision)

    async def pin(self) -> None:
        """Pin the bytes of rollouts that were accepted before bytes were pinned, as they lie there now.

        One whose models cannot be read stays as it was, and says so in the log.
        """
        for model, entry in list(self.entries.items()):
            wanted = {target.model for target in local(entry.rollout, entry.progress)}
            if wanted <= entry.digests.keys() or entry.digests:
                continue
            try:
                digests = await self._catalogue.check(entry.rollout)
                async with self._one_at_a_time:
                    if self.entries.get(model) == entry:
                        told = self._catalogue.claimed(digests)
                        move = _Move(model, entry.rollout, entry.progress, (), digests, lineage=told)
                        await self._commit([move], CONTROL, "its models' bytes are pinned from now on")
            except ServingError as error:
                log.warning("the bytes of a rollout's models are not pinned", model=model, reason=str(error))

    async def look_after_store(self) -> None:
        """Write a database that was lost anew without waiting for the next change.

        Raises:
            StoreError: it cannot be reached or written.
        """
        async with self._one_at_a_time:
            await self._write(self._store.check)

    async def keep_evidence(self, model: str, state: Mapping[str, Any]) -> None:
        """Keep what the evidence on a rollout has come to.

        Raises:
            StoreError: it cannot be written.
            Fenced: another control leads.
        """
        async with self._one_at_a_time:
            await self._write(self._store.keep_evidence, model, state)

    @property
    def is_open(self) -> bool:
        """Whether it is known what is stored."""
        return self._open and not self._store.in_doubt

    def require_open(self) -> None:
        """Refuse to speak before it is known what is stored.

        Raises:
            Unavailable: `open` was not done yet: control starts, or another one leads; or it is to be done
                again, since a change is in doubt.
        """
        if not self._open:
            raise NotLeading("control is starting, or another one leads")
        if self._store.in_doubt:
            raise Unavailable(IN_DOUBT)

    def get(self, model: str) -> Entry:
        """The rollout in force.

        Raises:
            NotFound: there is none of that name.
            Unavailable: as `require_open`.
        """
        self.require_open()
        entry = self.entries.get(model)
        if entry is None:
            raise NotFound(f"no rollout for model {model!r}")
        return entry

    async def newer_than(self, revision: int, seconds: float) -> Snapshot | None:
        """The snapshot as soon as it is newer; None when the time passed first."""
        async with self._changed:
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait_for(lambda: self.snapshot.revision != revision)
            except TimeoutError:
                return None
            return self.snapshot

    def history(self, model: str, limit: int, before: int | None) -> tuple[Revision, ...]:
        """The audit log of a model, the latest first; blocks."""
        return self._store.history(model, limit, before)

    def document_to_undo_to(self, model: str, number: int | None) -> Revision:
        """The revision to go back to: the given one, or the last with another document; blocks.

        Raises:
            NotFound: there is no such revision, or it has no document.
        """
        if number is not None:
            revision = self._store.revision(model, number)
            if revision.document is None:
                raise NotFound(f"revision {number} deleted {model!r}; it has no document")
            return revision
        current = to_document(self.get(model).rollout)
        for revision in self._store.history(model, 1000):
            if revision.document not in (None, current):
                return revision
        raise NotFound(f"{model!r} never had another document")

    # ------------------------------------------------------------------ changing

    async def propose(
        self, rollout: Rollout, based_on: int | None = None, by: str = "", beside: Sequence[Rollout] = ()
    ) -> Proposal:
        """What putting this document would do; changes nothing.

        Args:
            rollout: the whole new document.
            based_on: the revision that the editor saw; 0 for none; `ANY` does not check.
            by: who makes it.
            beside: the documents that are put with it.

        Raises:
            InvalidInput: it could not be served.
            Stale: `based_on` is not the rollout's revision.
        """
        self.require_open()
        before = self.entries.get(rollout.model)
        rollout = _kept(before, rollout)
        found = await self._catalogue.check(rollout)
        _check_revision(rollout.model, before, based_on)
        if error := self._not_followed([*beside, rollout]).get(rollout.model):
            raise error
        other = _other_bytes(before, found)
        if before is None:
            stage = await asyncio.to_thread(self._store.next_stage, rollout.model)
            progress = begin(rollout, stage, (by,))
            effects: tuple[Effect, ...] = ()
        else:
            judged = {rollout.stable.model, *(each.target.model for each in rollout.all_candidates)}
            edited = Edited(rollout, not judged.isdisjoint(other), by)
            progress, effects = advance(before.rollout, before.progress, edited)
        digests = _pinned(before, progress, found)
        found_warnings = (*_warnings(before, rollout), *other.values())
        proposal = Proposal(before, rollout, progress, effects, found_warnings, digests)
        begins = _BEGINS_AGAIN.get(proposal.begins_again)
        told = (*([begins] if begins else []), *found_warnings, *_nobody_new(rollout, progress))
        return replace(proposal, warnings=told)

    async def propose_all(
        self, rollouts: Sequence[Rollout], based_on: Mapping[str, int] | int | None = ANY
    ) -> list[Proposal]:
        """What putting these documents together would do; changes nothing.

        Args:
            rollouts: the whole new documents.
            based_on: as `propose`, for every one of them, or by model; one that is not named is not checked.

        Raises:
            InvalidInput: some could not be served; with the faults of all.
            Stale: as `propose`.
        """
        await self._catalogue.verify(rollouts)
        return await self._propose_each(rollouts, based_on)

    async def _propose_each(
        self, rollouts: Sequence[Rollout], based_on: Mapping[str, int] | int | None, by: str = ""
    ) -> list[Proposal]:
        proposals, errors = [], []
        for rollout in rollouts:
            try:
                revision = _of(based_on, rollout.model)
                proposals.append(await self.propose(rollout, revision, by, rollouts))
            except Unservable as error:
                errors.append(error)
        if errors:
            raise as_one(errors)
        return proposals

    async def faults(self, rollouts: Sequence[Rollout]) -> dict[str, Unservable]:
        """As `Catalogue.faults`, and those that could not follow what they say; changes nothing."""
        found, asked = {}, []
        for rollout in rollouts:
            try:
                asked.append(_kept(self.entries.get(rollout.model), rollout))
            except Unservable as error:
                found[rollout.model] = error
        return found | self._not_followed(asked) | await self._catalogue.faults(asked)

    def _not_followed(self, rollouts: Sequence[Rollout]) -> dict[str, Unservable]:
        """By model, those of these documents that follow nothing, or whose promotions begin them again."""
        follow = {rollout.model for rollout in rollouts if rollout.follow is not None}
        if self.no_registry:
            return {model: Unservable(model, ("follow",), self.no_registry) for model in follow}
        in_force = {model: entry.rollout for model, entry in self.entries.items()}
        found = circles(in_force | {rollout.model: rollout for rollout in rollouts})
        return {
            model: Unservable(model, ("follow", "promote"), why)
            for model, why in found.items()
            if model in follow
        }

    async def put(
        self, rollouts: Sequence[Rollout], actor: Actor, reason: str,
        based_on: Mapping[str, int] | int | None = ANY,
        delete: Sequence[str] = (), bytes_of: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Accept whole documents, all or none of them, with the bytes of their models as they are now.

        A document that is in force already with these bytes changes nothing.

        Args:
            rollouts: the new documents.
            actor: who asks.
            reason: why, for people.
            based_on: as `propose_all`.
            delete: names that are served no longer.
            bytes_of: digests that the models must have; None takes any.

        Raises:
            InvalidInput, Stale: as `propose_all`.
            Conflict: a model has other bytes now than `bytes_of`.
        """
        # What takes long, verifying models, happens outside the lock; `propose` then only looks up.
        if unservable := await self.faults(rollouts):
            raise as_one(unservable.values())
        async with self._one_at_a_time:
            proposals = await self._propose_each(rollouts, based_on, actor.name)
            for proposal in proposals:
                _check_bytes(proposal, bytes_of or {})
            moves = [
                _Move(
                    proposal.rollout.model,
                    proposal.rollout,
                    proposal.progress,
                    proposal.effects,
                    proposal.digests,
                    self._cut_short(proposal.rollout.model),
                    lineage=self._catalogue.claimed(proposal.digests),
                )
                for proposal in proposals
                if proposal.changes
            ]
            others = [text for each in proposals for text in _other_bytes(each.before, each.digests).values()]
            for model in delete:
                entry = self.get(model)
                _check_revision(model, entry, _of(based_on, model))
                moves.append(_Move(model, None, entry.progress, (), entry.digests, self._cut_short(model)))
            ended = [
                f"it ends the A/A of {move.model}" for move in moves if _runs_aa(self.entries.get(move.model))
            ]
            reason = "; ".join([reason, *others, *ended])
            if moves:
                await self._commit(moves, actor, reason)

    async def act(
        self,
        model: str,
        event: Event,
        actor: Actor,
        based_on: int | None,
        evidence: Callable[[], Any] = lambda: None,
        reason: str = "",
        link: Link | None = None,
    ) -> Entry:
        """Let an event happen to a rollout: a person's, or time and a verdict.

        An audit row is written when something came of it; of timers alone only the progress is kept.

        Args:
            model: the public name.
            event: what happens.
            actor: who lets it happen.
            based_on: the revision that the actor saw; `ANY` does not check.
            evidence: what the event is based on; asked where an audit row is written, for that.
            reason: a person's, for the audit row.
            link: by which it came, and which is used up by it.

        Raises:
            IllegalTransition: it does not apply now, or its verdict speaks about another stage.
            Stale: `based_on` is not the rollout's revision.
        """
        async with self._one_at_a_time:
            entry = self.get(model)
            _check_revision(model, entry, based_on)
            progress, effects = advance(entry.rollout, entry.progress, event)
            if effects:
                text = "; ".join(effect.text for effect in effects)
                why = text if reason in text else f"{text}: {reason}"
                digests = _pinned(entry, progress, {})
                move = _Move(model, entry.rollout, progress, effects, digests, evidence(), link)
                await self._commit([move], actor, why)
            elif progress != entry.progress:
                if worth_saving(entry.progress, progress):
                    await self._write(self._store.tick, model, entry.revision, to_json(progress))
                self.entries[model] = replace(entry, progress=progress)
            return self.entries[model]

    async def start_aa(
        self, model: str, event: StartAA, actor: Actor, based_on: int | None, reason: str = ""
    ) -> Entry:
        """Let stable be its own canary for a while; the arguments are those of `act`.

        Raises:
            Conflict: it is not known which bytes of stable were accepted, so a copy might be of others.
            IllegalTransition: the document names a canary, stable is behind a URL, or one runs already.
            Stale: as `act`.
        """
        entry = self.get(model)
        stable = entry.progress.stable
        if stable.url is None and not entry.digests.get(stable.model):
            raise Conflict(
                f"no A/A of {model!r}: the bytes of {stable.model} are not pinned; put its document"
            )
        return await self.act(model, event, actor, based_on, reason=reason)

    # ------------------------------------------------------------------ inside

    def _cut_short(self, model: str) -> dict[str, Any] | None:
        """What the A/A test that a change of its rollout ends has shown, as far as it came."""
        entry = self.entries.get(model)
        seen = self.aa_seen(entry) if entry is not None and _runs_aa(entry) else None
        return None if seen is None else {**seen, "cut_short": True}

    async def _commit(self, moves: Sequence[_Move], actor: Actor, reason: str) -> None:
        changes = []
        for move in moves:
            before = self.entries.get(move.model)
            changes.append(
                Change(
                    model=move.model,
                    expected=before.revision if before is not None else 0,
                    document=None if move.rollout is None else to_document(move.rollout),
                    progress=to_json(move.progress),
                    actor=actor.name,
                    kind=actor.kind,
                    reason=reason,
                    evidence=move.evidence,
                    event=_event(move, before),
                    digests=dict(move.digests),
                    lineage=dict(move.lineage) or None,
                    link=move.link,
                )
            )
        revisions = await self._write(self._store.change, *changes)
        for move, revision in zip(moves, revisions, strict=True):
            if move.rollout is None:
                del self.entries[move.model]
            else:
                self.entries[move.model] = Entry(
                    move.rollout, move.progress, revision, move.digests, actor.kind
                )
        await self._publish(revisions[-1])
        for move, revision in zip(moves, revisions, strict=True):
            kind = "deleted" if move.rollout is None else move.effects[-1].kind if move.effects else "edited"
            self._tell(kind, move.model, revision, actor, reason)

    async def _write(self, method: Callable[..., T], *arguments: Any) -> T:
        """Call the store; a database file that is gone is written anew from what is in force."""
        try:
            return await asyncio.to_thread(method, *arguments)
        except Lost:
            rollouts = {
                model: Stored(
                    to_document(entry.rollout), entry.revision, to_json(entry.progress), dict(entry.digests)
                )
                for model, entry in self.entries.items()
            }
            log.error("the state database was lost; writing it anew")
            await asyncio.to_thread(self._store.restore, State(self.snapshot.revision, rollouts))
            return await asyncio.to_thread(method, *arguments)

    async def _publish(self, revision: int) -> None:
        before, rollouts = self.snapshot.rollouts, {}
        for model, entry in self.entries.items():
            served = served_by(entry.rollout, entry.progress, entry.digests)
            rollouts[model] = before[model] if before.get(model) == served else served  # quick to compare
        async with self._changed:
            given = self._store.given
            self.snapshot = Snapshot(revision, rollouts, given.epoch, given.made(revision))
            self._changed.notify_all()

    def _tell(self, kind: str, model: str, revision: int, actor: Actor, reason: str) -> None:
        entry = self.entries.get(model)
        sentence = status_sentence(entry.rollout, entry.progress) if entry is not None else "not served"
        log.info("rollout changed", model=model, kind=kind, revision=revision, by=actor.name, status=sentence)
        event = {
            "model": model,
            "revision": revision,
            "actor": actor.name,
            "reason": reason,
            "status": sentence,
        }
        for listener in self.listeners:
            listener(kind, event)


def _runs_aa(entry: Entry | None) -> bool:
    return entry is not None and entry.progress.aa is not None


def _event(move: _Move, before: Entry | None) -> str:
    """What happened to the rollout, for the audit log and those who are told of it."""
    if move.rollout is None:
        return "deleted"
    if move.effects:
        return move.effects[0].kind
    return "started" if before is None and move.progress.tries else "edited"


def local(rollout: Rollout, progress: Progress) -> list[Target]:
    """The local models that a rollout may still need: of its document, and those kept warm."""
    canary = [each.target for each in rollout.all_candidates]
    warm = [entry.target for entry in progress.warm]
    targets = [rollout.stable, progress.stable, *canary, *(s.target for s in rollout.shadows), *warm]
    return [target for target in targets if target.url is None]


def _kept(before: Entry | None, rollout: Rollout) -> Rollout:
    """The document with what an edit leaves to control.

    Raises:
        Unservable: with that, a target would have two roles.
    """
    try:
        return kept(before.rollout if before is not None else None, rollout)
    except DocumentError as error:
        raise Unservable(rollout.model, ("follow",), error.message) from None


def _pinned(before: Entry | None, progress: Progress, found: Mapping[str, str]) -> dict[str, str]:
    """The digests of what was just accepted, and of what is still needed of what was accepted before."""
    if before is None:
        return dict(found)
    kept = {target.model for target in local(before.rollout, progress)} if not found else set()
    kept |= {entry.target.model for entry in progress.warm} | {progress.stable.model}
    return {**{model: digest for model, digest in before.digests.items() if model in kept}, **found}


def _other_bytes(before: Entry | None, found: Mapping[str, str]) -> dict[str, str]:
    """By model, a sentence on each whose bytes are others than those that were accepted before."""
    known = before.digests if before is not None else {}
    return {
        model: f"{model} has other bytes than before (SHA-256 {known[model][:12]}, now {digest[:12]})"
        for model, digest in found.items()
        if known.get(model, digest) != digest
    }


def _check_bytes(proposal: Proposal, wanted: Mapping[str, str]) -> None:
    for model, digest in proposal.digests.items():
        if wanted.get(model, digest) != digest:
            raise Conflict(
                f"{model} had SHA-256 {wanted[model][:12]} then and has {digest[:12]} now; put those files"
                " back, or put the document itself to take these"
            )


def _of(based_on: Mapping[str, int] | int | None, model: str) -> int | None:
    return based_on.get(model, ANY) if isinstance(based_on, Mapping) else based_on


def _check_revision(model: str, entry: Entry | None, based_on: int | None) -> None:
    newest = entry.revision if entry is not None else 0
    if based_on is not ANY and based_on != newest:
        raise Stale(f"{model!r} is at revision {newest}, the change was based on {based_on}")


def worth_saving(before: Progress, after: Progress) -> bool:
    """Timers are written every few seconds only: what a crash loses of them makes a step end later."""
    return any(
        int(old) // 5 != int(new) // 5 for old, new in zip(_timers(before), _timers(after), strict=False)
    )


def _timers(progress: Progress) -> tuple[float, ...]:
    return (progress.waited_seconds, progress.unready_seconds, *(warm.seconds_left for warm in progress.warm))


_NOBODY_NEW = "no user is drawn anew, so there is no evidence for {}: the weight was"

_BEGINS_AGAIN = {
    "rollout": "the rollout begins again: its first step and its evidence",
    "evidence": "its evidence begins again; it stays at its step",
}


def _nobody_new(rollout: Rollout, progress: Progress) -> list[str]:
    """At which weights sides that are compared have no evidence, since no sticky user is drawn anew."""
    compared = ["`maxRatio` of errors" for guard in rollout.guards_of(ErrorsGuard) if guard.max_ratio]
    compared += [guard.name for guard in rollout.guards_of(OutcomeGuard)]
    if rollout.sticky_header is None or rollout.canary is None or not compared:
        return []
    nobody_new = _NOBODY_NEW.format(", ".join(compared))
    told, used = [], progress.used if progress.live else 0.0
    if 0.0 < progress.weight <= used:
        told.append(f"at {progress.weight:g}% {nobody_new} {used:g}% before")
    greatest = 0.0
    for number, step in enumerate(rollout.canary.steps, 1):
        if isinstance(step, SetWeight):
            if 0.0 < step.percent <= greatest:
                told.append(f"in step {number}, {step.percent:g}%, {nobody_new} {greatest:g}% before")
            greatest = max(greatest, step.percent)
    return told


def _warnings(before: Entry | None, rollout: Rollout) -> tuple[str, ...]:
    warnings = []
    if before is not None and before.progress.aa is not None and before.rollout != rollout:
        warnings.append("it ends the A/A that runs")
    if before is not None and before.progress.stable not in {before.rollout.stable, rollout.stable}:
        warnings.append(
            f"{before.progress.stable.key} was promoted; this document names {rollout.stable.key}"
        )
    for each in rollout.all_candidates:
        if each.weight is not None and each.weight > 0 and not (each.mirror or each.top_up):
            whom = "the canary" if each is rollout.canary else each.target.key
            warnings.append(f"without mirror nothing of {whom} is compared with stable")
    return (*warnings, *proofs_before_maturity(rollout), *_end_before_maturity(rollout))


def _end_before_maturity(rollout: Rollout) -> list[str]:
    """A test that is over before anything of its outcome has entered the evidence."""
    best = rollout.best
    outcome = None if best is None else rollout.outcome(best.outcome)
    if best is None or best.max_seconds is None or outcome is None or outcome.kind == "label":
        return []
    if outcome.within_seconds < best.max_seconds:
        return []
    within, most = duration_text(outcome.within_seconds), duration_text(best.max_seconds)
    return [f"best: {outcome.name} of an answer counts {within} later, and the test ends after {most}"]
