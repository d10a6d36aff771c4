"""What a route answers leaves once, counted, and is offered once to each sink; real models, no socket."""

import asyncio
import contextlib
import time
from collections import Counter

import orjson
import pytest
from graphs import for_two_rows, put, unary

from router.counting.receipt import RECEIPT_HEADER, SECRET_BYTES, ReceiptKey, Receipts, name_id, read
from router.counting.recorder import StageRecorder
from router.counting.split import fresh_weight, point, salt_of
from router.hop.client import Address
from router.metrics import EJECTIONS, UNRECEIPTED
from router.mirror.mirrors import Mirror, Timing
from router.route import Route
from router.sides.retry_budget import RetryBudget
from router.sides.side import TARGET_HEADER
from router.targets.targets import LocalTarget, RemoteTarget
from serving.clock import clock
from serving.errors import BadGateway, DeadlineExceeded, InvalidInput, Unavailable
from serving.models.files.repository import Repository
from serving.models.runtime import Runtime
from serving.telemetry import cells
from serving.telemetry.cells import Metrics
from serving.wire.handler import status_of
from serving.wire.message import Call, Reply

TARGETS = {"a/1": "execution: inline", "b/1": "execution: inline", "c/1": "execution: pooled"}


def request(rows=1):
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 4], "data": [1.0] * 4 * rows}
    return orjson.dumps({"inputs": [tensor]})


class Heard:
    """A sink that keeps what it is offered."""

    def __init__(self):
        self.offered = []

    def offer(self, answered):
        self.offered.append(answered)

    def said(self):
        """Role, target, who was drawn and the status of each."""
        return [(each.role, each.target, each.drawn, status_of(each.outcome)) for each in self.offered]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("routed")
    for target, data in zip(TARGETS, (unary(), for_two_rows(), unary()), strict=True):
        put(folder, target.partition("/")[0], 1, data, TARGETS[target])
    return Repository(folder)


@pytest.fixture
def routed(repository, tmp_path):
    """Run a coroutine function that is given a function that makes routes."""
    with contextlib.closing(Metrics(tmp_path / "metrics", "worker")) as metrics:

        def run(work):
            async def main():
                runtime = Runtime(repository, metrics, repository.root / "verified", 1)
                for target in TARGETS:
                    await runtime.load(*target.split("/"))

                def route(stable="a/1", canary=None, *, weight=100.0, sinks=(), **others):
                    if isinstance(canary, str):
                        canary = LocalTarget(runtime.ready[canary])
                    return Route(
                        "m", LocalTarget(runtime.ready[stable]), canary, weight=weight, sinks=tuple(sinks),
                        timeout_seconds=10.0, metrics=metrics,
                        **{"budget": RetryBudget(), "recorder": StageRecorder("m", 7, 1.0),
                           "sticky_header": None, **others},
                    )  # fmt: skip

                route.metrics, route.folder = metrics, tmp_path / "metrics"
                await work(route)
                await runtime.close()

            asyncio.run(main())

        yield run


async def answer(route, body=None, **headers):
    """The answer or the failure, and the call."""
    named = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
    call = Call(named, request() if body is None else body, 0.0)
    try:
        outcome = route.one(call)
        return call, outcome if isinstance(outcome, Reply) else await outcome
    except Exception as error:  # noqa: BLE001  (looked at)
        return call, error


def test_a_sink_hears_of_an_answer_when_it_has_left_and_once(routed):
    async def work(route):
        heard, other = Heard(), Heard()
        call = Call({}, request(), 0.0)
        reply = route(sinks=[heard, other]).one(call)
        assert heard.offered == [], "the answer has not left yet"
        await asyncio.sleep(0)
        [answered] = heard.offered
        assert other.offered == [answered]
        assert (answered.call, answered.outcome) == (call, reply)
        assert (answered.stage, answered.key) == (7, 0)
        assert answered.ended > call.arrived

    routed(work)


def test_both_roles_and_failures_are_offered_with_who_was_drawn(routed):
    async def work(route):
        async def said(made, *asked, **headers):
            for body in asked:
                await answer(made, body, **headers)
            await asyncio.sleep(0)
            found = heard.said()
            heard.offered.clear()
            return found

        heard = Heard()
        good, refused = request(2), b"{}"
        stable, canary = route(sinks=[heard]), route(canary="b/1", sinks=[heard])
        assert await said(stable, good, refused) == [
            ("stable", "a/1", "stable", 200),
            ("stable", "a/1", "stable", 400),
        ]
        assert await said(canary, good) == [("canary", "b/1", "canary", 200)]
        assert await said(canary, good, x_understudy_target="stable") == [("stable", "a/1", None, 200)]
        assert await said(canary, good, x_understudy_target="canary") == [("canary", "b/1", None, 200)]

    routed(work)


def test_a_request_that_falls_over_is_offered_once_as_drawn_by_the_canary(routed):
    async def work(route):
        heard = Heard()
        _, reply = await answer(route(canary="b/1", sinks=[heard]))
        assert type(reply) is Reply
        spent = RetryBudget()
        while spent.spend():
            pass
        _, failure = await answer(route(canary="b/1", sinks=[heard], budget=spent))
        assert isinstance(failure, Exception)
        await asyncio.sleep(0)
        assert heard.said() == [
            ("stable", "a/1", "canary", 200),
            ("canary", "b/1", "canary", status_of(failure)),
        ]

    routed(work)


class Odd(LocalTarget):
    """A target that breaks otherwise than targets do."""

    def __init__(self, served):
        super().__init__(served)
        self.one = self.breaks

    def breaks(self, call):
        raise LookupError(call)


def test_a_canary_that_breaks_in_any_way_costs_its_client_nothing(routed):
    async def work(route):
        heard = Heard()
        odd = Odd(route().stable.served)
        _, reply = await answer(route(canary=odd, sinks=[heard]))
        assert type(reply) is Reply
        _, failure = await answer(route(canary=odd, sinks=[heard]), x_understudy_target="canary")
        assert isinstance(failure, LookupError)
        await asyncio.sleep(0)
        assert [row[2:] for row in heard.said()] == [("canary", 200), (None, 500)]

    routed(work)


class Failing(Odd):
    """A canary that fails as it is told."""

    error: Exception

    def breaks(self, call):  # noqa: ARG002
        raise self.error


def test_failures_of_the_canary_are_told_apart(routed):
    async def work(route):
        made = route(canary=Failing(route().stable.served))
        for error in (DeadlineExceeded("late"), Unavailable("gone"), BadGateway("odd"), InvalidInput("no"),
                      LookupError("bug")):  # fmt: skip
            made.canary.error = error
            await answer(made)
        found = made.recorder.current.canary
        assert found.failed_by == {"timeout": 1, "unavailable": 1, "failed": 2, "refused": 1}
        assert found.errors == 5

    routed(work)


def test_where_the_canary_is_not_there_nobody_was_drawn(routed):
    async def work(route):
        heard = Heard()
        nowhere, ejections = Address.of_url("http://127.0.0.1:1"), route.metrics.counter(EJECTIONS, "b/1")
        canary = RemoteTarget("b/1", "b/1", nowhere, ejections, trusted=True)
        await answer(route(canary=canary, sinks=[heard]))
        await asyncio.sleep(0)
        await canary.close()
        assert heard.said() == [("stable", "a/1", None, 200)]

    routed(work)


def test_calls_that_share_a_run_are_offered_one_by_one(routed):
    async def work(route):
        heard = Heard()
        bodies = [request(), b"{}", request(2)]
        calls = [Call({}, body, 0.0) for body in bodies]
        route(sinks=[heard]).many(calls)
        await asyncio.sleep(0)
        assert [each.call for each in heard.offered] == calls
        assert [status for *_, status in heard.said()] == [200, 400, 200]

    routed(work)


async def given_up(route, deadline):
    """Cancel a call with this deadline once it is under way."""
    call = Call({}, request(), clock())
    call.deadline = deadline

    async def wait():
        await route.one(call)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0)


@pytest.mark.parametrize(("seconds", "status"), [(None, 499), (3600.0, 499), (0.0, 504), (-1.0, 504)])
def test_a_client_that_left_is_offered_as_such_and_one_whose_deadline_passed_as_a_timeout(
    seconds, status, routed
):
    async def work(route):
        heard = Heard()
        await given_up(
            route("c/1", sinks=[heard], stamp=stamp()), None if seconds is None else clock() + seconds
        )
        assert heard.said() == [("stable", "c/1", "stable", status)]
        assert heard.offered[0].receipt == b"", "nobody was told it"

    routed(work)


def test_a_deadline_that_passes_at_a_candidate_is_its_timeout_and_a_client_that_leaves_is_not(routed):
    async def work(route):
        recorder = StageRecorder("m", 7, 1.0)
        for deadline in (clock(), clock() + 3600.0):
            await given_up(route(canary="c/1", recorder=recorder), deadline)
        found = recorder.current.canary
        assert (found.requests, found.failures, found.abandoned) == (2, 1, 1)
        assert found.failed_by == {"timeout": 1}

    routed(work)


KEY = ReceiptKey(7, b"s" * SECRET_BYTES, 0.0)
NAME = RECEIPT_HEADER.decode()


def stamp(key=KEY):
    made = Receipts("n", 0)
    made.key = key
    return made.of("m", 7)


def receipt(call, outcome):
    """The receipt of an answer or a failure, as its client is told it, and what it says."""
    lines = outcome.headers if type(outcome) is Reply else call.error_headers
    fields = dict(line.split(": ") for line in lines.decode().split("\r\n")[:-1])
    return fields[NAME].encode(), read(fields[NAME], {KEY.id: KEY})


def test_every_answer_and_failure_has_a_receipt_of_its_own_which_its_sinks_hear(routed):
    async def work(route):
        heard, odd, one = Heard(), Odd(route().stable.served), stamp()  # one for all of a process
        stable = route(sinks=[heard], stamp=one)
        canary, drawn = (route(canary=made, sinks=[heard], stamp=one) for made in ("b/1", odd))
        spent = RetryBudget()
        while spent.spend():
            pass
        broken = route(canary=odd, sinks=[heard], stamp=one, budget=spent)
        forced = {"x_understudy_target": "canary"}
        asked = [
            (stable, request(), {}, "stable", "stable"),
            (stable, b"{}", {}, "stable", "stable"),
            (canary, request(2), {}, "canary", "canary"),
            (canary, request(2), forced, "canary", None),
            (canary, request(2), {"x_understudy_target": "stable"}, "stable", None),
            (drawn, request(), {}, "stable", "canary"),
            (drawn, request(), forced, "canary", None),
            (broken, request(), {}, "canary", "canary"),
        ]
        told = []
        for made, body, headers, role, who in asked:
            text, said = receipt(*await answer(made, body, **headers))
            told.append(text)
            assert (said.role, said.drawn) == (role, who)
            assert (said.rollout, said.stage, said.key) == (name_id("m"), 7, 0)
        await asyncio.sleep(0)
        assert [each.receipt for each in heard.offered] == told
        assert len(set(told)) == len(asked)

    routed(work)


def test_calls_that_share_a_run_have_receipts_of_their_own(routed):
    async def work(route):
        calls = [Call({}, body, 0.0) for body in (request(), b"{}", b"{}", request(2))]
        outcomes = route(stamp=stamp()).many(calls)
        assert [status_of(outcome) for outcome in outcomes] == [200, 400, 400, 200]
        assert len({receipt(*each)[0] for each in zip(calls, outcomes, strict=True)}) == 4

    routed(work)


def test_a_receipt_says_when_the_request_arrived(routed):
    async def work(route):
        before = time.time()
        call = Call({}, request(), clock())
        _, said = receipt(call, await route("c/1", stamp=stamp()).one(call))
        assert before - 0.001 <= said.arrived <= time.time()

    routed(work)


def test_without_a_key_answers_have_no_receipt_and_are_counted(routed):
    async def work(route):
        heard = Heard()
        made = route(sinks=[heard], stamp=stamp(None))
        for body in (request(), b"{}"):
            call, outcome = await answer(made, body)
            assert RECEIPT_HEADER not in getattr(outcome, "headers", b"") + call.error_headers
        await asyncio.sleep(0)
        assert [each.receipt for each in heard.offered] == [b"", b""]
        assert cells.read(route.folder)[UNRECEIPTED.name].series["m",] == [2.0]

    routed(work)


def test_users_who_were_drawn_before_are_served_alike_and_counted_apart(routed):
    """Of three weights the second draws from those only whom the first left at stable."""

    async def work(route):
        recorder = StageRecorder("m", 7, fresh_weight(40, 10) / 100, beyond=0.1)
        made = route(
            canary=Odd(route().stable.served), weight=40.0, recorder=recorder, sticky_header=b"x-user", draw=3
        )
        points = {f"user {n}": point(salt_of("m", "a/1", 3), b"user %d" % n) for n in range(200)}
        heard: Counter[str] = Counter()
        for user, at in points.items():
            _, reply = await answer(made, x_user=user)
            assert type(reply) is Reply, "a canary that fails costs no user anything"
            heard["known" if at < 0.1 else "canary" if at < 0.4 else "stable"] += 1
        now = recorder.current
        assert (now.canary.requests, now.stable.requests) == (heard["canary"], heard["stable"])
        assert (now.again.canary.requests, now.again.stable.requests) == (heard["known"], 0)
        assert len(now.canary.error_keys) == heard["canary"]
        assert len(now.again.canary.of_keys) == heard["known"] > 0

    routed(work)


@pytest.mark.parametrize("sticky", [None, b"x-user"])
def test_errors_and_only_they_are_counted_by_segment(routed, sticky):
    """Of those that were drawn: at the canary what failed though stable answers, at stable what it fails."""

    async def work(route):
        recorder = StageRecorder("m", 7, 0.5, segments=2)
        made = route(
            canary=Odd(route().stable.served), weight=100.0, recorder=recorder, segment_header=b"x-country",
            sticky_header=sticky,
        )  # fmt: skip
        for user, country in enumerate(["de", "de", " fr ", "", "\x00\N{GREEK SMALL LETTER ALPHA}"]):
            for _ in range(2):
                await answer(made, x_user=str(user), x_country=country)
        await answer(made, x_user="nowhere")
        await answer(made, x_user="forced", x_country="it", x_understudy_target="canary")
        await answer(route(recorder=recorder, segment_header=b"x-country"), x_country="good")
        recorder.rotate()
        found, once = recorder.report(0), 2 if sticky is None else 1
        if sticky is None:
            counted = {value: errors.canary for value, errors in found.segments.items()}
        else:
            assert found.segments == {}
            counted = Counter(found.error_segments[0])
        # One slice: its values get places in the order of their text, of whichever role they are.
        assert counted == {"de": 2 * once, "fr": once, "other": 2 * once + 1}

    routed(work)


def test_of_a_good_answer_nobody_asks_for_the_segment(routed):
    class Unasked(dict):
        def get(self, name, default=None):
            assert name != b"x-country"
            return super().get(name, default)

    async def work(route):
        recorder = StageRecorder("m", 7, 0.5, segments=2)
        made = route(canary="b/1", weight=50.0, recorder=recorder, segment_header=b"x-country")
        for _ in range(20):
            outcome = made.one(Call(Unasked({b"x-country": b"de"}), request(2), 0.0))
            assert type(outcome if isinstance(outcome, Reply) else await outcome) is Reply

    routed(work)


def test_without_sinks_nothing_is_kept_for_one(routed):
    async def work(route):
        made = route()
        await answer(made)
        await answer(made, b"{}")
        made.refused(Call({}, b"", 0.0), Unavailable("full"))
        assert made._to_offer == []

    routed(work)


def test_what_is_refused_in_front_of_a_route_is_offered_to_its_sinks_and_counted_nowhere(routed):
    async def work(route):
        heard = Heard()
        made = route(canary="b/1", weight=50.0, sinks=[heard])
        for handler in (made, made.named("b/1")):
            handler.refused(Call({b"x-request-id": b"1"}, b"", 0.0), Unavailable("full"))
        assert heard.offered == [], "the answer has not left"
        await asyncio.sleep(0)
        assert heard.said() == [("stable", "a/1", None, 503)] * 2
        assert all(each.refused and not each.key and each.stage == 7 for each in heard.offered)
        assert cells.read(route.folder)["understudy_requests"].series == {
            ("m", target, role, "200"): [0.0] for target, role in (("a/1", "stable"), ("b/1", "canary"))
        }

    routed(work)


def test_who_names_what_is_not_there_or_not_theirs_is_refused_and_sinks_hear_it(routed):
    async def work(route):
        heard = Heard()
        made = route(canary="b/1", sinks=[heard], naming=lambda _: "not yours")
        for name in ("nobody", "canary", "b/1"):
            await answer(made, x_understudy_target=name)
        both = [Call({TARGET_HEADER: name}, request(), 0.0) for name in (b"nobody", b"stable")]
        assert [status_of(each) for each in made.many(both)] == [400, 200]
        await asyncio.sleep(0)
        found = [(status_of(each.outcome), each.refused) for each in heard.offered]
        assert Counter(found) == Counter({(400, True): 2, (403, True): 2, (200, False): 1})

    routed(work)


def test_mirrors_take_what_stable_answered_and_nothing_else(routed):
    async def work(route):
        all_, none, timed = Heard(), Heard(), Heard()
        sinks = [Mirror(all_, 1.0), Mirror(none, 0.0), Timing(timed, 1e9)]
        made = route(canary="b/1", weight=0.0, sinks=sinks)
        for body in (request(2), b"{}", request(2)):
            await answer(made, body)
        await answer(made, request(2), x_understudy_target="canary")
        await asyncio.sleep(0)
        assert all_.said() == [("stable", "a/1", "stable", 200)] * 2
        assert none.offered == []
        assert timed.offered == all_.offered[:1]

    routed(work)


def test_the_header_says_who_answered(routed):
    async def work(route):
        _, reply = await answer(route(canary="b/1"), request(2))
        assert reply.headers == TARGET_HEADER + b": b/1\r\n"

    routed(work)
