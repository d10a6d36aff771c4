"""A route with several candidates: whatever comes, each request is counted once, where its draw says."""

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.rows import body
from harness.search import examples
from harness.system import MODELS
from router.answered import Answered
from router.counting.abreast import Abreast
from router.counting.receipt import SECRET_BYTES, ReceiptKey, Receipts, read
from router.counting.recorder import StageRecorder
from router.counting.slices import UNTIMED
from router.metrics import FAILOVER
from router.mirror.mirrors import Mirror
from router.route import Route
from router.sides import several
from router.sides.retry_budget import RetryBudget
from router.sides.several import Several
from router.sides.side import TARGET_HEADER, Side
from router.targets.targets import LocalTarget
from serving.errors import BadGateway, Forbidden, InvalidInput
from serving.models.files.repository import Repository
from serving.models.runtime import Runtime
from serving.telemetry import cells
from serving.telemetry.cells import Metrics
from serving.wire.handler import status_of
from serving.wire.message import Call, Reply

WEIGHTS = (20.0, 5.0, 30.0)
NUMBERS = (1, 2, 4)  # the third of the document was taken off
STABLE = len(WEIGHTS)
ALL = (1 << len(WEIGHTS)) - 1
KEY = ReceiptKey(7, b"s" * SECRET_BYTES, 0.0)


class Told(LocalTarget):
    """A model of this process under another name, that is away, late or failing when it is told to."""

    def __init__(self, served, name: str) -> None:
        super().__init__(served)
        self.key = self.model = name
        self.away = self.late = self.fails = False
        self.waiting: list[asyncio.Future[bool]] = []
        self.one = self._one
        self.joins = False

    def refusal(self, now: float):  # noqa: ARG002
        return "not_ready" if self.away else ""

    async def _one(self, call: Call) -> Reply:
        fails = self.fails
        if self.late:
            gate = asyncio.get_running_loop().create_future()
            self.waiting.append(gate)
            fails = await gate
        if fails:
            raise BadGateway("broken")
        return self.served.one(call)


class Bench:
    """A route to four copies of one model, and what its sinks and clients were told."""

    def __init__(self, served, metrics: Metrics, naming=None) -> None:
        self.stable = Told(served, "m/1")
        self.arms = [Told(served, f"m/{number + 1}") for number in NUMBERS]
        recorders = [StageRecorder("m", 3, 0.5, candidate=arm.key) for arm in self.arms]
        self.counts = Abreast(recorders, UNTIMED)
        sides = tuple(Side(metrics, "m", arm, n) for arm, n in zip(self.arms, NUMBERS, strict=True))
        receipts = Receipts("n", 0)
        receipts.key = KEY
        self.heard: list[Answered] = []
        self.mirrored: list[Answered] = []
        self.route = Route(
            "m", self.stable, None, weight=0.0, arms=sides, sinks=(self, Mirror(_Sink(self.mirrored), 1.0)),
            sticky_header=None, timeout_seconds=10.0, recorder=recorders[0], metrics=metrics,
            budget=RetryBudget(), stamp=receipts.of("m", 3), naming=naming,
        )  # fmt: skip
        self.handler = self.route.drawn_by(Several(sides, WEIGHTS, self.counts).choose)

    def offer(self, answered: Answered) -> None:
        self.heard.append(answered)

    async def ask(self, name: bytes = b"") -> Reply:
        outcome = self.handler.one(Call({TARGET_HEADER: name} if name else {}, body(1), 0.0))
        return outcome if isinstance(outcome, Reply) else await outcome


class _Sink:
    def __init__(self, kept: list[Answered]) -> None:
        self.offer = kept.append


@pytest.fixture(scope="module")
def benches() -> Iterator[object]:
    """Makes benches in the event loop of the whole file."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        metrics = stack.enter_context(contextlib.closing(Metrics(Path(folder) / "metrics", "worker")))
        runner = stack.enter_context(asyncio.Runner())
        runtime = Runtime(Repository(MODELS), metrics, Path(folder) / "verified", 1)
        served = runner.run(runtime.load("digits", "1"))

        def run(work, **options) -> None:
            async def main() -> None:
                await work(Bench(served, metrics, **options))

            runner.run(main())

        run.folder = Path(folder) / "metrics"
        yield run
        runner.run(runtime.close())


@contextlib.contextmanager
def drawn(*points: float) -> Iterator[None]:
    """The next draws come out so."""
    ahead = iter(points)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(several, "random", lambda: next(ahead))
        yield


def middle(place: int) -> float:
    """A point in the share of a side."""
    return (sum(WEIGHTS[:place]) + (WEIGHTS[place] if place < STABLE else 1.0) / 2) / 100


ASK = st.tuples(st.just("ask"), st.integers(0, STABLE), st.integers(0, ALL), st.booleans())
END = st.tuples(st.just("end"), st.integers(0, 99), st.just(0), st.booleans())
LEAVE = st.tuples(st.just("leave"), st.integers(0, 99), st.just(0), st.just(False))
ROTATE = st.tuples(st.just("rotate"), st.just(0), st.just(0), st.just(False))
STEPS = st.lists(st.one_of(ASK, ASK, ASK, END, LEAVE, ROTATE), max_size=40)


@settings(
    max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
def test_each_draw_is_counted_once_where_it_fell_whatever_became_of_it(benches, steps):
    async def work(bench: Bench) -> None:
        asked: list[tuple[int, int, asyncio.Task[Reply]]] = []
        for kind, number, ready, late in steps:
            gates = [g for t in (*bench.arms, bench.stable) for g in t.waiting if not g.done()]
            if kind == "ask":
                for place, arm in enumerate(bench.arms):
                    arm.away, arm.late = not ready >> place & 1, late
                bench.stable.late = late
                with drawn(middle(number)):
                    task = asyncio.create_task(bench.ask())
                    await asyncio.sleep(0)
                asked.append((number, ready, task))
            elif kind == "end" and gates:
                gates[number % len(gates)].set_result(late)
            elif kind == "leave" and asked:
                asked[number % len(asked)][2].cancel()
            elif kind == "rotate":
                bench.counts.rotate()
            await asyncio.sleep(0)
        while gates := [g for t in (*bench.arms, bench.stable) for g in t.waiting if not g.done()]:
            gates[0].set_result(False)
            await asyncio.sleep(0)
        await asyncio.gather(*(task for *_, task in asked), return_exceptions=True)
        await asyncio.sleep(0)
        bench.counts.rotate()
        found = [recorder.settled for recorder in bench.counts.recorders]
        for place, counts in enumerate(found):
            drawn_here = [side for side, ready, _ in asked if side == place and ready >> place & 1]
            to_stable = [side for side, ready, _ in asked if side == STABLE and ready >> place & 1]
            assert (counts.canary.requests, counts.stable.requests) == (len(drawn_here), len(to_stable))
        in_evidence = [ready for side, ready, _ in asked if side < STABLE and ready >> side & 1]
        assert sum(counts.canary.requests for counts in found) == len(in_evidence)
        assert len(bench.heard) == len(asked), "each is told once"
        _judge_what_was_told(bench, asked)

    benches(work)


def _judge_what_was_told(bench: Bench, asked) -> None:
    """What sinks heard, and receipts say, is as the draws were."""
    expected = Counter(
        ("stable", 0, ready == ALL)
        if side == STABLE
        else ("canary", NUMBERS[side], ready == ALL)
        if ready >> side & 1
        else (None, 0, True)
        for side, ready, task in asked
    )
    told = Counter()
    for each in bench.heard:
        if each.receipt:
            said = read(each.receipt.decode(), {KEY.id: KEY})
            told[said.drawn, said.candidate, said.anew] += 1
            assert (said.drawn, said.role) == (each.drawn, each.role)
            if each.drawn == "canary":
                assert said.candidate == each.number
    left = len(asked) - told.total()
    assert left == sum(status_of(each.outcome) == 499 for each in bench.heard)
    assert (expected - told).total() == left
    assert not told - expected


@pytest.mark.parametrize("place", range(STABLE + 1))
def test_the_answer_the_receipt_and_the_sinks_name_the_side_that_was_drawn(benches, place):
    async def work(bench: Bench) -> None:
        target = [*bench.arms, bench.stable][place]
        with drawn(middle(place)):
            reply = await bench.ask()
        assert reply.headers.startswith(TARGET_HEADER + b": " + target.key.encode())
        await asyncio.sleep(0)
        [heard] = bench.heard
        role, number = ("stable", 0) if place == STABLE else ("canary", NUMBERS[place])
        said = read(heard.receipt.decode(), {KEY.id: KEY})
        assert (heard.target, heard.role, heard.drawn) == (target.key, role, role)
        assert (said.drawn, said.role, said.candidate, said.anew) == (role, role, number, True)
        assert [each.target for each in bench.mirrored] == ([target.key] if place == STABLE else [])

    benches(work)


def failovers(folder: Path) -> float:
    """Of the third candidate, since it failed."""
    found = cells.read(folder).get(FAILOVER.name)
    return 0.0 if found is None else found.series.get(("m", "m/5", "failed"), [0.0])[0]


def test_one_that_fails_costs_its_client_nothing_and_says_whose_draw_it_was(benches):
    async def work(bench: Bench) -> None:
        bench.arms[2].fails, before = True, failovers(benches.folder)
        with drawn(middle(2)):
            reply = await bench.ask()
        assert reply.headers.startswith(TARGET_HEADER + b": m/1")
        await asyncio.sleep(0)
        [heard] = bench.heard
        said = read(heard.receipt.decode(), {KEY.id: KEY})
        assert (said.drawn, said.role, said.candidate) == ("canary", "stable", 4)
        assert (heard.drawn, heard.role, heard.number) == ("canary", "stable", 4)
        bench.counts.rotate()
        found = [recorder.settled for recorder in bench.counts.recorders]
        assert [counts.canary.errors for counts in found] == [0, 0, 1]
        assert [counts.stable.requests for counts in found] == [0, 0, 0]
        assert failovers(benches.folder) == before + 1

    benches(work)


def test_clients_name_a_candidate_by_its_model_and_no_canary(benches):
    async def work(bench: Bench) -> None:
        reply = await bench.ask(b"m/3")
        assert reply.headers.startswith(TARGET_HEADER + b": m/3")
        assert (await bench.ask(b"stable")).headers.startswith(TARGET_HEADER + b": m/1")
        with pytest.raises(InvalidInput) as refused:
            await bench.ask(b"canary")
        assert str(refused.value) == (
            "x-understudy-target 'canary' is not one target: 'm' has several candidates;"
            " known: stable, m/1, m/2, m/3, m/5"
        )
        with pytest.raises(InvalidInput, match="'m/9' is not a target of 'm'; known: stable, m/1, m/2"):
            await bench.ask(b"m/9")
        await asyncio.sleep(0)
        told = [(each.drawn, each.number, each.forced) for each in bench.heard if not each.refused]
        assert sorted(told, key=str) == [(None, 1, True), (None, 2, True)]
        bench.counts.rotate()
        assert all(not recorder.settled.canary.requests for recorder in bench.counts.recorders)

    benches(work)


def test_who_may_not_name_candidates_is_refused_each_of_them(benches):
    async def work(bench: Bench) -> None:
        for name in (b"m/2", b"m/3", b"m/5"):
            with pytest.raises(Forbidden):
                await bench.ask(name)

    benches(work, naming=lambda _: "not yours")
