"""A mirrored request is run, compared and told; real models, and neither sockets nor processes of ours."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import orjson
import pytest
from graphs import FLOAT, for_two_rows, graph, node, put, unary, value

from router.mirror.comparer import Comparer
from router.mirror.comparison_counts import ComparisonCounts
from router.mirror.frame import RECORDED, Frame
from router.mirror.runners import LocalRunner
from router.mirror.sampler import Sampler
from router.rollout.parser import parse_one
from serving.models.files.repository import Repository
from serving.models.runtime import Runtime
from serving.telemetry.cells import Metrics, read
from serving.wire.message import Call

STABLE, SAME, DIFFERENT, WIDER, NAN, FAILING, POOLED = (f"{name}/1" for name in "abcdefg")
ROLLOUT = parse_one("m", "stable: a/1\ncanary: {model: b/1, weight: 10}\nexamples: {inputs: true}", "test")


def concatenating():
    x, y = value("x", FLOAT, ["rows", 4]), value("y", FLOAT, ["rows", 8])
    return graph([node("Concat", ["x", "x"], ["y"], axis=1)], [x], [y])


def request(rows):
    values = np.asarray(rows, float)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(values.shape), "data": values.ravel().tolist()}
    return orjson.dumps({"inputs": [tensor]})


class Heard:
    """An observer that keeps what it is told."""

    def __init__(self):
        self.told = []

    def publish(self, mirrored):
        self.told.append(mirrored)


class Bench:
    """Loaded models; frames of what the first one answers."""

    def __init__(self, runtime):
        self.runtime = runtime

    def frame(self, rows=((1.0, 2.0, 3.0, -4.0),), stage=3, key=0):
        asked = request(rows)
        reply = self.runtime.ready[STABLE].one(Call({}, asked, 0.0))
        return Frame("m", stage, key, asked, None, reply.body, reply.json_length)

    def comparer(self, target, *observers, rollout=ROLLOUT):
        comparer = Comparer(target, LocalRunner(lambda: self.runtime.ready.get(target)), observers)
        comparer.follow(rollout)
        return comparer

    async def outcome(self, target, frame, rollout=ROLLOUT):
        """What dealing with it comes to, and what an observer is told."""
        heard = Heard()
        return await self.comparer(target, heard, rollout=rollout).deal_with(frame), heard.told


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    data = {
        STABLE: unary(), SAME: unary(), DIFFERENT: unary("Neg"), WIDER: concatenating(),
        NAN: unary("Sqrt"), FAILING: for_two_rows(), POOLED: unary(),
    }  # fmt: skip
    for target, model in data.items():
        config = "execution: pooled" if target == POOLED else "execution: inline"
        put(folder, target.partition("/")[0], 1, model, config)
    return Repository(folder)


@pytest.fixture
def on_bench(repository, tmp_path):
    """Run a coroutine function with a bench on which models are loaded."""
    metrics = Metrics(tmp_path / "metrics", "sandbox")

    @asynccontextmanager
    async def loaded(targets):
        runtime = Runtime(repository, metrics, repository.root / "verified", 1)
        for target in targets:
            await runtime.load(*target.split("/"))
        yield Bench(runtime)
        await runtime.close()

    def run(work, *targets):
        async def main():
            async with loaded({STABLE, *targets}) as bench:
                await work(bench)

        asyncio.run(main())

    run.metrics = metrics
    run.folder = tmp_path / "metrics"
    yield run
    metrics.close()


def test_two_answers_are_compared_and_told_with_all_that_was_said(on_bench):
    async def work(bench):
        frame = bench.frame()
        outcome, [told] = await bench.outcome(SAME, frame)
        assert outcome == "compared"
        assert (told.frame, told.rollout) == (frame, ROLLOUT)
        assert told.reference["y"].tolist() == told.outputs["y"].tolist() == [[1, 2, 3, -4]]
        assert [(each.output, each.kind) for each in told.comparisons] == [("y", "same")]
        assert told.inputs()["x"].tolist() == [[1, 2, 3, -4]]

    on_bench(work, SAME)


@pytest.mark.parametrize(
    ("target", "kind", "distance"), [(DIFFERENT, "value", None), (WIDER, "shape", 1.0), (NAN, "nan", 1.0)]
)
def test_what_differs_is_said(on_bench, target, kind, distance):
    async def work(bench):
        outcome, [told] = await bench.outcome(target, bench.frame())
        [comparison] = told.comparisons
        assert (outcome, comparison.same, comparison.kind) == ("compared", False, kind)
        assert distance is None or comparison.distance == distance

    on_bench(work, target)


def test_a_candidate_that_fails_is_told_with_no_outputs(on_bench):
    async def work(bench):
        outcome, [told] = await bench.outcome(FAILING, bench.frame([[1.0] * 4] * 3))
        assert (outcome, told.outputs, told.comparisons) == ("failed", None, ())
        assert list(told.reference) == ["y"]
        outcome, [told] = await bench.outcome(FAILING, bench.frame([[1.0] * 4] * 2))
        assert (outcome, told.outputs["y"].shape) == ("compared", (2, 4))

    on_bench(work, FAILING)


def test_a_candidate_that_takes_too_long_has_timed_out(on_bench, monkeypatch):
    monkeypatch.setattr("router.mirror.comparer.PATIENCE", 0.0)

    async def work(bench):
        outcome, [told] = await bench.outcome(POOLED, bench.frame())
        assert (outcome, told.outputs) == ("timeout", None)

    on_bench(work, POOLED)


def test_what_the_candidate_is_not_asked_is_dropped_and_told_to_nobody(on_bench):
    async def work(bench):
        frame = bench.frame()
        assert await bench.outcome(SAME, frame, rollout=None) == ("dropped", [])
        assert await bench.outcome("never/1", frame) == ("dropped", []), "it is not loaded"
        assert await bench.outcome(SAME, replace(frame, reference=b"<html>")) == ("dropped", [])
        assert await bench.outcome(SAME, frame) != ("dropped", [])

    on_bench(work, SAME)


def test_what_was_run_already_is_not_run_again(on_bench):
    async def work(bench):
        frame = bench.frame([[1.0] * 4] * 3)
        ran = {"y": np.zeros((3, 4), "f4")}
        heard = Heard()
        assert await bench.comparer(FAILING, heard).deal_with(frame, ran) == "compared"
        assert heard.told[0].outputs is ran

    on_bench(work, FAILING)


def test_requests_that_share_a_run_have_the_answers_that_they_have_alone(on_bench):
    async def work(bench):
        runner = LocalRunner(lambda: bench.runtime.ready.get(DIFFERENT))
        frames = [bench.frame([[float(number)] * 4]) for number in range(3)]
        frames.insert(1, replace(frames[0], request=b"{}"))
        ran = runner.run_together(frames)
        assert ran[1] is None
        together = [each["y"].tolist() for each in ran if each is not None]
        alone = [(await runner.run(frame, 10.0))["y"].tolist() for frame in frames if frame.request != b"{}"]
        assert together == alone
        assert len(alone) == 3

    on_bench(work, DIFFERENT)


def test_an_observer_that_fails_costs_the_others_nothing(on_bench):
    class Broken:
        def publish(self, mirrored):
            raise RuntimeError(mirrored.frame.model)

    async def work(bench):
        heard = Heard()
        comparer = bench.comparer(SAME, Broken(), heard)
        assert await comparer.deal_with(bench.frame()) == "compared"
        assert len(heard.told) == 1

    on_bench(work, SAME)


def test_comparisons_are_counted_by_stage_and_in_metrics(on_bench):
    async def work(bench):
        counts = ComparisonCounts(DIFFERENT, on_bench.metrics)
        comparer = bench.comparer(DIFFERENT, counts)
        zeros, ones = [[0.0] * 4], [[1.0] * 4]
        for stage, rows in ((1, zeros), (2, zeros), (2, ones)):
            await comparer.deal_with(bench.frame(rows, stage))
        counts.rotate()
        found = {stage: dict(counted.agreement) for stage, counted in counts.report(0).items()}
        assert found == {1: {"y": (1, 0)}, 2: {"y": (2, 1)}}
        series = read(on_bench.folder)["understudy_comparison"].series
        assert {labels[3]: value for labels, (value, *_) in series.items()} == {"same": 2, "different": 1}

    on_bench(work, DIFFERENT)


def test_recorded_requests_are_counted_among_the_others_and_apart(on_bench):
    async def work(bench):
        counts = ComparisonCounts(DIFFERENT, on_bench.metrics)
        comparer = bench.comparer(DIFFERENT, counts)
        live = bench.frame([[0.0] * 4])
        for frame in (live, replace(live, said=RECORDED)):
            await comparer.deal_with(frame)
        counts.rotate()
        found = counts.report(0)[3]
        assert (found.agreement, found.recorded) == ({"y": (2, 0)}, {"y": (1, 0)})

    on_bench(work, DIFFERENT)


def test_an_answer_that_never_came_is_a_difference_in_what_is_judged(on_bench):
    async def work(bench):
        counts = ComparisonCounts(FAILING, on_bench.metrics)
        await bench.comparer(FAILING, counts).deal_with(bench.frame([[1.0] * 4] * 3))
        counts.rotate()
        assert counts.report(0)[3].agreement == {"y": (1, 1)}
        series = read(on_bench.folder)["understudy_comparison"].series
        assert {labels[3]: value for labels, (value, *_) in series.items()} == {"failed": 1}

    on_bench(work, FAILING)


def test_a_sticky_key_is_compared_once(on_bench):
    sticky = parse_one("m", "stable: a/1\ncanary: {model: b/1, weight: 10}\nsticky: {header: x-user}", "test")

    async def work(bench):
        counts = ComparisonCounts(SAME, on_bench.metrics)
        comparer = bench.comparer(SAME, counts, rollout=sticky)
        for key in (7, 7, 8, 0, 0):
            await comparer.deal_with(bench.frame(key=key))
        counts.rotate()
        assert counts.report(0)[3].agreement == {"y": (4, 0)}

    on_bench(work, SAME)


def test_examples_are_kept_of_what_differs_with_the_inputs_where_the_document_says_so(on_bench):
    async def work(bench):
        for rules, wanted in (("{inputs: true}", [[1.0, 2.0, 3.0, -4.0]]), ("{inputs: false}", None)):
            document = f"stable: a/1\ncanary: {{model: b/1, weight: 10}}\nexamples: {rules}"
            rollout = parse_one("m", document, "test")
            sampler = Sampler("here", "m", DIFFERENT)
            sampler.follow(rollout.examples)
            await bench.comparer(DIFFERENT, sampler, rollout=rollout).deal_with(bench.frame())
            [example] = sampler.give(0.0, 0)
            assert (example.output, example.verdict, example.stage) == ("y", "different", 3)
            assert (example.reference, example.candidate) == ((1, 2, 3, -4), (-1, -2, -3, 4))
            asked = None if example.request is None else [each["data"] for each in example.request["inputs"]]
            assert asked == wanted

    on_bench(work, DIFFERENT)


def test_no_examples_are_kept_of_a_failure_or_where_the_document_wants_none(on_bench):
    nothing = parse_one("m", "stable: a/1\ncanary: {model: b/1, weight: 10}\nexamples: {keep: 0}", "test")

    async def work(bench):
        sampler = Sampler("here", "m", FAILING)
        await bench.comparer(FAILING, sampler).deal_with(bench.frame([[1.0] * 4] * 3))
        await bench.comparer(FAILING, sampler, rollout=nothing).deal_with(bench.frame([[1.0] * 4] * 2))
        assert sampler.give(0.0, 0) == []
        assert not sampler.seen

    on_bench(work, FAILING)
