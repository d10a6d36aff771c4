"""Takes outcomes that are told: reads them, holds them against what is in force, keeps them, counts them.

Law: what is taken is in the database before it is answered, and told again it does no harm. A request is
read, verified and written in a thread, one at a time, so that judging goes on beside it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from control.metrics import OUTCOMES
from control.outcomes.intake import Known, LeftOut, intake, names_of
from control.outcomes.keyring import Keyring
from control.store.outcomes import OutcomeStore, Row, Stage
from router.rollout.values import Rollout
from router.wire.outcomes import Told, read_lines
from serving.errors import ServingError
from serving.telemetry.cells import Metrics

MAX_EXAMPLES: Final = 20
A_TRANSACTION: Final = 1_000
"""Outcomes that are kept together: so few that no other writer waits for long."""
_DUPLICATE: Final = LeftOut("duplicate", "it was told before")


class InForce(NamedTuple):
    """A rollout that is in force.

    Args:
        rollout: its document.
        judged_from: the first stage of what its canary is judged by.
        stage: the one under way.
        candidate: as which candidate of an A/B/n test it is seen, as if that were the canary alone; its
            number. 0: as it is.
    """

    rollout: Rollout
    judged_from: int
    stage: int
    candidate: int = 0


@dataclass(slots=True)
class Taken:
    """What became of the outcomes of one request.

    Args:
        accepted: new ones.
        left_out: the others, by reason.
        examples: the first of those: line (from 1), reason, and the same in words.
    """

    accepted: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, int | str]] = field(default_factory=list)

    def leave_out(self, line: int, found: LeftOut) -> None:
        """One more that was not taken."""
        self.left_out[found.reason] += 1
        if self.left_out[found.reason] <= MAX_EXAMPLES:
            self.examples.append({"line": line, "reason": found.reason, "words": found.words})


@dataclass(slots=True)
class _Batch:
    """A request, on its way."""

    taken: Taken
    rows: list[tuple[int, Row]] = field(default_factory=list)
    results: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # model, outcome, result
    failure: ServingError | None = None


class Desk:
    """Where outcomes are told.

    Args:
        store: where they are kept.
        keyring: verifies receipts.
        in_force: the rollouts, by public name.
        metrics: counts what becomes of them.
        now: wall clock, seconds since 1970.
    """

    def __init__(
        self,
        store: OutcomeStore,
        keyring: Keyring,
        in_force: Callable[[], Mapping[str, InForce]],
        metrics: Metrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._in_force = in_force
        self._metrics = metrics
        self._now = now
        self._stages: dict[str, dict[int, Stage]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._left_out: Counter[tuple[str, str, str]] = Counter()  # model, outcome, reason

    async def take(self, body: bytes, *, from_node: bool = False) -> Taken:
        """Take the outcomes of a request.

        Args:
            body: as of `router.wire.outcomes.read_lines`.
            from_node: as there.

        Raises:
            InvalidInput: it is not understood; nothing is taken.
            ServingError: the store does not answer, or another control leads; telling it again does no harm.
        """
        told = await asyncio.to_thread(read_lines, body, from_node=from_node)
        async with self._one_at_a_time:
            batch = await asyncio.to_thread(self._keep, told, self._in_force())
        for (model, outcome, result), number in batch.results.items():
            self._metrics.counter(OUTCOMES, model, outcome, result).add(number)
            if result != "accepted":
                self._left_out[model, outcome, result] += number
        if batch.failure is not None:
            raise batch.failure
        return batch.taken

    def left_out_of(self, model: str, outcome: str) -> dict[str, int]:
        """How many of an outcome were not taken since this control began, by reason."""
        return {
            reason: number
            for (of, name, reason), number in self._left_out.items()
            if (of, name) == (model, outcome)
        }

    def forget(self, model: str) -> None:
        """A rollout is no longer in force."""
        self._stages.pop(model, None)
        for place in [place for place in self._left_out if place[0] == model]:
            del self._left_out[place]

    def _keep(self, told: Sequence[Told], in_force: Mapping[str, InForce]) -> _Batch:
        batch = self._sorted(told, in_force)
        for first in range(0, len(batch.rows), A_TRANSACTION):
            part = batch.rows[first : first + A_TRANSACTION]
            try:
                fresh = self._store.take([row for _, row in part])
            except ServingError as error:  # what was kept is told again, and is a duplicate then
                batch.failure = error
                break
            for (line, row), is_new in zip(part, fresh, strict=True):
                batch.taken.accepted += is_new
                batch.results[row.model, row.name, "accepted" if is_new else "duplicate"] += 1
                if not is_new:
                    batch.taken.leave_out(line, _DUPLICATE)
        batch.taken.examples = sorted(batch.taken.examples, key=lambda each: each["line"])[:MAX_EXAMPLES]
        return batch

    def _sorted(self, told: Sequence[Told], in_force: Mapping[str, InForce]) -> _Batch:
        rollouts = {model: each.rollout for model, each in in_force.items()}
        known = Known(
            rollouts,
            names_of(rollouts),
            lambda model: self._stages_of(model, in_force[model].stage),
            self._keyring.read,
        )
        batch, now = _Batch(Taken()), self._now()
        for line, each in enumerate(told, 1):
            found = intake(each, known, now)
            if isinstance(found, LeftOut):
                batch.taken.leave_out(line, found)
                batch.results[found.model, found.outcome, found.reason] += 1
            else:
                batch.rows.append((line, found))
        return batch

    def _stages_of(self, model: str, present: int) -> Mapping[int, Stage]:
        """The stages of a rollout by number; looked up anew when its present one is not known yet."""
        found = self._stages.get(model, {})
        if present not in found:
            found = self._stages[model] = {stage.stage: stage for stage in self._store.stages(model)}
        return found
