"""The path of one public model name: split, answer, fail over, count, mirror.

Law: each request is answered once and counted once, under the target that gave the answer; one whose
client goes away before is counted as abandoned, under the target that it waited for, so that each draw has
one outcome. A canary that
fails, refuses what stable accepts, or is not there costs the client nothing but time: stable answers,
within the retry budget. A request whose route was not drawn (forced, canary not ready, canary ejected)
is left out of the evidence. Mirroring starts when the answer has left.

A route is built once per snapshot; nothing that can be known then is computed per request.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import random
from typing import Any

from router.counts import Slice, StageRecorder, Tally
from router.eager import Driven
from router.metrics import FAILOVER, IN_FLIGHT, ROUTER_OVERHEAD_SECONDS
from router.naming import Refusal
from router.shadow import ShadowChannel
from router.split import decide, point
from router.targets import LocalTarget, Target
from serving.cells import Counter, Histogram, Metrics
from serving.clock import clock
from serving.errors import Forbidden, InvalidInput, ServingError, Unavailable
from serving.message import Call, Outcome, Reply, Together
from serving.metrics import REQUEST_SECONDS, REQUESTS

TARGET_HEADER = b"x-understudy-target"

RETRY_RATIO = 0.2
RETRY_BURST = 500.0

LEAST_PATIENCE_SECONDS = 0.05
"""A client that leaves sooner says nothing about the canary, however quick stable is."""

CLIENT_LEFT = 499
"""nginx's status for a client that did not wait for its answer."""


class RetryBudget:
    """Allows a fifth more attempts than requests, with a burst for the moment a target dies."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens = RETRY_BURST

    def earn(self) -> None:
        """A request arrived at a target that can fail over."""
        if self._tokens < RETRY_BURST:
            self._tokens += RETRY_RATIO

    def spend(self) -> bool:
        """Whether one more attempt may be made."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class RoleSeries:
    """The bound series and the header of one target in one role."""

    def __init__(self, metrics: Metrics, model: str, target: str, role: str) -> None:
        self._metrics = metrics
        self._labels = (model, target, role)
        self._codes: dict[int, Counter] = {}
        self.seconds: Histogram = metrics.histogram(REQUEST_SECONDS, *self._labels)
        self.ok = self.code(200)
        self.header = TARGET_HEADER + b": " + target.partition("@")[0].encode() + b"\r\n"

    def code(self, status: int) -> Counter:
        """The counter of answers with this status."""
        counter = self._codes.get(status)
        if counter is None:
            counter = self._codes[status] = self._metrics.counter(REQUESTS, *self._labels, str(status))
        return counter


_Stable = tuple[Slice | None, int]
"""Stable answers: the slice that its outcome enters (None leaves it out), and the hash of the sticky key."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where answered requests are sent on: `share` of them, 0 to 1."""

    channel: ShadowChannel
    share: float

    def send(self, call: Call, reply: Reply, stage: int, key: int) -> None:
        """Send this one on, or not."""
        if self.share >= 1.0 or random() < self.share:  # noqa: S311  (sampling, not secrecy)
            self.channel.offer(call, reply, stage, key)


class Timing:
    """Where some of stable's requests are sent on to time the canary beside it: one each `seconds`."""

    __slots__ = ("_channel", "_next", "_seconds")

    def __init__(self, channel: ShadowChannel, seconds: float) -> None:
        self._channel = channel
        self._seconds = seconds
        self._next = 0.0

    def send(self, call: Call, reply: Reply, stage: int, key: int) -> None:
        """Send this one on if the time has come."""
        now = clock()
        if now >= self._next:
            self._next = now + self._seconds
            self._channel.offer(call, reply, stage, key)


class Route:
    """One public model name, as one snapshot has it.

    Args:
        model: the public name.
        stable: who answers unless the canary does.
        canary: the candidate, or None.
        weight: percent of the requests that the draw gives to the canary, 0 to 100.
        mirrors: applied to what stable answered.
        sticky_header: the header with the key, in lower case; None draws anew for each request.
        timeout_seconds: of one attempt.
        naming: refuses who may not name the canary; None lets anyone.
    """

    def __init__(
        self,
        model: str,
        stable: Target,
        canary: Target | None,
        *,
        weight: float,
        mirrors: tuple[Mirror | Timing, ...],
        sticky_header: bytes | None,
        timeout_seconds: float,
        recorder: StageRecorder,
        metrics: Metrics,
        budget: RetryBudget,
        naming: Refusal | None = None,
    ) -> None:
        self.model = model
        self.stable = stable
        self.canary = canary
        self.weight = weight
        self.recorder = recorder
        self._mirrors = mirrors
        self._sticky = sticky_header
        self._by_key = sticky_header is not None and canary is not None and weight > 0.0
        # A new candidate meets other users first than the one before it did.
        self._salt = f"{model}\0{canary.key if canary else ''}".encode()
        self._timeout = timeout_seconds
        self._budget = budget
        self._naming = naming
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        served = stable.served if isinstance(stable, LocalTarget) else None
        self._local = None if served is None else served.infer
        self._local_together = None if served is None else served.together
        self.together: Together | None = None if self._local_together is None else self._answer_together
        self._stable_series = RoleSeries(metrics, model, stable.key, "stable")
        self._canary_series = (
            RoleSeries(metrics, model, canary.key, "canary") if canary else self._stable_series
        )
        self._overhead = metrics.histogram(ROUTER_OVERHEAD_SECONDS, model)
        self._in_flight = metrics.gauge(IN_FLIGHT, model)
        self._failovers: dict[str, Counter] = {}
        self._canary_answered = 0.0  # when it last gave an answer

    # ------------------------------------------------------------------ split

    def __call__(self, call: Call) -> "Reply | Awaitable[Reply]":
        """Route one call and answer it."""
        way = self._choose(call)
        return self._answer_stable(call, *way) if type(way) is tuple else way  # type: ignore[return-value]

    def _choose(self, call: Call) -> "_Stable | Awaitable[Reply]":
        """How stable is to answer, or the canary's answer under way."""
        forced = call.headers.get(TARGET_HEADER)
        if forced is not None:
            return self._choose_named(forced.decode("latin-1"), call)
        text = call.headers.get(self._sticky) if self._sticky is not None else None
        if text is not None:
            text = text.strip(b" \t") or None  # all that have none would be one key
        key = 0 if text is None else key_hash(text)
        recorder = self.recorder
        canary = self.canary
        if canary is None or self.weight <= 0.0:
            return recorder.current, key
        at = random() if text is None else point(self._salt, text)  # noqa: S311  (a draw, not a secret)
        drawn = decide(self.weight, at) == "canary"
        refusal = canary.refusal(clock())
        if refusal:
            if drawn:
                self._failover(refusal)
            return None, key
        if drawn:
            return Driven(self._answer_canary(call, canary, recorder.current, key))
        return recorder.current, key

    def to(self, name: str, call: Call) -> "Reply | Awaitable[Reply]":
        """Answer by the named role or target; left out of the evidence.

        Raises:
            InvalidInput: clients are not answered by such a target.
            Forbidden: it is the canary, which this client may not name.
        """
        way = self._choose_named(name, call)
        return self._answer_stable(call, *way) if type(way) is tuple else way  # type: ignore[return-value]

    def _choose_named(self, name: str, call: Call) -> "_Stable | Awaitable[Reply]":
        canary = self.canary
        if canary is not None and name in {"canary", canary.model}:
            if self._naming is not None and (refusal := self._naming(call.headers)):
                raise Forbidden(refusal)
            return Driven(self._answer_canary(call, canary, None, 0))
        if name in {"stable", self.stable.model}:
            return None, 0
        known = "stable" if canary is None else f"stable, canary, {self.stable.model}, {canary.model}"
        raise InvalidInput(
            f"x-understudy-target {name[:80]!r} is not a target of {self.model!r}; known: {known}"
        )

    # ------------------------------------------------------------------ stable

    def _answer_stable(self, call: Call, evidence: Slice | None, key: int) -> "Reply | Awaitable[Reply]":
        """Answer by stable. `evidence` is the slice that its outcome enters; None leaves it out."""
        if self._local is None:
            return Driven(self._answer_stable_later(call, self._ask(self.stable, call), evidence, key))
        call.timeout_seconds = self._timeout
        began = clock()
        try:
            outcome = self._local(call)
        except Exception as error:
            self._stable_failed(call, error, evidence, key)
            raise
        if type(outcome) is not Reply:
            return Driven(self._answer_stable_later(call, outcome, evidence, key))  # type: ignore[arg-type]
        seconds = clock() - began
        if evidence is not None:
            if key == 0:
                evidence.stable.add(failed=False, compute_seconds=outcome.compute_seconds)
            else:
                self._record(evidence.stable, key, failed=False, compute_seconds=outcome.compute_seconds)
        self._answered(self._stable_series, call, outcome, seconds)
        if self._mirrors:
            self._loop.call_soon(self._mirror, ((call, outcome, key),))
        return outcome

    def _answer_together(self, calls: Sequence[Call]) -> list[Outcome]:
        """As `__call__` for each of several calls; those of a local stable are answered together."""
        assert self._local_together is not None
        began = clock()
        outcomes: list[Any] = []
        ways: list[tuple[int, Call, Slice | None, int]] = []
        for call in calls:
            try:
                way = self._choose(call)
            except Exception as error:  # noqa: BLE001  (stands for the answer)
                way = error  # type: ignore[assignment]
            if type(way) is tuple:
                call.timeout_seconds = self._timeout
                ways.append((len(outcomes), call, *way))
            outcomes.append(way)
        asked = clock()
        answers = self._local_together([way[1] for way in ways]) if ways else []
        answered = clock()
        series = self._stable_series
        good: list[tuple[Call, Reply, int]] = []
        for (place, call, evidence, key), answer in zip(ways, answers, strict=True):
            outcomes[place] = answer
            if type(answer) is not Reply:
                self._stable_failed(call, answer, evidence, key)  # type: ignore[arg-type]
                continue
            good.append((call, answer, key))
            if evidence is not None:
                self._record(evidence.stable, key, failed=False, compute_seconds=answer.compute_seconds)
            answer.headers = series.header
            series.seconds.observe(answered - call.arrived)
        if good:
            series.ok.add(len(good))
            if self._mirrors:
                self._loop.call_soon(self._mirror, good)
            ours = clock() - answered + asked - began
            self._overhead.observe_times(ours / len(calls), len(good))
        return outcomes

    async def _answer_stable_later(
        self, call: Call, outcome: Awaitable[Reply], evidence: Slice | None, key: int
    ) -> Reply:
        began = clock()
        self._in_flight.add(1)
        if evidence is not None:
            evidence.pending += 1
        try:
            reply = await outcome
        except asyncio.CancelledError:
            self._count(self._stable_series, call, CLIENT_LEFT)
            if evidence is not None:
                self._left(evidence.stable, key)
            raise
        except Exception as error:
            self._stable_failed(call, error, evidence, key)
            raise
        finally:
            self._in_flight.add(-1)
            if evidence is not None:
                evidence.pending -= 1
        answered = clock()
        if evidence is not None:
            self._record(evidence.stable, key, failed=False, compute_seconds=reply.compute_seconds)
        self._answered(self._stable_series, call, reply, answered - began)
        if self._mirrors:
            self._loop.call_soon(self._mirror, ((call, reply, key),))
        return reply

    def _stable_failed(self, call: Call, error: Exception, evidence: Slice | None, key: int) -> None:
        status = self._count_error(self._stable_series, call, error)
        if evidence is not None:
            self._record(evidence.stable, key, failed=status >= 500, compute_seconds=0.0)

    async def _ask(self, target: Target, call: Call) -> Reply:
        refusal = target.refusal(clock())
        if refusal:
            reason = refusal.replace("_", " ")
            raise Unavailable(f"model {self.model!r} is not available: target {target.model} is {reason}")
        outcome = target.infer(call, self._timeout)
        return outcome if type(outcome) is Reply else await outcome  # type: ignore[misc]

    # ------------------------------------------------------------------ canary

    async def _answer_canary(self, call: Call, canary: Target, evidence: Slice | None, key: int) -> Reply:
        """Answer by the canary; a drawn request (one with evidence) by stable when the canary fails."""
        began = clock()
        self._in_flight.add(1)
        if evidence is not None:
            self._budget.earn()
            evidence.pending += 1
        try:
            reply = await self._ask(canary, call)
            self._canary_answered = answered = clock()
            if evidence is not None:
                self._record(evidence.canary, key, failed=False, compute_seconds=reply.compute_seconds)
        except asyncio.CancelledError:
            self._count(self._canary_series, call, CLIENT_LEFT)
            if evidence is not None:
                self._left(evidence.canary, key)
                self._given_up(canary, began)
            raise
        except ServingError as error:
            if evidence is None:
                self._count_error(self._canary_series, call, error)
                raise
            return await self._fail_over(call, error, evidence, key)
        finally:
            self._in_flight.add(-1)
            if evidence is not None:
                evidence.pending -= 1
        self._answered(self._canary_series, call, reply, answered - began)
        return reply

    def _given_up(self, canary: Target, began: float) -> None:
        """A client of the canary went away: the canary's failure when it is what kept the client waiting.

        It is when the wait was longer than nearly all answers of stable take, and the canary answered nobody
        meanwhile. A client that leaves at once, or whose own patience is short, ejects no canary.
        """
        patience = max(self._stable_series.seconds.quantile(0.99), LEAST_PATIENCE_SECONDS)
        if self._canary_answered < began and clock() - began > patience:
            canary.gave_up_on()

    async def _fail_over(self, call: Call, failure: ServingError, evidence: Slice, key: int) -> Reply:
        """Let stable answer for the canary, whose fault it is unless stable refuses the request too."""
        clients_fault = False
        try:
            if not self._budget.spend():
                self._failover("budget")
                self._count_error(self._canary_series, call, failure)
                raise failure
            self._failover(
                "timeout" if failure.status == 504 else "refused" if failure.status < 500 else "failed"
            )
            outcome = self._answer_stable(call, None, key)
            return outcome if type(outcome) is Reply else await outcome  # type: ignore[misc]
        except ServingError as error:
            clients_fault = failure.status < 500 and error.status < 500
            raise
        finally:
            self._record(evidence.canary, key, failed=not clients_fault, compute_seconds=0.0)

    def _failover(self, reason: str) -> None:
        counter = self._failovers.get(reason)
        if counter is None:
            assert self.canary is not None
            counter = self._metrics.counter(FAILOVER, self.model, self.canary.key, reason)
            self._failovers[reason] = counter
        counter.add()

    # ------------------------------------------------------------------ counting and mirroring

    def _record(self, tally: Tally, key: int, *, failed: bool, compute_seconds: float) -> None:
        """Enter an outcome into the evidence.

        Of a sticky key the first request and the first error count; of some keys the first ten are a unit.
        """
        recorder = self.recorder
        if key == 0 or recorder.first_of_key(key):
            tally.add(failed=failed, compute_seconds=compute_seconds)
        if self._by_key and (key == 0 or recorder.sampled(key)):
            tally.of_keys.append((key, failed))
        if failed:
            if key == 0:
                tally.errors += 1
            elif recorder.first_error_of_key(key):
                tally.error_keys.append(key)

    def _left(self, tally: Tally, key: int) -> None:
        """Enter a request whose client went away; of a sticky key the first request."""
        if key == 0 or self.recorder.first_of_key(key):
            tally.leave()

    def _answered(self, series: RoleSeries, call: Call, reply: Reply, target_seconds: float) -> None:
        reply.headers = series.header
        total = clock() - call.arrived
        series.ok.add()
        series.seconds.observe(total)
        self._overhead.observe(total - target_seconds)

    def _mirror(self, answered: Sequence[tuple[Call, Reply, int]]) -> None:
        """Called once the answers were written: to whom each of these requests is sent on, and its key."""
        for call, reply, key in answered:
            for mirror in self._mirrors:
                mirror.send(call, reply, self.recorder.stage, key)

    def _count(self, series: RoleSeries, call: Call, status: int) -> None:
        series.code(status).add()
        series.seconds.observe(clock() - call.arrived)

    def _count_error(self, series: RoleSeries, call: Call, error: Exception) -> int:
        status = error.status if isinstance(error, ServingError) else 500
        self._count(series, call, status)
        return status


def key_hash(key: bytes) -> int:
    """A sticky key as 64 bits that are never 0, which stands for no key."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little") or 1
