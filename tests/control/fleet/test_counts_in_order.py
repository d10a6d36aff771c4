"""Where stable and canary fail alike, control counts what clients saw, however reports come: one order.

Real routes, counts, reports and control's sum of them; targets that answer when a step says so.
"""

import asyncio
import contextlib
import math
from dataclasses import dataclass, field
from itertools import product

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.fleet.nodes import Nodes
from control.fleet.sticky_keys import Place
from harness.search import examples
from router.counting.recorder import StageRecorder
from router.hop.driven import Signal
from router.route import Route
from router.sides.retry_budget import RetryBudget
from router.wire.ledger import Ledger
from router.wire.report import Report, StageReport, encoded
from serving.errors import BadGateway, Unavailable
from serving.telemetry.cells import Metrics
from serving.wire.message import Call, Reply

PLACE = Place("m", 1)
TIMEOUT = 1.0
LONGEST = 2.0 * TIMEOUT  # an attempt at the canary, and one at stable after it


class Waited(Signal[Reply]):
    """An answer that is waited for, until a client leaves."""

    def cancel(self, msg=None):
        left = super().cancel(msg)
        self.tell()
        return left


class Scripted:
    """A target that answers when it is told to, and fails what is poisoned, as the other role's does."""

    place, floor, joins, signature = "remote", None, False, None

    def __init__(self, model):
        self.key = self.model = model
        self.out = ""
        self.asked: list[tuple[Call, Waited]] = []

    def refusal(self, now):  # noqa: ARG002
        return self.out

    def gave_up_on(self):
        """Nothing: a step says when it is out."""

    def one(self, call):
        signal = Waited(asyncio.get_running_loop())
        self.asked.append((call, signal))
        return signal

    def answer(self, which):
        call, signal = self.asked.pop(which % len(self.asked))
        if signal.done():  # its client has left
            return
        if call.body:
            signal.set_exception(BadGateway("poisoned"))
        else:
            signal.set_result(Reply(200, b"", None, b"", 0.0, None))
        signal.tell()


@dataclass
class Arrival:
    """A request: whom it was drawn to (None: not drawn), and what its client saw, or 0 while it waits."""

    drawn: str | None
    poisoned: bool
    status: int = 0
    failed: bool = False  # at the canary, whatever became of it then
    answer: object = None
    call: Call | None = None

    @property
    def error(self):
        return self.failed or self.status >= 500


@dataclass
class Worker:
    name: str
    wall: list[float]
    metrics: Metrics
    arrivals: list[Arrival] = field(default_factory=list)
    late: list[Report] = field(default_factory=list)
    of_call: dict[int, Arrival] = field(default_factory=dict)

    def __post_init__(self):
        self.stable, self.canary, self.ledger = Scripted("m/1"), Scripted("m/2"), Ledger()
        self.recorder = StageRecorder("m", 1, 0.5, lambda: self.wall[0], LONGEST)
        self.route = Route(
            "m", self.stable, self.canary, weight=50.0, sinks=(), sticky_header=None, timeout_seconds=TIMEOUT,
            recorder=self.recorder, metrics=self.metrics, budget=RetryBudget(),
        )  # fmt: skip

    def arrive(self, poisoned):
        before = len(self.canary.asked)
        call = Call({}, b"poison" if poisoned else b"", self.wall[0])
        arrival = Arrival("stable", poisoned)
        self.arrivals.append(arrival)
        self.of_call[id(call)] = arrival
        arrival.call = call
        try:
            answer = self.route.one(call)
        except Unavailable:  # stable is out
            arrival.status = 503
        else:
            arrival.answer = answer
            answer.add_done_callback(lambda ended: saw(arrival, ended))
        if self.canary.out:
            arrival.drawn = None
        elif len(self.canary.asked) > before:
            arrival.drawn = "canary"

    async def answer(self, role, which):
        target = getattr(self, role)
        if target.asked:
            asked = target.asked[which % len(target.asked)]
            arrival = self.of_call[id(asked[0])]
            arrival.failed |= role == "canary" and arrival.poisoned and not asked[1].done()
            target.answer(which)
            await heard()

    async def leave(self, which):
        waiting = [each for each in self.arrivals if not each.status]
        if waiting:
            waiting[which % len(waiting)].answer.cancel()
            await heard()

    def prefixes(self):
        """What the counts are after each of its arrivals, as far as their outcomes are known."""
        counted = {"canary": [0, 0], "stable": [0, 0]}
        yield 0, 0, 0, 0
        for each in self.arrivals:
            if not each.status:
                return
            if each.drawn is not None:
                counted[each.drawn][0] += 1
                counted[each.drawn][1] += each.error
            yield *counted["canary"], *counted["stable"]

    def report(self, *, hurried=False):
        found = self.recorder.report(0)
        telling = self.ledger.telling({("m", 1, ""): found}, hurried=hurried)
        for _ in telling.places():
            pass
        told = telling.told
        rows = [StageReport(model="m", stage=1, counts=counts) for counts in told.counts.values()]
        whole = Report(
            wire=2, instance=self.name, node="n", kind="worker", revision=1, wait=0, number=told.number,
            base=told.base, settled_until=told.settled_until, counts=rows,
        )  # fmt: skip
        return Report.model_validate(orjson.loads(encoded(whole)))


async def heard():
    """Stable's answer for a canary is there some turns of the event loop later."""
    for _ in range(4):
        await asyncio.sleep(0)


def saw(arrival, ended):
    """What a client saw; one that left saw nothing, and so did one that left a canary that had failed."""
    try:
        ended.result()
    except asyncio.CancelledError:
        arrival.status = 499
    except (BadGateway, Unavailable):
        arrival.status = 502
    else:
        arrival.status = 200


class Fleet:
    """Workers and the control that hears them."""

    def __init__(self, metrics):
        self.wall = [1000.0]
        self.nodes = Nodes()
        self.workers = [Worker(name, self.wall, metrics) for name in ("w/1", "w/2")]
        self.seen = (0, 0, 0, 0)
        for worker in self.workers:
            self.tell(worker, "answered")

    def tell(self, worker, how):
        said = worker.report(hurried=how == "hurried")
        if how == "late":
            worker.late.append(said)
            return
        if how == "lost":
            return
        if self.nodes.lacks(said):
            worker.ledger.begin_anew()
            return
        self.nodes.hear(said, 0.0)
        if how == "answered":
            worker.ledger.answered()

    def late(self, worker):
        if worker.late and not self.nodes.lacks(said := worker.late.pop(0)) and said.base:
            self.nodes.hear(said, 0.0)

    def look(self):
        self.nodes.settle(PLACE, LONGEST, 0.0)
        found = self.nodes.counts(PLACE, "m/2")
        return (found.canary.requests, found.canary.errors, found.stable.requests, found.stable.errors)

    def check(self):
        """What is judged is in each worker what arrived first, and what was judged stays so."""
        now = self.look()
        known = {tuple(map(sum, zip(*each, strict=True))) for each in product(*map(possible, self.workers))}
        assert now in known, "no beginning of what arrived comes to this"
        assert all(map(int.__ge__, now, self.seen)), "what was counted is taken away"
        self.seen = now

    async def quiet(self):
        """Everybody has an answer, and two exchanges were answered."""
        for worker in self.workers:
            for _ in range(2):  # a canary that failed asks stable
                for role in ("canary", "stable"):
                    while getattr(worker, role).asked:
                        await worker.answer(role, 0)
        for _ in range(2):
            self.wall[0] += 1.0
            for worker in self.workers:
                worker.recorder.rotate()
                self.tell(worker, "answered")


def possible(worker):
    return list(worker.prefixes())


ROLES = st.sampled_from(["stable answers", "canary answers"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("arrive"), st.integers(0, 1), st.booleans()),
        st.tuples(
            st.sampled_from(["stable answers", "canary answers"]), st.integers(0, 1), st.integers(0, 9)
        ),
        st.tuples(st.just("time"), st.integers(0, 1), st.sampled_from([0.1, 0.4, 1.1, 6.0])),
        st.tuples(st.just("rotate"), st.integers(0, 1), st.none()),
        st.tuples(
            st.just("tell"),
            st.integers(0, 1),
            st.sampled_from(["answered", "answered", "unanswered", "hurried", "late", "lost"]),
        ),
        st.tuples(st.just("one comes late"), st.integers(0, 1), st.none()),
        st.tuples(st.just("leave"), st.integers(0, 1), st.integers(0, 9)),
        st.tuples(st.sampled_from(["stable out", "canary out"]), st.integers(0, 1), st.none()),
    ),
    max_size=60,
)


async def step(fleet, what, worker, how):
    match what:
        case "arrive":
            worker.arrive(how)
        case "stable answers" | "canary answers":
            await worker.answer(what.partition(" ")[0], how)
        case "time":
            fleet.wall[0] += how
        case "rotate":
            worker.recorder.rotate()
        case "tell":
            fleet.tell(worker, how)
        case "one comes late":
            fleet.late(worker)
        case "leave":
            await worker.leave(how)
        case "stable out" | "canary out":
            target = getattr(worker, what.partition(" ")[0])
            target.out = "" if target.out else "ejected"


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    with contextlib.closing(Metrics(tmp_path_factory.mktemp("counts") / "metrics", "worker")) as metrics:
        yield metrics


@given(steps=STEPS)
@settings(deadline=None, max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow])
def test_control_judges_what_clients_saw_in_the_order_of_arrival(metrics, steps):
    async def main():
        fleet = Fleet(metrics)
        for what, which, how in steps:
            await step(fleet, what, fleet.workers[which], how)
            fleet.check()
        await fleet.quiet()
        fleet.check()
        everything = [max(worker.prefixes()) for worker in fleet.workers]
        assert fleet.seen == tuple(map(sum, zip(*everything, strict=True))), "all of it, in the end"

    asyncio.run(main())


def test_the_slowest_worker_is_cut_where_the_others_are(metrics):
    """Else its part of a second is judged now, another's later, and its own no more: in no one order."""

    async def main():
        fleet = Fleet(metrics)
        one, other = fleet.workers
        for _ in range(20):
            one.arrive(poisoned=True)
        while one.canary.asked or one.stable.asked:
            await one.answer("canary" if one.canary.asked else "stable", 0)
        fleet.wall[0] = math.floor(fleet.wall[0]) + 0.3
        one.recorder.rotate()
        fleet.wall[0] += 0.2
        other.recorder.rotate()
        for worker in (other, one):
            fleet.tell(worker, "answered")
        assert fleet.look() == (0, 0, 0, 0), "the other one may yet tell of this second"
        fleet.wall[0] += 1.0
        one.recorder.rotate()
        fleet.tell(one, "answered")
        assert fleet.look() == (0, 0, 0, 0)
        other.recorder.rotate()
        fleet.tell(other, "answered")
        canary, canary_errors, stable, stable_errors = fleet.look()
        assert (canary, stable) == (canary_errors, stable_errors)
        assert canary + stable == 20

    asyncio.run(main())
