"""Exchanges that real processes of the release before had: a fleet of both versions works.

`tests/harness/exchanges.py` recorded them, with that release's tree on the path.
"""

from pathlib import Path

import orjson
import pytest

from control.fleet.nodes import Nodes
from control.fleet.snapshots import Snapshots
from control.fleet.sticky_keys import Place
from router.counting.stage_counts import StageCounts
from router.rollout.snapshot import Snapshot, candidates, local_models
from router.wire.report import Answer, Report, ServedReport, StageReport, TargetReport, encoded
from router.wire.snapshot import Received, from_wire, to_wire

jsonschema_rs = pytest.importorskip("jsonschema_rs")

RECORDED = [orjson.loads(path.read_bytes()) for path in sorted(Path(__file__).parent.glob("recorded/*.json"))]
EXCHANGES = [each for recording in RECORDED for each in recording["exchanges"]]
SNAPSHOTS = [wire for each in EXCHANGES if (wire := each["answer"]["snapshot"]) is not None]


def test_there_is_something_of_every_kind_of_process():
    said = [each["report"] for each in EXCHANGES]
    assert {report["kind"] for report in said} == {"worker", "sandbox", "node"}
    assert {report.get("live") for report in said if report["kind"] == "sandbox"} == {True, False}
    assert any((report.get("examples") or {}).get("kept") for report in said)
    assert any(row["counts"]["canary"]["requests"] for report in said for row in report["counts"])
    assert any(row["counts"]["pairs"] for report in said for row in report["counts"])
    assert len(SNAPSHOTS) > 3


def test_what_an_older_process_reports_is_taken_and_asks_for_nothing_more():
    nodes = Nodes()
    for each in EXCHANGES:
        report = Report.model_validate(each["report"])
        assert (report.wire, report.base) == (1, 0)
        assert not nodes.lacks(report)
        nodes.hear(report, 0.0)
    said = [each["report"] for each in EXCHANGES]
    for kind in ("worker", "sandbox", "node"):
        assert {heard.report.instance for heard in nodes.alive(0.0, kind)} == {
            report["instance"] for report in said if report["kind"] == kind
        }
    last = {report["instance"]: report for report in said if report["kind"] == "worker"}
    for stage in (1, 2):
        found = nodes.counts(Place("digits", stage), "digits/2")
        rows = [
            row["counts"]
            for report in last.values()
            for row in report["counts"]
            if (row["model"], row["stage"]) == ("digits", stage)
        ]
        for role in ("stable", "canary"):
            requests = sum(row[role]["requests"] for row in rows)
            assert getattr(found, role).requests == requests
        assert found.agreement["label"][0] > 0


def test_an_older_process_is_sent_whole_snapshots_that_have_all_that_it_reads():
    snapshots = Snapshots()
    for each in EXCHANGES:
        wire, report = each["answer"]["snapshot"], Report.model_validate(each["report"])
        if wire is not None:
            again = orjson.loads(snapshots.told(from_wire(wire), report))
            assert "base" not in again
            assert has(again, wire)


def has(now, before) -> bool:
    """Whether all that was there is there; something may have come."""
    if isinstance(before, dict):
        return isinstance(now, dict) and all(key in now and has(now[key], before[key]) for key in before)
    return bool(now == before)


def test_snapshots_of_an_older_control_are_read():
    for wire in SNAPSHOTS:
        snapshot = from_wire(wire)
        assert snapshot.revision == wire["revision"]
        assert snapshot.rollouts["digits"].rollout.sticky_header == "x-user"
        assert {candidate.target.key for candidate in candidates(snapshot).values()} == {
            "digits/2",
            "digits/3",
        }
        assert {pin.model for pin in local_models(snapshot)} == {"digits/1", "iris/1"}
        received = Received()
        reading = received.read(Answer.model_validate({"revision": 1, "snapshot": wire}).snapshot)
        assert set(reading.rollouts()) == {"digits", "iris"}


def test_what_todays_processes_report_is_what_an_older_control_takes():
    """By that control's own description: what it requires is there, and nothing of it has another type."""
    for recording in RECORDED:
        schemas = {"components": recording["components"]}
        schema = {**schemas, "$ref": "#/components/schemas/SyncReport"}
        check = jsonschema_rs.validator_for(schema)
        for each in recording["exchanges"]:
            check.validate(orjson.loads(encoded(Report.model_validate(each["report"]))))
        target = TargetReport(model="m", target="m/2", role="canary", ready=True)
        today = Report(
            wire=2, instance="i", node="n", kind="worker", revision=0, wait=1.0, number=7,
            targets=[target], served=[ServedReport(model="m", target="m/1")],
            counts=[StageReport(model="m", stage=1, counts=StageCounts(0.5))],
        )  # fmt: skip
        check.validate(orjson.loads(encoded(today)))


def test_what_an_older_control_sees_of_counts_is_what_was_said():
    """Rows are read by position there, and must have as many columns; what is new must be a new key."""
    for each in EXCHANGES:
        for row in each["report"]["counts"]:
            again = orjson.loads(encoded(StageReport.model_validate(row)))
            assert has(again["counts"], row["counts"])


def test_a_process_of_today_is_told_differences():
    base, now = from_wire(SNAPSHOTS[0]), from_wire(SNAPSHOTS[-1])
    snapshots = Snapshots()
    common = {"wire": 2, "instance": "i", "node": "n", "kind": "worker", "wait": 0}

    def told(snapshot, **more):
        return orjson.loads(snapshots.told(snapshot, Report(**common, **more)))

    first = told(base, revision=base.revision)
    assert first == orjson.loads(orjson.dumps(to_wire(base))), (
        "it has not been answered yet: its number may be of another database"
    )
    second = told(now, revision=base.revision, number=2, base=1)
    assert second["rollouts"].keys() == {"digits"}
    unknown = told(now, revision=99, number=3, base=2)
    assert unknown == orjson.loads(orjson.dumps(to_wire(now)))
    assert snapshots.is_new(Report(**common, revision=now.revision))
    assert not snapshots.is_new(Report(**common, revision=now.revision, number=3, base=2))
    assert Snapshot(1) == from_wire({"revision": 1, "rollouts": {}})
