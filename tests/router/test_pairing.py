"""In a canary's sandbox: stable is loaded beside it when latency is guarded, and both are timed."""

import asyncio
import contextlib
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness.rows import body
from harness.system import MODELS
from router.counting.pairs import BASELINE_PAIRS, WARM_PAIRS
from router.mirror.frame import Frame
from router.pairing import Pairing
from router.rollout.parser import parse_one
from router.rollout.snapshot import Candidate, ServedRollout
from router.settings import SandboxSettings
from serving.document import DocumentError
from serving.models.files.repository import Repository
from serving.models.files.repository import read as read_files
from serving.models.runtime import Runtime
from serving.telemetry.cells import Metrics, read

DOCUMENT = """
stable: digits/1
canary: {model: digits/2, weight: 10}
guards: {latency: {maxRatio: 1.25, mode: observe}}
"""


def rollout_of(document=DOCUMENT, stage=3, **others):
    rollout = parse_one("digits", document, "test")
    return ServedRollout(rollout, stage, rollout.stable, rollout.canary.target, **others)


def frame(stage=3, request=None):
    return Frame("digits", stage, 0, body(0) if request is None else request, None, b"", None, timed=True)


async def until(condition, seconds=60):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (what is waited for is inside the code under test)
            await asyncio.sleep(0.01)


@pytest.fixture
def limits():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


class Bench:
    """A candidate that is loaded, and its pairs."""

    def __init__(self, folder, metrics):
        self.folder, self.metrics = folder, metrics
        shutil.copytree(MODELS / "digits", folder / "models" / "digits")
        self.settings = SandboxSettings(
            models=folder / "models", state_dir=folder / "state", sandbox_model="digits",
            sandbox_target="digits/2", threads=1,
        )  # fmt: skip
        self.candidate = Candidate("digits", rollout_of().canary, live=True)
        self.served = None
        self.pairing = Pairing(self.settings, self.candidate, lambda: self.served, metrics)

    async def load(self):
        repository = Repository(Path(self.settings.models.named[0]))
        self.runtime = Runtime(repository, self.metrics, self.settings.state_dir / "verified", 1)
        self.served = await self.runtime.load("digits", "2")

    def outcomes(self):
        series = read(self.folder / "metrics")["understudy_pairs"].series
        return {labels[2]: value for labels, (value, *_) in series.items()}


@pytest.fixture
def bench(tmp_path, limits):
    (tmp_path / "metrics").mkdir()
    with contextlib.closing(Metrics(tmp_path / "metrics", "sandbox")) as metrics:
        yield Bench(tmp_path, metrics)


def test_pairs_are_timed_when_nobody_waits_and_counted_by_stage(bench, monkeypatch):
    monkeypatch.setattr("router.pairing.PAIR_SECONDS", 0.0)
    monkeypatch.setattr("router.pairing.SHARE", 1.0)

    async def main():
        await bench.load()
        pairing = bench.pairing
        pairing.offer(frame())
        assert bench.outcomes()["dropped"] == 1, "nothing to run it beside"
        pairing.follow(rollout_of())
        await until(lambda: pairing._stable is not None)
        pairing.client_came()
        pairing.offer(frame())
        pairing.offer(frame())
        await asyncio.sleep(0.05)
        assert bench.outcomes() == {"timed": 0, "failed": 0, "dropped": 2}, "a client waits"
        pairing.client_went()
        await until(lambda: bench.outcomes()["timed"] == 1)
        pairing.offer(frame(stage=2))
        assert bench.outcomes()["dropped"] == 3, "of a stage that is over"
        pairing.offer(frame(request=b"{}"))
        await until(lambda: bench.outcomes()["failed"] == 1)
        for number in range(2, WARM_PAIRS + 41):
            pairing.offer(frame())
            await until(lambda number=number: bench.outcomes()["timed"] == number)
        counts = pairing.counts()[3]
        assert (counts.pairs, counts.baseline, counts.tail_pairs) == (40, 40, 0)
        assert BASELINE_PAIRS > 40
        pairing.follow(replace(rollout_of(), canary=None))
        assert pairing._stable is None
        assert pairing.counts()[3] == counts, "what was counted stays"
        await bench.runtime.close()

    asyncio.run(main())


def test_stable_whose_bytes_are_not_those_accepted_is_not_timed_and_the_reason_is_told(bench):
    async def main():
        await bench.load()
        bench.pairing.follow(rollout_of(digests={"digits/1": "0" * 64}))
        await until(lambda: bench.pairing.problem)
        assert bench.pairing.problem.startswith(
            "stable cannot be loaded beside the canary: digits/1: its files"
        )
        pinned = read_files(Repository(Path(bench.settings.models.named[0])).find("digits", "1")).sha256
        bench.pairing.follow(rollout_of(digests={"digits/1": pinned}))
        await until(lambda: bench.pairing._stable is not None)
        assert bench.pairing.problem == ""
        bench.pairing.close()
        await bench.runtime.close()

    asyncio.run(main())


def test_stables_memory_comes_on_top_of_the_sandboxs(bench):
    async def main():
        await bench.load()
        bench.pairing.follow(rollout_of())
        await until(lambda: bench.pairing._stable is not None)
        limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
        assert bench.settings.sandbox_memory <= limit < 1.2 * bench.settings.sandbox_memory
        bench.pairing.close()
        await bench.runtime.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("document", "pairs", "times"),
    [
        (DOCUMENT, True, False),
        (DOCUMENT.replace("model: digits/2", "model: digits/2, url: 'http://far:1'"), False, True),
        (DOCUMENT.replace("stable: digits/1", "stable: {model: digits/1, url: 'http://far:1'}"), False, True),
        (DOCUMENT.replace("latency: {maxRatio: 1.25, mode: observe}", "errors: {max: 1%}"), False, False),
    ],
)
def test_latency_is_timed_in_pairs_or_where_a_side_is_at_a_url_by_answers(document, pairs, times):
    served = rollout_of(document)
    assert (served.paired_for is not None, served.times_answers) == (pairs, times)
    without = replace(served, canary=None)
    assert (without.paired_for, without.times_answers) == (None, False)


def test_speed_alone_is_timed_in_pairs_and_counted_against_its_own_limit(bench, monkeypatch):
    monkeypatch.setattr("router.pairing.PAIR_SECONDS", 0.0)
    monkeypatch.setattr("router.pairing.SHARE", 1.0)
    document = DOCUMENT.replace("latency: {maxRatio: 1.25, mode: observe}", "speed: {min: 1000}")

    async def main():
        await bench.load()
        pairing = bench.pairing
        pairing.follow(rollout_of(document))
        await until(lambda: pairing._stable is not None)
        for number in range(1, WARM_PAIRS + 11):
            pairing.offer(frame())
            await until(lambda number=number: bench.outcomes()["timed"] == number)
        assert pairing.counts()[3].lagging == (0,) * 10 + (1,), "no model is a thousand times as fast"
        pairing.close()
        await bench.runtime.close()

    asyncio.run(main())


def test_speed_of_a_side_behind_a_url_is_refused():
    document = DOCUMENT.replace("latency: {maxRatio: 1.25, mode: observe}", "speed: {min: 1.3}")
    with pytest.raises(DocumentError, match=r"digits/2@http://far:1 is behind a URL: leave out speed"):
        rollout_of(document.replace("model: digits/2", "model: digits/2, url: 'http://far:1'"))
