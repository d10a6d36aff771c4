"""What control knows of models without loading one: signatures, as the verifying process reported them."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from router.rollout.values import Rollout, Target
from router.targets.compatibility import incompatibility
from serving.errors import Faulty, InvalidModel, NotFound, ServingError, as_one
from serving.models.checking.verify import Report
from serving.models.files.config import ModelConfig
from serving.models.files.lineage import Lineage
from serving.models.files.repository import ModelEntry, lineage
from serving.models.kinds import verify
from serving.places import Origin
from serving.sources.opening import open_source, place_of
from serving.wire.tensors import Signature

RESTED_SECONDS = 2.0
"""Files that changed less than this before they were read are read again."""


ORIGIN_SECONDS = 5.0
"""Who looks at a rollout waits no longer for a model that has to be fetched or verified."""


class Unservable(Faulty):
    """A valid document that these models cannot serve.

    `place` leads to the value at fault: the public model name, then keys and indexes, e.g.
    `("digits", "shadows", 0)`. It is of the first fault; `faults` are all.
    """

    def __init__(self, model: str, place: tuple[str | int, ...], reason: str) -> None:
        path = model + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
        super().__init__(f"{path}: {reason}")
        self.place = (model, *place)


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What the files of a model look like; `at` and `newest` in seconds since 1970."""

    files: tuple[tuple[str, int, int, int, int], ...]
    config: ModelConfig
    newest: float
    at: float = field(compare=False)


def _stamp(entry: ModelEntry) -> _Stamp:
    folder = entry.path.parent
    files = []
    for path in sorted(folder.rglob("*")):
        with suppress(OSError):
            found = path.stat()
            name = str(path.relative_to(folder))
            files.append((name, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    newest = max((max(file[3:]) for file in files), default=0) / 1e9
    return _Stamp(tuple(files), entry.config, newest, time.time())


_Described = tuple[ModelEntry, Report, Lineage]


class Catalogue:
    """The models, seen from control.

    Args:
        models: where they come from.
        verified: the folder in which passed verifications are remembered, shared with the workers.
    """

    def __init__(self, models: Path | Origin, verified: Path) -> None:
        self.source = open_source(models)
        self._models = models
        self._verified = verified
        self._reports: dict[str, tuple[_Stamp, Report]] = {}
        self._claims: dict[str, tuple[str, Mapping[str, str]]] = {}
        self._asked: dict[str, asyncio.Task[_Described]] = {}  # by model, so that many who ask are one

    def class_names(self, target: str) -> tuple[str, ...]:
        """The names of the classes of a target, by its key, as its config.yaml says them; blocks.

        None where it says none, and of a target behind a URL.
        """
        name, _, version = target.partition("/")
        if "@" in version:
            return ()
        try:
            return self.source.configured(name, version).config.labels
        except ServingError:
            return ()

    async def described(self, name: str, version: str) -> _Described:
        """One version: its files here, what verification says, and what is claimed of where it comes from.

        Raises:
            NotFound: there is none.
            ServingError: it cannot be had, or not be read.
        """
        entry = await asyncio.to_thread(self.source.find, name, version)
        report = await asyncio.to_thread(self._known, entry)
        if report is None:
            [report] = await asyncio.to_thread(self._verify, [entry])
        return entry, report, await asyncio.to_thread(lineage, entry, report.said)

    async def origin(self, target: Target, accepted: str) -> Lineage:
        """What is claimed of where a local target comes from, as far as known within `ORIGIN_SECONDS`.

        Why it is not known is among its problems.

        Args:
            target: of a rollout in force.
            accepted: SHA-256 of the bytes that are served; empty where that is not known.
        """
        asked = self._asked.get(target.model)
        if asked is None:
            asked = asyncio.create_task(self.described(target.name, target.version))
            self._asked[target.model] = asked
            asked.add_done_callback(lambda done: self._forget_asked(target.model, done))
        await asyncio.wait([asked], timeout=ORIGIN_SECONDS)
        if not asked.done():
            return Lineage(problems=("it is fetched or verified just now; ask again later",))
        try:
            _, report, told = asked.result()
        except ServingError as error:
            return Lineage(problems=(str(error),))
        if accepted in {"", report.sha256}:
            return told
        there = f"of what lies there now (SHA-256 {report.sha256[:12]}), not of the bytes that are served"
        return Lineage(told.claims, (*told.problems, f"these are claims {there} ({accepted[:12]})"))

    def _forget_asked(self, model: str, done: asyncio.Task[_Described]) -> None:
        del self._asked[model]
        if not done.cancelled():
            done.exception()  # else it is logged where nobody waited that long

    def claimed(self, digests: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
        """In short, what was claimed of these bytes when `check` looked at them last; by `name/version`."""
        known = {model: self._claims.get(model, ("", {})) for model in digests}
        return {model: told for model, (digest, told) in known.items() if told and digest == digests[model]}

    def digest(self, entry: ModelEntry) -> str:
        """The SHA-256 of a version's bytes, if they lie there as they did when last verified; blocks.

        Empty where that is not known: nothing is read for it.
        """
        report = self._known(entry)
        return "" if report is None else report.sha256

    def place(self, entry: ModelEntry) -> str:
        """The folder or URL that a version is from; empty where that is not known."""
        return place_of(self._models, entry)

    async def verify(self, rollouts: Sequence[Rollout]) -> None:
        """Verify all models of these rollouts in one process, so that `check` need not wait for each."""
        entries: dict[str, ModelEntry] = {}
        for rollout in rollouts:
            canary = [each.target for each in rollout.all_candidates]
            for target in (rollout.stable, *canary, *(shadow.target for shadow in rollout.shadows)):
                if target.url is None and target.model not in entries:
                    with suppress(ServingError):  # `check` says what is wrong, and where
                        entry = await asyncio.to_thread(self.source.find, target.name, target.version)
                        if await asyncio.to_thread(self._known, entry) is None:
                            entries[target.model] = entry
        if entries:
            await asyncio.to_thread(self._verify, list(entries.values()))

    async def check(self, rollout: Rollout) -> dict[str, str]:
        """Refuse a rollout that could not be served.

        Returns:
            The SHA-256 of the bytes of each local model, by `name/version`, as they lie there now.

        Raises:
            Unservable: a model is not in the repository, does not pass verification, or cannot stand in
                for stable; with every fault. Targets behind a URL are not asked: their router is told when
                they are ready.
            Unavailable: the source of a model cannot be asked now, and it is not kept here.
        """
        digests: dict[str, str] = {}
        faults: list[Unservable] = []
        stable = await self._signature(rollout, rollout.stable, ("stable",), digests, faults)
        signatures = [stable]
        others: list[tuple[tuple[str | int, ...], Target]] = []
        if rollout.canary is not None:
            said = "canary" if rollout.follow is None else "follow"
            others.append(((said,), rollout.canary.target))
        others += [(("candidates", index), each.target) for index, each in enumerate(rollout.candidates)]
        others += [(("shadows", index), shadow.target) for index, shadow in enumerate(rollout.shadows)]
        for place, target in others:
            signature = await self._signature(rollout, target, place, digests, faults)
            signatures.append(signature)
            if stable is None or signature is None:
                continue
            reason = incompatibility(stable, signature)
            if reason:
                pair = f"{target.model} cannot stand in for {rollout.stable.model}"
                faults.append(Unservable(rollout.model, place, f"{pair}: {reason}"))
        if stable is not None:
            known = {spec.name for spec in stable.outputs}
            for output in rollout.compare:
                if output not in known:
                    reason = f"{rollout.stable.model} has no such output; it has {', '.join(sorted(known))}"
                    faults.append(Unservable(rollout.model, ("compare", output), reason))
        faults += _redacted_in_vain(rollout, signatures)
        if faults:
            raise as_one(faults)
        return digests

    async def faults(self, rollouts: Sequence[Rollout]) -> dict[str, Unservable]:
        """Why some of these could not be served, by model; each model is verified once."""
        await self.verify(rollouts)
        found = {}
        for rollout in rollouts:
            try:
                await self.check(rollout)
            except Unservable as error:
                found[rollout.model] = error
        return found

    async def _signature(
        self,
        rollout: Rollout,
        target: Target,
        place: tuple[str | int, ...],
        digests: dict[str, str],
        faults: list[Unservable],
    ) -> Signature | None:
        """The signature of a local model, and its digest into `digests`; None for one behind a URL.

        None too for one that is not there or does not pass verification, which goes into `faults`.
        """
        if target.url is not None:
            return None
        try:
            entry = await asyncio.to_thread(self.source.find, target.name, target.version)
        except (NotFound, InvalidModel) as error:
            faults.append(Unservable(rollout.model, place, str(error)))
            return None
        report = await asyncio.to_thread(self._known, entry)
        if report is None:
            [report] = await asyncio.to_thread(self._verify, [entry])
        if not report.ok:
            faults.append(Unservable(rollout.model, place, f"{target.model} is refused: {report.reason}"))
            return None
        digests[target.model] = report.sha256
        told = await asyncio.to_thread(lineage, entry, report.said)
        self._claims[target.model] = report.sha256, told.short()
        return report.signature

    def _verify(self, entries: list[ModelEntry]) -> list[Report]:
        """Verify models as they are now; what passed is remembered with what its files looked like."""
        stamps = [_stamp(entry) for entry in entries]
        reports = verify(entries, cache=self._verified)
        for entry, stamp, report in zip(entries, stamps, reports, strict=True):
            if report.ok:
                self._reports[f"{entry.name}/{entry.version}"] = stamp, replace(report, fused=b"")
        return reports

    def _known(self, entry: ModelEntry) -> Report | None:
        """The report on the same files, if they had rested: two writes can fit one tick of a clock."""
        stamp, report = self._reports.get(f"{entry.name}/{entry.version}", (None, None))
        if report is None or stamp != _stamp(entry):
            return None
        return report if stamp.newest < stamp.at - RESTED_SECONDS else None


def _redacted_in_vain(rollout: Rollout, signatures: Sequence[Signature | None]) -> list[Unservable]:
    """Names under `redact` that no target has: a slip of the pen would let values out.

    Args:
        rollout: the document.
        signatures: of all its targets; where one is not known, nothing is said.
    """
    known: set[str] = set()
    for signature in signatures:
        if signature is None:
            return []
        known |= signature.input_by_name.keys() | signature.output_by_name.keys()
    named = {"examples": rollout.examples.redact, "record": rollout.record.redact if rollout.record else ()}
    return [
        Unservable(
            rollout.model,
            (field, "redact", index),
            f"no target has an input or output {name!r}; known: {', '.join(sorted(known))}",
        )
        for field, names in named.items()
        for index, name in enumerate(names)
        if name not in known
    ]
