"""The path of one public model name: split, answer, fail over, count, offer to sinks.

Law: each request is answered once and counted once, under the target that gave the answer; one whose
client goes away before is counted as abandoned, under the target that it waited for, so that each draw has
one outcome. One whose deadline passes, where its door knows of one, is a timeout of that target. A canary
that fails, refuses what stable accepts, or is not there costs the client nothing but time: stable answers,
within the retry budget. A request whose route was not drawn (forced, canary not ready, canary ejected)
is left out of the evidence. Sinks, the mirrors among them, are offered it when the answer has left, and so
is what was refused before it came here.

A route is built once per snapshot; nothing that can be known then is computed per request.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import random
from time import time
from typing import Any

import structlog

from router.answered import Answered, Role, Sink
from router.counting.receipt import RECEIPT_HEADER, Stamp
from router.counting.recorder import StageRecorder
from router.counting.slices import Slice
from router.counting.split import decide, key_hash, point, salt_of
from router.hop.driven import Driven
from router.metrics import IN_FLIGHT, ROUTER_OVERHEAD_SECONDS, UNRECEIPTED
from router.sides.choice import Choice
from router.sides.evidence import Evidence, failure_kind
from router.sides.naming import Refusal
from router.sides.retry_budget import RetryBudget
from router.sides.side import TARGET_HEADER, RoleSeries, Side
from router.targets.targets import Target
from serving.clock import clock
from serving.errors import Forbidden, InvalidInput, ServingError, Unavailable
from serving.telemetry.cells import Metrics
from serving.wire.handler import CLIENT_LEFT, Handler, Lapsed, each, status_of, what_ended
from serving.wire.message import Call, Outcome, Reply

log = structlog.get_logger()

LEAST_PATIENCE_SECONDS = 0.05
"""A client that leaves sooner says nothing about the canary, however quick stable is."""


class Route:
    """One public model name, as one snapshot has it.

    Args:
        model: the public name.
        stable: who answers unless the canary does.
        canary: the one candidate, or None.
        weight: percent of the requests that the draw gives to the canary, 0 to 100.
        arms: the candidates of an A/B/n test, whose draw is `drawn_by`; there is no canary beside them.
        draw: which draw of sticky users it is.
        sinks: offered what was answered, by either role.
        sticky_header: the header with the key, in lower case; None draws anew for each request.
        timeout_seconds: of one attempt.
        segment_header: the header that names the segment of an error, in lower case; None counts none.
        naming: refuses who may not name the canary; None lets anyone.
        stamp: makes the receipts of its answers; None for answers without.
        elsewhere: the model of a canary that stands on other nodes; empty where there is none.
    """

    def __init__(
        self,
        model: str,
        stable: Target,
        canary: Target | None,
        *,
        weight: float,
        sinks: tuple[Sink, ...],
        sticky_header: bytes | None,
        timeout_seconds: float,
        recorder: StageRecorder,
        metrics: Metrics,
        budget: RetryBudget,
        naming: Refusal | None = None,
        stamp: Stamp | None = None,
        draw: int = 0,
        segment_header: bytes | None = None,
        arms: tuple[Side, ...] = (),
        elsewhere: str = "",
    ) -> None:
        self.model = model
        self.stable = stable
        self.canary = canary
        self.weight = weight
        self.recorder = recorder
        self._sinks = sinks
        self._sticky = sticky_header
        by_key = sticky_header is not None and canary is not None and weight > 0.0
        self._evidence = Evidence(recorder, segment_header, by_key=by_key)
        self._salt = salt_of(model, canary.key if canary else "", draw)
        self._beyond = recorder.beyond
        self._timeout = timeout_seconds
        self._budget = budget
        self._naming = naming
        self._elsewhere = elsewhere
        self._stamp = stamp
        self._loop = asyncio.get_running_loop()
        self.joins = stable.joins
        self._to_offer: list[tuple[Call, Reply | BaseException, Choice, float, bytes]] = []
        self._stable_series = RoleSeries(metrics, model, stable.key, "stable")
        self._candidate = Side(metrics, model, canary) if canary is not None else None
        self.candidates = arms if self._candidate is None else (self._candidate,)
        self._overhead = metrics.histogram(ROUTER_OVERHEAD_SECONDS, model)
        self._in_flight = metrics.gauge(IN_FLIGHT, model)
        self._unreceipted = None if stamp is None else metrics.counter(UNRECEIPTED, model)

    @property
    def targets(self) -> tuple[Target, ...]:
        """All that answer clients, stable first."""
        return (self.stable, *(side.target for side in self.candidates))

    # ------------------------------------------------------------------ split

    def one(self, call: Call) -> "Reply | Awaitable[Reply]":
        """Route one call and answer it."""
        return self.answer(call, self._choose(call))

    def many(self, calls: Sequence[Call]) -> list[Outcome]:
        """As `one` for each of several calls; those of a stable that joins calls share its run."""
        return self.answer_all(calls, self._choose)

    def named(self, name: str) -> Handler:
        """Answers by the named role or target; left out of the evidence."""
        return _Chosen(self, partial(self.choose_named, name), joins=name == self.stable.model)

    def drawn_by(self, draw: Callable[[], Choice]) -> Handler:
        """Answers as another draw than the route's own says, unless the client names somebody."""

        def choose(call: Call) -> Choice:
            forced = call.headers.get(TARGET_HEADER)
            return draw() if forced is None else self.choose_named(forced.decode("latin-1"), call)

        return _Chosen(self, choose, joins=True)

    def _choose(self, call: Call) -> Choice:
        forced = call.headers.get(TARGET_HEADER)
        if forced is not None:
            return self.choose_named(forced.decode("latin-1"), call)
        text, key = None, 0
        if self._sticky is not None and (text := call.headers.get(self._sticky)) is not None:
            text = text.strip(b" \t") or None  # all that have none would be one key
            key = 0 if text is None else key_hash(text)
        canary = self.canary
        if canary is None or self.weight <= 0.0:
            return Choice(None, self.recorder.current, key, "stable")
        at = random() if text is None else point(self._salt, text)  # noqa: S311  (a draw, not a secret)
        drawn = decide(self.weight, at)
        refusal = canary.refusal(clock())
        if refusal:
            if drawn == "canary":
                self.candidates[0].failed_over(refusal)
            return Choice(None, None, key)
        candidate = self._candidate if drawn == "canary" else None
        evidence, anew = self.recorder.current, at >= self._beyond
        return Choice(candidate, evidence if anew else evidence.again, key, drawn, anew=anew)

    def choose_named(self, name: str, call: Call) -> Choice:
        """The named role or target; the name of a model that is both is stable's. Else the call is refused.

        Raises:
            InvalidInput: clients are not answered by such a target.
            Forbidden: it is a candidate, which this client may not name.
            Unavailable: it is the canary, which stands on other nodes.
        """
        if name in {"stable", self.stable.model}:
            return Choice(None, None, 0, forced=True)
        candidate = next((side for side in self.candidates if name == side.target.model), None)
        if candidate is None and name == "canary":
            candidate = self._candidate
        if candidate is not None:
            refusal = self._naming(call.headers) if self._naming is not None else ""
            if not refusal:
                return Choice(candidate, None, 0, forced=True, number=candidate.number)
            failure: ServingError = Forbidden(refusal)
        else:
            failure = self._unknown(name)
        self.refused(call, failure)
        raise failure

    def _unknown(self, name: str) -> ServingError:
        """What is said to a client that names none of the targets that are here."""
        if self._elsewhere and name in {"canary", self._elsewhere}:
            return Unavailable(f"the canary of {self.model!r}, {self._elsewhere}, stands on other nodes")
        known = ["stable"]
        if self.candidates:
            canary = ["canary"] if self._candidate is not None else []
            known += [*canary, self.stable.model, *(side.target.model for side in self.candidates)]
        reason = f"x-understudy-target {name[:80]!r} is not a target of {self.model!r}"
        if name == "canary" and self.candidates:
            reason = f"x-understudy-target 'canary' is not one target: {self.model!r} has several candidates"
        return InvalidInput(f"{reason}; known: {', '.join(known)}")

    def refused(self, call: Call, failure: Exception) -> None:
        """As `Handler`: neither counted nor drawn, and offered to the sinks."""
        if self._sinks:
            stable, stage = self.stable.key, self.recorder.stage
            answered = Answered(call, failure, "stable", stable, None, stage, 0, clock(), refused=True)
            self._loop.call_soon(self._give, answered)

    # ------------------------------------------------------------------ stable

    def answer(self, call: Call, choice: Choice) -> "Reply | Awaitable[Reply]":
        """Answer a call as was chosen."""
        call.timeout_seconds = self._timeout
        if choice.candidate is not None:
            return Driven(self._answer_candidate(call, choice, choice.candidate))
        began = clock()
        try:
            outcome = self._ask(self.stable, call, began)
        except Exception as error:
            self._done(call, error, choice, clock())
            raise
        if type(outcome) is Reply:
            now = clock()
            self._done(call, outcome, choice, now, now - began)
            return outcome
        return Driven(self._answer_later(call, outcome, choice, began))

    def answer_all(self, calls: Sequence[Call], choose: Callable[[Call], Choice]) -> list[Outcome]:
        """Answer calls that came at the same time, each as is chosen."""
        if not self.joins:
            return each(lambda call: self.answer(call, choose(call)), calls)
        began = clock()
        outcomes: list[Any] = []
        asked: list[tuple[int, Call, Choice]] = []
        for call in calls:
            try:
                choice = choose(call)
            except Exception as error:  # noqa: BLE001  (stands for the answer)
                outcomes.append(error)
                continue
            if choice.candidate is not None:
                outcomes.append(self.answer(call, choice))
                continue
            call.timeout_seconds = self._timeout
            asked.append((len(outcomes), call, choice))
            outcomes.append(None)
        chosen = clock()
        answers = self.stable.many([call for _, call, _ in asked]) if asked else []
        answered = clock()
        good = 0
        for (place, call, choice), answer in zip(asked, answers, strict=True):
            outcomes[place] = answer
            assert isinstance(answer, Reply | Exception)  # what shares a run is answered by it
            good += type(answer) is Reply
            self._done(call, answer, choice, answered)
        if good:
            ours = clock() - answered + chosen - began
            self._overhead.observe_times(ours / len(calls), good)
        return outcomes

    async def _answer_later(
        self, call: Call, outcome: Awaitable[Reply], choice: Choice, began: float
    ) -> Reply:
        evidence = choice.evidence
        self._in_flight.add(1)
        if evidence is not None:
            evidence.pending += 1
        try:
            reply = await outcome
        except (Exception, asyncio.CancelledError) as error:
            self._done(call, what_ended(call, error), choice, clock())
            raise
        finally:
            self._in_flight.add(-1)
            if evidence is not None:
                evidence.pending -= 1
        now = clock()
        self._done(call, reply, choice, now, now - began)
        return reply

    def _ask(self, target: Target, call: Call, now: float) -> "Reply | Awaitable[Reply]":
        refusal = target.refusal(now)
        if refusal:
            reason = refusal.replace("_", " ")
            raise Unavailable(f"model {self.model!r} is not available: target {target.model} is {reason}")
        return target.one(call)

    # ------------------------------------------------------------------ candidates

    async def _answer_candidate(self, call: Call, choice: Choice, candidate: Side) -> Reply:
        """Answer by a candidate; a drawn request (one with evidence) by stable when the candidate fails."""
        evidence = choice.evidence
        began = clock()
        self._in_flight.add(1)
        if evidence is not None:
            self._budget.earn()
            evidence.pending += 1
        try:
            outcome = self._ask(candidate.target, call, began)
            reply = outcome if type(outcome) is Reply else await outcome
        except asyncio.CancelledError as left:
            self._done(call, what_ended(call, left), choice, clock())
            if evidence is not None:
                self._given_up(candidate, began)
            raise
        except Exception as error:
            if evidence is None:
                self._done(call, error, choice, clock())
                raise
            return await self._fail_over(call, error, evidence, choice, candidate)
        finally:
            self._in_flight.add(-1)
            if evidence is not None:
                evidence.pending -= 1
        candidate.answered_at = now = clock()
        self._done(call, reply, choice, now, now - began)
        return reply

    def _given_up(self, candidate: Side, began: float) -> None:
        """A client of a candidate went away: its failure when it is what kept the client waiting.

        It is when the wait was longer than nearly all answers of stable take, and it answered nobody
        meanwhile. A client that leaves at once, or whose own patience is short, ejects no candidate.
        """
        patience = max(self._stable_series.seconds.quantile(0.99), LEAST_PATIENCE_SECONDS)
        if candidate.answered_at < began and clock() - began > patience:
            candidate.target.gave_up_on()

    async def _fail_over(
        self, call: Call, failure: Exception, evidence: Slice, choice: Choice, candidate: Side
    ) -> Reply:
        """Let stable answer for a candidate, whose fault it is unless stable refuses the request too."""
        status, clients_fault = status_of(failure), False
        if not isinstance(failure, ServingError):
            log.error("canary failed otherwise than targets do", model=self.model, exc_info=failure)
        try:
            if not self._budget.spend():
                candidate.failed_over("budget")
                self._done(call, failure, choice._replace(evidence=None), clock())
                raise failure
            candidate.failed_over("timeout" if status == 504 else "refused" if status < 500 else "failed")
            outcome = self.answer(call, choice._replace(candidate=None, evidence=None))
            return outcome if type(outcome) is Reply else await outcome
        except ServingError as error:
            clients_fault = status < 500 and error.status < 500
            raise
        finally:
            kind = failure_kind(status)
            self._evidence.refuse(evidence.canary, call, choice.key, failed=not clients_fault, kind=kind)

    # ------------------------------------------------------------------ the end of every call

    def _done(
        self,
        call: Call,
        outcome: Reply | BaseException,
        choice: Choice,
        now: float,
        target_seconds: float | None = None,
    ) -> None:
        """What a client is told leaves here, whoever answers and however: counted, in evidence, to the sinks.

        Args:
            call: what was asked.
            outcome: the answer, a failure, or that the client left.
            choice: who it is of.
            now: when it was there.
            target_seconds: what the target took; None where whoever asked accounts for it.
        """
        candidate, evidence, key = choice.candidate, choice.evidence, choice.key
        series = self._stable_series if candidate is None else candidate.series
        total = now - call.arrived
        series.seconds.observe(total)
        if type(outcome) is Reply:
            outcome.headers = series.header
            series.ok.add()
            if target_seconds is not None:
                self._overhead.observe(clock() - now + total - target_seconds)
            if evidence is not None:
                seconds = outcome.compute_seconds
                if key == 0 and candidate is None:  # most requests
                    evidence.stable.add(seconds, total)
                else:
                    tally = evidence.stable if candidate is None else evidence.canary
                    self._evidence.answer(tally, key, seconds, total)
        else:
            self._failed(series, call, outcome, choice)
        receipt = b"" if self._stamp is None else self._receipt(self._stamp, call, outcome, choice, now)
        if self._sinks:
            if not self._to_offer:
                self._loop.call_soon(self._offer)
            self._to_offer.append((call, outcome, choice, now, receipt))

    def _receipt(
        self, stamp: Stamp, call: Call, outcome: Reply | BaseException, choice: Choice, now: float
    ) -> bytes:
        """Give the answer a receipt; empty where there is nobody to be answered, or no key to sign with."""
        if not isinstance(outcome, Reply | Exception) or isinstance(outcome, Lapsed):
            return b""
        arrived = time() - (now - call.arrived)
        role: Role = "stable" if choice.candidate is None else "canary"
        receipt = stamp.make(choice.drawn, role, choice.key, arrived, choice.anew, choice.number)
        if not receipt:
            assert self._unreceipted is not None
            self._unreceipted.add()
            return b""
        line = b"%b: %b\r\n" % (RECEIPT_HEADER, receipt)
        if type(outcome) is Reply:
            outcome.headers += line
        else:
            call.error_headers = line
        return receipt

    def _failed(self, series: RoleSeries, call: Call, outcome: BaseException, choice: Choice) -> None:
        status = status_of(outcome)
        series.code(status).add()
        if choice.evidence is None:
            return
        tally = choice.evidence.stable if choice.candidate is None else choice.evidence.canary
        if status == CLIENT_LEFT:
            self._evidence.leave(tally, choice.key)
        else:
            kind = failure_kind(status) if choice.candidate is not None else "failed"
            self._evidence.refuse(tally, call, choice.key, failed=status >= 500, kind=kind)

    def _offer(self) -> None:
        """Called once the answers have left: offer what was answered to the sinks."""
        ended, self._to_offer = self._to_offer, []
        stage = self.recorder.stage
        for call, outcome, (candidate, _, key, drawn, forced, _, number), now, receipt in ended:
            role: Role = "stable" if candidate is None else "canary"
            target = self.stable if candidate is None else candidate.target
            self._give(
                Answered(
                    call, outcome, role, target.key, drawn, stage, key, now, receipt,
                    forced=forced, number=number,
                )
            )  # fmt: skip

    def _give(self, answered: Answered) -> None:
        for sink in self._sinks:
            sink.offer(answered)


class _Chosen:
    """The calls of a route of which somebody else than its draw says who is to answer."""

    def __init__(self, route: Route, choose: Callable[[Call], Choice], *, joins: bool) -> None:
        self.joins = route.joins and joins
        self._route = route
        self._choose = choose

    def one(self, call: Call) -> "Reply | Awaitable[Reply]":
        """As `Handler`."""
        return self._route.answer(call, self._choose(call))

    def many(self, calls: Sequence[Call]) -> list[Outcome]:
        """As `Handler`."""
        return self._route.answer_all(calls, self._choose)

    def refused(self, call: Call, failure: Exception) -> None:
        """As `Handler`."""
        self._route.refused(call, failure)
