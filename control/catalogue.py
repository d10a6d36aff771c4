"""What control knows of models without loading one: signatures, as the verifying process reported them."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from router.compatibility import incompatibility
from router.rollout import Rollout, Target
from serving.errors import InvalidInput, NotFound, ServingError
from serving.repository import ModelEntry, Repository
from serving.tensors import Signature
from serving.verify import Report, verify


class Unservable(InvalidInput):
    """A valid document that these models cannot serve.

    `place` leads to the value at fault: the public model name, then keys and indexes, e.g.
    `("digits", "shadows", 0)`.
    """

    def __init__(self, model: str, place: tuple[str | int, ...], reason: str) -> None:
        path = model + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
        super().__init__(f"{path}: {reason}")
        self.place = (model, *place)


class Catalogue:
    """The model repository, seen from control.

    Args:
        models: the repository.
        verified: the folder in which passed verifications are remembered, shared with the workers.
    """

    def __init__(self, models: Path, verified: Path) -> None:
        self.repository = Repository(models)
        self._verified = verified
        self._reports: dict[str, Report] = {}

    async def verify(self, rollouts: Sequence[Rollout]) -> None:
        """Verify all models of these rollouts in one process, so that `check` need not wait for each."""
        entries: dict[str, ModelEntry] = {}
        for rollout in rollouts:
            canary = [rollout.canary.target] if rollout.canary is not None else []
            for target in (rollout.stable, *canary, *(shadow.target for shadow in rollout.shadows)):
                if target.url is None and target.model not in self._reports:
                    with suppress(ServingError):  # `check` says what is wrong, and where
                        entries[target.model] = self.repository.find(target.name, target.version)
        if entries:
            reports = await asyncio.to_thread(verify, list(entries.values()), cache=self._verified)
            self._reports.update(
                (f"{report.name}/{report.version}", report) for report in reports if report.ok
            )

    async def check(self, rollout: Rollout) -> None:
        """Refuse a rollout that could not be served.

        Raises:
            Unservable: a model is not in the repository, does not pass verification, or cannot stand in
                for stable. Targets behind a URL are not asked: their router is told when they are ready.
        """
        stable = await self.signature(rollout, rollout.stable, ("stable",))
        others: list[tuple[tuple[str | int, ...], Target]] = []
        if rollout.canary is not None:
            others.append((("canary",), rollout.canary.target))
        others += [(("shadows", index), shadow.target) for index, shadow in enumerate(rollout.shadows)]
        for place, target in others:
            signature = await self.signature(rollout, target, place)
            if stable is None or signature is None:
                continue
            reason = incompatibility(stable, signature)
            if reason:
                pair = f"{target.model} cannot stand in for {rollout.stable.model}"
                raise Unservable(rollout.model, place, f"{pair}: {reason}")
        if stable is not None:
            known = {spec.name for spec in stable.outputs}
            for output in rollout.compare:
                if output not in known:
                    reason = f"{rollout.stable.model} has no such output; it has {', '.join(sorted(known))}"
                    raise Unservable(rollout.model, ("compare", output), reason)

    async def signature(
        self, rollout: Rollout, target: Target, place: tuple[str | int, ...]
    ) -> Signature | None:
        """The signature of a local model; None for one behind a URL.

        Raises:
            Unservable: there is no such model, or it does not pass verification.
        """
        if target.url is not None:
            return None
        report = self._reports.get(target.model)
        if report is None:
            try:
                entry = self.repository.find(target.name, target.version)
            except NotFound as error:
                raise Unservable(rollout.model, place, str(error)) from None
            [report] = await asyncio.to_thread(verify, [entry], cache=self._verified)
            if not report.ok:
                raise Unservable(rollout.model, place, f"{target.model} is refused: {report.reason}")
            self._reports[target.model] = report
        return report.signature
