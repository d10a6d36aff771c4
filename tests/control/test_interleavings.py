"""Edits, looks, reports and take-overs in any order, on the real door, store, examiner, judge and autopilot.

Law: whatever the autopilot does to a candidate rests on what was counted of that candidate. An A/A test ends
once, whatever was counted in it moves nothing else, and the row that ends it has what it has shown.
"""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from control.fleet.nodes import Nodes
from control.rollouts.catalogue import Catalogue
from control.rollouts.events import Abort, Pause, Promote, Resume, StartAA
from control.rollouts.writer import ANY, Door
from control.store.store import Revision
from harness.interleaved import ANNA, CLOCK, Moves
from harness.search import examples
from router.counting.stage_counts import RoleCounts, StageCounts, to_json
from router.rollout.parser import parse_one
from router.wire.report import Report
from serving.telemetry.cells import Metrics

NUMBERS = itertools.count()
PEOPLE = {"pause": Pause("wait"), "resume": Resume(), "abort": Abort("no"), "promote": Promote("yes")}


AA = StartAA(10.0, 100.0, 3600.0, 5000, "anna")
"""It ends with the first look at a report, which tells of more requests."""


def document(version: int, seconds: int = 1) -> dict:
    """With a canary of this version; none is 0."""
    canary = {
        "model": f"digits/{version}",
        "steps": [{"setWeight": 10}, {"prove": {}}, {"setWeight": 50}, {"prove": {}}],
        "mirror": 100,
    }
    return {
        "stable": "digits/1",
        **({"canary": canary} if version else {}),
        "guards": {
            "errors": {"maxRatio": 1.5},
            "agreement": {"output": "label", "min": 0.95},
        },
        "timeout": f"{seconds}s",
    }


@dataclass
class Fleet:
    """What the data plane really saw, by stage: the truth that rows of the audit log are held against."""

    candidates: dict[int, str] = field(default_factory=dict)
    counted: dict[int, str] = field(default_factory=dict)

    def follow(self, door: Door) -> None:
        served = door.snapshot.rollouts["digits"]
        if served.canary is not None:
            self.candidates.setdefault(served.stage, served.canary.key)

    def report(self, nodes: Nodes, stage: int, digests: Mapping[str, str]) -> None:
        """Say again what was counted in a stage: in those of even candidates all is well, in others not."""
        candidate = self.candidates[stage]
        good = candidate == "digits/2"
        self.counted[stage] = candidate
        errors = 0 if good else 400
        weight = 0.1
        counts = StageCounts(weight, RoleCounts(9000, 9000), RoleCounts(1000, 1000, errors, errors))
        agreed = StageCounts(0.0, agreement={"label": (5000, 0)} if good else {"label": (10, 0)})
        common = {"node": "n", "revision": 10**6, "wait": 0}
        worker = {"model": "digits", "stage": stage, "counts": to_json(counts)}
        sandbox = {"model": "digits", "stage": stage, "counts": to_json(agreed)}
        ready = [
            {
                "model": "digits",
                "target": f"digits/{version}",
                "role": role,
                "ready": True,
                "sha256": digests.get(f"digits/{version}", ""),
            }
            for version in (1, 2, 3)
            for role in ("canary", "warm")
        ]
        nodes.hear(Report(instance="w", kind="worker", targets=ready, counts=[worker], **common), CLOCK())
        sandbox_report = Report(
            instance=f"s{candidate}", kind="sandbox", candidate=candidate, counts=[sandbox], **common
        )
        nodes.hear(sandbox_report, CLOCK())


class Story(Moves):
    people = PEOPLE

    def __init__(self, url: str, catalogue: Catalogue, metrics: Metrics) -> None:
        super().__init__(url, catalogue, metrics)
        self.fleet = Fleet()
        self._seconds = 1

    def follow(self, door: Door) -> None:
        self.fleet.follow(door)

    async def tell(self, moves: list[str]) -> None:
        await self.take_over()
        await self.edit(2)
        await self.settle()
        for move in moves:
            match move.split():
                case ["edit", version]:
                    self.begin(self.edit(int(version)))
                case ["aa"]:
                    self.begin(self.now.door.start_aa("digits", AA, ANNA, ANY))
                case words:
                    await self.move(words)
            await asyncio.sleep(0.001)
        await self.settle()

    async def edit(self, version: int) -> None:
        self._seconds += 1
        text = orjson.dumps(document(version, self._seconds))
        await self.now.door.put([parse_one("digits", text, "t")], ANNA, "edit")

    async def report(self) -> None:
        self.fleet.follow(self.now.door)
        stage = self.now.door.snapshot.rollouts["digits"].stage
        if stage in self.fleet.candidates:
            self.fleet.report(self.now.nodes, stage, self.now.door.get("digits").digests)

    async def report_late(self) -> None:
        digests = self.now.door.get("digits").digests
        self.fleet.report(self.now.nodes, min(self.fleet.candidates), digests)


def check(row: Revision, fleet: Fleet) -> None:
    """The law, of a row of the audit log."""
    candidate, (first, last) = row.evidence["candidate"], row.evidence["stages"]
    assert candidate == row.document["canary"]["model"]
    stages = set(range(first, last + 1))
    assert {fleet.candidates.get(stage) for stage in stages} == {candidate}, "each was the candidate's"
    assert stages & fleet.counted.keys(), "something was counted of it"
    assert candidate == ("digits/3" if row.event == "rolled_back" else "digits/2"), row.reason


def check_aa(rows: list[Revision]) -> None:
    """The law, of the rows of the audit log in order: while an A/A test runs, nothing happens but its end."""
    running = False
    for row in rows:
        if not running:
            running = row.event == "aa_started"
            continue
        running = False
        assert row.event in ({"aa_ended"} if row.actor == "autopilot" else {"aa_ended", "edited", "started"})
        if row.actor == "autopilot":
            assert row.evidence["report"]["canary"]["requests"] == 1000
        elif row.event != "aa_ended":
            assert row.evidence is None or row.evidence["cut_short"]


MOVES = st.lists(
    st.sampled_from([
        "look", "look", "look", "report", "report", "report_late", "edit 2", "edit 3", "edit 3", "hold",
        "hold", "release", "settle", "settle", "do resume", "do abort", "do promote", "do pause",
        "take_over", "edit 0", "aa",
    ]),
    max_size=20,
)  # fmt: skip


@settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(moves=MOVES)
@example(moves=["look", "settle", "report", "hold", "edit 3", "look", "release", "settle"])
@example(
    moves=["edit 3", "settle", "look", "settle", "report", "hold", "edit 2", "look", "release", "settle"]
)
@example(moves=["look", "settle", "report", "hold", "look", "take_over", "look", "release", "settle", "look"])
@example(moves=["look", "settle", "report", "take_over", "edit 3", "report_late", "look", "settle", "look"])
@example(moves=["edit 0", "settle", "aa", "settle", "report", "look", "settle"])
@example(
    moves=[
        "edit 0",
        "settle",
        "aa",
        "settle",
        "look",
        "settle",
        "hold",
        "edit 2",
        "report",
        "look",
        "release",
    ]
)
@example(
    moves=[
        "edit 0",
        "settle",
        "aa",
        "settle",
        "hold",
        "report",
        "look",
        "edit 3",
        "release",
        "settle",
        "look",
    ]
)
def test_nothing_is_done_to_a_candidate_without_evidence_of_that_candidate(parts, moves):
    folder, catalogue, metrics = parts
    database = folder / f"{next(NUMBERS)}.db"
    database.write_bytes((folder / "new.db").read_bytes())
    story = Story(f"sqlite:///{database}", catalogue, metrics)
    try:
        asyncio.run(story.tell(moves))
        rows = story.controls[-1].store.history("digits", 1000)
    finally:
        story.close()
    check_aa(rows[::-1])
    for row in rows:
        proof = row.event == "step" and row.evidence["verdict"] == "proven"
        if row.actor == "autopilot" and (proof or row.event in {"rolled_back", "promoting"}):
            check(row, story.fleet)
