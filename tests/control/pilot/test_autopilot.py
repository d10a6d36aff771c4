"""A canary that fails is looked at without waiting for the clock."""

import asyncio

import orjson
import pytest

from control.fleet.nodes import Nodes
from control.pilot import autopilot as module
from control.pilot.autopilot import Autopilot
from control.pilot.examiner import Examiner
from control.pilot.prometheus import Prometheus
from control.rollouts.catalogue import Catalogue
from control.rollouts.writer import Actor, Door
from control.store.store import Store
from harness.system import MODELS
from router.counting.stage_counts import RoleCounts, StageCounts, to_json
from router.rollout.parser import parse_one
from router.wire.report import Report
from serving.telemetry.cells import Metrics

DOCUMENT = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "weight": 10},
    "guards": {"errors": {"maxRatio": 1.5}},
}
ANNA = Actor("anna", "api")


def report(requests, errors, stage):
    canary = RoleCounts(requests, requests, errors, errors)
    counts = to_json(StageCounts(0.1, RoleCounts(100, 100), canary))
    row = {"model": "digits", "stage": stage, "counts": counts}
    return Report(instance="w", node="n", kind="worker", revision=1, wait=0, counts=[row])


async def until(condition):
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.005)


@pytest.fixture
def store(tmp_path):
    return Store(f"sqlite:///{tmp_path}/state.db")


@pytest.fixture
def nodes():
    return Nodes()


@pytest.fixture
def examiner(nodes, tmp_path):
    metrics = Metrics(tmp_path / "metrics", "control")
    yield Examiner(nodes, Prometheus(""), metrics)
    metrics.close()


@pytest.fixture
def plane(store, nodes, examiner, verified):
    door = Door(store, Catalogue(MODELS, verified))
    return door, nodes, Autopilot(door, nodes, examiner)


async def flying(plane, story):
    door, _, autopilot = plane
    await door.open()
    await door.put([parse_one("digits", orjson.dumps(DOCUMENT), "test")], ANNA, "try it")
    running = asyncio.create_task(autopilot.run())
    try:
        async with asyncio.timeout(60):
            await story(door.get("digits").progress.stage)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_harm_is_acted_on_before_the_next_tick(plane, monkeypatch):
    monkeypatch.setattr(module, "TICK_SECONDS", 3600.0)
    door, nodes, autopilot = plane

    async def story(stage):
        revision = door.snapshot.revision
        autopilot.look_soon(nodes.hear(report(8, 6, stage), 0.0))
        assert await door.newer_than(revision, 15.0) is not None
        assert door.get("digits").progress.phase == "rolled_back"

    asyncio.run(flying(plane, story))


def test_effects_are_reckoned_for_what_is_kept_and_not_at_each_look(plane, monkeypatch, examiner, store):
    monkeypatch.setattr(module, "TICK_SECONDS", 0.02)
    door, nodes, autopilot = plane

    async def story(stage):
        nodes.hear(report(8, 1, stage), 0.0)
        await until(lambda: "digits" in examiner.judgements)
        looked = examiner.judgements["digits"]
        await until(lambda: examiner.judgements["digits"] is not looked)
        assert looked.guards[0].tell_effect.cache_info().misses == 0
        autopilot.look_soon(nodes.hear(report(8, 6, stage), 0.0))
        await until(lambda: door.get("digits").progress.phase == "rolled_back")
        kept = store.history("digits")[0].evidence["guards"][0]["effect"]
        assert (kept["unit"], kept["least"] > 1.5) == ("ratio", True)

    asyncio.run(flying(plane, story))


def test_failures_of_a_name_that_is_not_served_are_nobodys(plane, monkeypatch):
    monkeypatch.setattr(module, "TICK_SECONDS", 0.2)
    door, nodes, autopilot = plane

    async def story(stage):
        revision = door.snapshot.revision
        autopilot.look_soon({"gone"})
        nodes.hear(report(8, 6, stage), 0.0)
        assert await door.newer_than(revision, 15.0) is not None, "ticks go on"

    asyncio.run(flying(plane, story))
