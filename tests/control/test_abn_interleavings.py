"""Edits, looks, reports and take-overs of an A/B/n test in any order, on the real door, store and autopilot.

Law: who is taken off is so by what was counted of that candidate, in stages in which it had its share; and
who is promoted as the best was found so there. What one does leaves the others where they are.
"""

import asyncio
import itertools
from dataclasses import dataclass, field

import numpy as np
import orjson
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from control.judging.outcomes.best import BestOf, BestSide
from control.rollouts.catalogue import Catalogue
from control.rollouts.events import Abort, Promote, Resume
from control.rollouts.state import from_json
from control.rollouts.writer import Door, Entry
from control.store.store import Revision
from harness.interleaved import ANNA, CLOCK, Moves
from harness.search import examples
from router.counting.stage_counts import RoleCounts, StageCounts, to_json
from router.rollout.parser import parse_one
from router.wire.report import Report
from serving.telemetry.cells import Metrics

NUMBERS = itertools.count()
HARMFUL, BEST = "digits/3", "digits/2"
PEOPLE = {"resume": Resume(), "abort": Abort("no"), "promote": Promote("yes", "digits/4")}


def document(versions: str, seconds: int) -> dict:
    """A test of these versions; with 4 alone, that is a canary."""
    candidates = [{"model": f"digits/{version}", "weight": 20} for version in versions]
    who = {"candidates": candidates, "best": {"outcome": "paid", "promote": seconds % 2 == 0}}
    return {
        "stable": "digits/1",
        **({"canary": candidates[0]} if versions == "4" else who),
        "guards": {"errors": {"maxRatio": 1.5}},
        "outcomes": {"paid": {"kind": "binary", "within": "1h"}},
        "timeout": f"{seconds}s",
    }


@dataclass
class Fleet:
    """What the data plane really saw, by stage: the truth that rows of the audit log are held against."""

    served: dict[int, set[str]] = field(default_factory=dict)
    counted: set[tuple[int, str]] = field(default_factory=set)

    def follow(self, door: Door) -> None:
        served = door.snapshot.rollouts["digits"]
        self.served.setdefault(served.stage, {arm.target.key for arm in served.arms})
        assert self.served[served.stage] == {arm.target.key for arm in served.arms}


class Story(Moves):
    people = PEOPLE

    def __init__(self, url: str, catalogue: Catalogue, metrics: Metrics) -> None:
        super().__init__(url, catalogue, metrics, best_of=self.best_of)
        self.fleet = Fleet()
        self._seconds = 1

    def follow(self, door: Door) -> None:
        self.fleet.follow(door)

    def best_of(self, entry: Entry) -> BestOf:
        """By outcomes, as they are in the database: of what was counted whoever leads."""
        progress = entry.progress
        keys = [progress.stable.key, *(each.target.key for each in entry.rollout.candidates)]
        stages = range(progress.judged_from, progress.stage + 1)
        known = BEST in keys and any((stage, BEST) in self.fleet.counted for stage in stages)
        on = {progress.stable.key, *(arm.target for _, arm in progress.on)}
        sides = tuple(BestSide(key, key in on, 9.0, 9.0, 1.0) for key in keys)
        found = keys.index(BEST) if known and BEST in on else None
        return BestOf("paid", sides, np.zeros((len(keys), len(keys))), 5.0, found, found)

    async def tell(self, moves: list[str]) -> None:
        await self.take_over()
        await self.edit("234")
        for move in moves:
            match move.split():
                case ["edit", versions]:
                    self.begin(self.edit(versions))
                case words:
                    await self.move(words)
            await asyncio.sleep(0.001)
        await self.settle()

    async def edit(self, versions: str) -> None:
        self._seconds += 1
        text = orjson.dumps(document(versions, self._seconds))
        await self.now.door.put([parse_one("digits", text, "t")], ANNA, "edit")

    async def report(self) -> None:
        """What workers count of each who is on: one of them fails. They load what is to be promoted."""
        served = self.now.door.snapshot.rollouts["digits"]
        self.tell_counts(served.stage)

    async def report_late(self) -> None:
        self.tell_counts(min(self.fleet.served))

    def tell_counts(self, stage: int) -> None:
        rows = []
        for key in sorted(self.fleet.served[stage]):
            errors = 400 if key == HARMFUL else 0
            counts = StageCounts(0.25, RoleCounts(3000, 3000, 9, 9), RoleCounts(1000, 1000, errors, errors))
            rows.append({"model": "digits", "stage": stage, "candidate": key, "counts": to_json(counts)})
            self.fleet.counted.add((stage, key))
        digests = self.now.door.get("digits").digests
        warm = {"model": "digits", "role": "warm", "ready": True}
        loaded = [{**warm, "target": key, "sha256": digests.get(key, "")} for key in ("digits/2", "digits/4")]
        common = {"instance": "w", "kind": "worker", "node": "n", "revision": 10**6, "wait": 0}
        self.now.nodes.hear(Report(**common, counts=rows, targets=loaded), CLOCK())


def check(row: Revision, fleet: Fleet) -> None:
    """The law, of a row that the autopilot wrote in the audit log."""
    first, last = row.evidence["stages"]
    found = row.evidence.get("found")
    key = row.evidence["candidate"] if found is None else row.evidence["sides"][found]["target"]
    assert key == (HARMFUL if row.event in {"taken_off", "rolled_back"} else BEST)
    assert key in {each["model"] for each in row.document["candidates"]}
    assert all(key in fleet.served[stage] for stage in range(first, last + 1) if stage in fleet.served)
    assert any((stage, key) in fleet.counted for stage in range(first, last + 1))


MOVES = st.lists(
    st.sampled_from([
        "look", "look", "look", "report", "report", "report_late", "edit 234", "edit 34", "edit 24", "edit 4",
        "hold", "hold", "release", "settle", "settle", "do resume", "do abort", "do promote", "take_over",
    ]),
    max_size=20,
)  # fmt: skip


@settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(moves=MOVES)
@example(moves=["report", "look", "settle", "report", "look", "settle", "report", "look", "settle"])
@example(moves=["report", "hold", "edit 34", "look", "release", "settle", "look"])
@example(moves=["report", "hold", "look", "take_over", "look", "release", "settle", "look"])
@example(moves=["do promote", "settle", "hold", "report", "look", "do abort", "release", "settle", "look"])
@example(moves=["edit 34", "settle", "report", "look", "settle", "take_over", "report", "look", "settle"])
def test_nobody_is_taken_off_or_promoted_without_evidence_of_that_candidate(parts, moves):
    folder, catalogue, metrics = parts
    database = folder / f"{next(NUMBERS)}.db"
    database.write_bytes((folder / "new.db").read_bytes())
    story = Story(f"sqlite:///{database}", catalogue, metrics)
    try:
        asyncio.run(story.tell(moves))
        rows = story.controls[-1].store.history("digits", 1000)
        stored = story.controls[-1].store.load().rollouts["digits"]
    finally:
        story.close()
    for row in rows:
        if row.actor == "autopilot" and row.evidence and row.event != "promoted":
            check(row, story.fleet)
    progress = from_json(stored.progress)
    named = [each["model"] for each in stored.document.get("candidates", ())]
    assert [arm.target for arm in progress.arms] == named
