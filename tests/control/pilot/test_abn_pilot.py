"""An A/B/n test as the autopilot moves it: real door, store, examiner, judge; reports as of nodes."""

import asyncio

import numpy as np
import orjson
import pytest

from control.fleet.nodes import Nodes
from control.judging.outcomes.best import BestOf, BestSide
from control.pilot.autopilot import Autopilot
from control.pilot.examiner import TICK_SECONDS, Examiner
from control.pilot.prometheus import Prometheus
from control.rollouts.catalogue import Catalogue
from control.rollouts.events import Abort, Promote
from control.rollouts.writer import ANY, Actor, Door
from control.store.store import Store
from harness.system import MODELS
from router.counting.stage_counts import RoleCounts, StageCounts, to_json
from router.rollout.parser import parse_one
from router.wire.report import Report
from serving.telemetry.cells import Metrics, read

ANNA = Actor("anna", "api")
LABEL = "agreement:label"
DOCUMENT = {
    "stable": "digits/1",
    "candidates": [{"model": f"digits/{version}", "weight": 20} for version in (2, 3, 4)],
    "guards": {"errors": {"maxRatio": 1.5}, "agreement": {"output": "label", "min": 0.95, "mode": "observe"}},
    "outcomes": {"paid": {"kind": "binary", "within": "1h"}},
    "best": {"outcome": "paid", "max": "20s"},
}


class Flight:
    """A control over one database, and the workers that report to it."""

    def __init__(self, folder, catalogue) -> None:
        self.folder, self.catalogue, self.now, self.life = folder, catalogue, 1000.0, 0
        self.found: str = ""
        self.start()

    def start(self) -> None:
        """A control that takes over, with what the one before left in the store."""
        self.life += 1
        self.store = Store(f"sqlite:///{self.folder}/state.db")
        self.nodes = Nodes()
        self.metrics = Metrics(self.folder / f"metrics{self.life}", "control")
        self.examiner = Examiner(self.nodes, Prometheus(""), self.metrics, best_of=self.best_of)
        self.door = Door(self.store, self.catalogue)
        self.pilot = Autopilot(self.door, self.nodes, self.examiner, clock=lambda: self.now)

    async def open(self) -> None:
        await self.door.open()
        self.examiner.take_up(self.store.evidence())

    async def put(self, document=DOCUMENT) -> None:
        await self.door.put([parse_one("digits", orjson.dumps(document), "test")], ANNA, "try them")

    def best_of(self, entry):
        keys = [entry.progress.stable.key, *(each.target.key for each in entry.rollout.candidates)]
        on = {entry.progress.stable.key, *(arm.target for _, arm in entry.progress.on)}
        sides = tuple(BestSide(key, key in on, 10.0, 10.0, 1.0) for key in keys)
        found = keys.index(self.found) if self.found else None
        return BestOf("paid", sides, np.zeros((len(keys), len(keys))), 5.0, found, found or 0)

    def report(self, errors=(0, 0, 0), warm=(), requests=400, stable=800) -> set[str]:
        """What a worker counted of each candidate in the present stage, beside those at stable."""
        rows = []
        for arm, one in zip(self.served.arms, self.served.each(), strict=True):
            failed = errors[arm.number - 1]
            canary = RoleCounts(requests, requests, failed, failed)
            counts = StageCounts(one.weight / 100, RoleCounts(stable, stable, 4, 4), canary)
            row = {"model": "digits", "stage": one.stage, "candidate": arm.target.key}
            rows.append({**row, "counts": to_json(counts)})
        loaded = [
            {
                "model": "digits",
                "target": key,
                "role": "warm",
                "ready": True,
                "sha256": self.served.digests[key],
            }
            for key in warm
        ]
        common = {"instance": "w", "node": "n", "kind": "worker", "revision": 10**6, "wait": 0}
        return self.nodes.hear(Report(**common, counts=rows, targets=loaded), self.now)

    async def tick(self, times=1) -> None:
        for _ in range(times):
            self.now += 1.0
            await self.pilot.tick()

    def compared(self) -> set[str]:
        """Of whom the metrics say how far they are from being shown the best."""
        series = read(self.folder / f"metrics{self.life}").get("understudy_best_evidence")
        return set() if series is None else {labels[1] for labels in series.series}

    @property
    def served(self):
        return self.door.snapshot.rollouts["digits"]

    @property
    def progress(self):
        return self.door.get("digits").progress

    @property
    def rows(self):
        return self.store.history("digits")


@pytest.fixture
def flight(tmp_path, verified):
    flight = Flight(tmp_path, Catalogue(MODELS, verified))
    yield flight
    flight.metrics.close()


def test_one_that_does_harm_is_taken_off_and_the_others_go_on(flight):
    async def story():
        await flight.open()
        await flight.put()
        assert flight.report((0, 60, 0)) == {"digits"}, "it is looked at soon"
        await flight.tick()
        assert [arm.target.key for arm in flight.served.arms] == ["digits/2", "digits/4"]
        row = flight.rows[0]
        assert (row.event, row.actor, row.evidence["candidate"]) == ("taken_off", "autopilot", "digits/3")
        assert row.evidence["stages"] == [1, 1]
        assert row.reason.startswith("digits/3 was taken off: errors: harmful: ")
        assert "needed 300" in row.reason, "K m / alpha, with one enforced guard"
        flight.report()
        await flight.tick()
        assert flight.examiner.arms["digits"].keys() == {"digits/2", "digits/4"}
        guards = {labels[1] for labels in read(flight.folder / "metrics1")["understudy_guard_line"].series}
        assert guards == {f"{key}: {name}" for key in ("digits/2", "digits/4") for name in ("errors", LABEL)}
        assert flight.compared() == {"digits/1", "digits/2", "digits/4"}

    asyncio.run(story())


def test_with_the_last_one_it_is_rolled_back(flight):
    async def story():
        await flight.open()
        await flight.put()
        for errors in ((60, 60, 60),) * 3:
            flight.report(errors)
            await flight.tick()
        assert flight.progress.phase == "rolled_back"
        assert flight.rows[0].event == "rolled_back"
        await flight.tick()
        assert flight.examiner.arms == {}
        await flight.tick()
        assert flight.compared() == set()

    asyncio.run(story())


def test_what_was_found_of_each_is_kept_and_taken_up(flight):
    async def story():
        await flight.open()
        await flight.put()
        flight.report((9, 0, 0))
        await flight.tick()
        flight.now += TICK_SECONDS
        await flight.tick()
        kept = flight.store.evidence()["digits"]
        assert kept["candidates"].keys() == {"digits/2", "digits/3", "digits/4"}
        before = flight.examiner.arms["digits"]["digits/2"].guards[0].log_harm
        assert before > 0.0
        flight.metrics.close()
        flight.start()
        await flight.open()
        flight.report((9, 0, 0))  # so much was counted when it took over
        flight.report((9, 0, 0), requests=410, stable=820)
        await flight.tick()
        assert flight.progress.phase == "comparing"
        after = flight.examiner.arms["digits"]
        assert after["digits/2"].guards[0].log_harm == pytest.approx(before, abs=1.0)
        assert after["digits/2"].guards[0].log_harm > after["digits/3"].guards[0].log_harm

    asyncio.run(story())


def test_a_person_promotes_one_and_the_workers_load_it(flight):
    async def story():
        await flight.open()
        await flight.put()
        await flight.door.act("digits", Promote("why not", "digits/4"), ANNA, ANY)
        flight.report()
        await flight.tick()
        assert flight.progress.phase == "promoting"
        flight.report(warm=["digits/4"])
        await flight.tick()
        assert (flight.progress.phase, flight.progress.stable.key) == ("promoted", "digits/4")
        await flight.door.act("digits", Abort("back"), ANNA, ANY)
        assert flight.progress.stable.key == "digits/1"

    asyncio.run(story())


@pytest.mark.parametrize("promote", [False, True])
def test_the_best_is_told_of_once_and_promoted_where_the_document_says_so(flight, promote):
    async def story():
        await flight.open()
        await flight.put({**DOCUMENT, "best": {"outcome": "paid", "promote": promote}})
        await flight.tick()
        flight.found = "digits/3"
        await flight.tick(3)
        [row] = [row for row in flight.rows if row.actor == "autopilot"]
        assert row.event == ("promoting" if promote else "best_found")
        assert row.evidence["sides"][2]["target"] == "digits/3"
        assert flight.progress.best == "digits/3"

    asyncio.run(story())


def test_draws_that_did_not_fall_as_they_should_name_no_best(flight):
    async def story():
        await flight.open()
        await flight.put()
        flight.found = "digits/3"
        flight.report(requests=4000, stable=400)
        await flight.tick()
        assert flight.examiner.arms["digits"]["digits/2"].hold is not None
        assert flight.progress.best == ""

    asyncio.run(story())


def test_without_a_best_it_ends_when_its_time_is_over(flight):
    async def story():
        await flight.open()
        await flight.put()
        await flight.tick(22)
        assert flight.progress.waited_seconds == 0.0, "no node serves it"
        for _ in range(20):
            flight.report()
            await flight.tick()
        assert (flight.progress.phase, flight.progress.reason) == ("ended", "undecided after 20s")
        assert flight.served.arms == ()

    asyncio.run(story())
