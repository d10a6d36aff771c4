"""What many processes say alike is read, kept and put into words once, and says what it says alone."""

import gc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from control.dashboard.series_window import Totals
from control.fleet.instance import alike
from control.fleet.nodes import Nodes
from control.fleet.rows import Book
from control.fleet.snapshots import Snapshots
from router.rollout.parser import parse_one
from router.rollout.snapshot import ServedRollout, Snapshot
from router.wire.report import Exchange, Report
from router.wire.snapshot import to_wire

ROLLOUT = parse_one("digits", "stable: digits/1", "test")


def target(model="digits", *, ready=True, role="stable"):
    return {"model": model, "target": "digits/1", "role": role, "ready": ready}


def said(instance, *targets, kind="worker", **more):
    served = [{"model": row["model"], "target": row["target"]} for row in targets]
    common = {"instance": instance, "node": "n", "kind": kind, "revision": 1, "wait": 0, "wire": 3}
    return {**common, "targets": list(targets), "served": served, **more}


def use(requests=5):
    row = {"model": "m", "target": "m/1", "role": "stable", "requests": requests, "failures": 0}
    machine = {"cpus": 2, "busy_seconds": 1.0, "memory_bytes": 1, "available_bytes": 1}
    return {"answered": [{**row, "latency": [1, 2]}], "compared": [], "processes": [], "machine": machine}


TARGETS = st.lists(
    st.builds(target, st.sampled_from("ab"), ready=st.booleans(), role=st.sampled_from(["stable", "canary"])),
    max_size=3,
)


@given(st.lists(st.tuples(st.sampled_from(["w/1", "w/2", "w/3"]), TARGETS), max_size=12))
def test_whoever_says_the_same_has_the_same_rows_and_each_has_what_it_said(reports):
    nodes, latest = Nodes(), {}
    for instance, targets in reports:
        nodes.hear(nodes.book.read(said(instance, *targets)), 0.0)
        latest[instance] = targets
    for instance in nodes.alive(0.0):
        wanted = Report.model_validate(said(instance.report.instance, *latest[instance.report.instance]))
        assert instance.targets == {(row.model, row.target, row.role): row for row in wanted.targets}
        assert instance.served == {row.model: row for row in wanted.served}
    groups = alike(nodes.alive(0.0))
    contents = {frozenset(instance.targets.values()) for instance in nodes.alive(0.0)}
    assert len(groups) == len(contents)
    assert sum(len(group.instances) for group in groups) == len(latest)


def test_who_comes_to_the_same_by_another_way_has_the_same_rows():
    nodes = Nodes()
    first, second = target("a"), target("b")
    nodes.hear(nodes.book.read(said("w/1", first, second, number=1)), 0.0)
    for instance in ("w/2", "w/3"):
        nodes.hear(nodes.book.read(said(instance, second, target("c"), number=1)), 0.0)
    for instance in ("w/2", "w/3"):
        changed = said(instance, first, number=2, base=1, partly=True)
        changed |= {"gone": [["c", "digits/1", "stable"]], "gone_served": ["c"]}
        nodes.hear(nodes.book.read(changed), 0.0)
    [group] = alike(nodes.alive(0.0))
    assert len(group.instances) == 3
    assert group.rows.served.keys() == {"a", "b"}


def test_rows_that_nobody_says_any_more_are_forgotten():
    nodes, book = Nodes(), Book()
    nodes.book = book
    for ready in (True, False):
        for instance in ("w/1", "w/2"):
            nodes.hear(book.read(said(instance, target(ready=ready))), 0.0)
    gc.collect()
    assert len(book._by_text) == len(book._by_told) == 1


def test_what_is_wrong_with_a_report_is_said_whatever_others_have_said():
    book = Book()
    for each in (said("w/1", target()), said("w/2", target())):
        book.read(each)
    for bad in (said("w/3", target(), number=-1), said("w/3", target(ready="perhaps"))):
        with pytest.raises(ValidationError):
            book.read(bad)
    for bad in (7, None, {"use": {}}, said("n/1", kind="node", use={**use(), "machine": None})):
        with pytest.raises(ValidationError):
            Exchange.model_validate(bad)


def test_the_traffic_of_a_node_at_rest_is_told_and_summed_up_once():
    nodes = Nodes()
    nodes.hear(Report.model_validate(said("n/1", kind="node", number=1, use=use())), 0.0)
    [known] = nodes.alive(0.0)
    before = known.report.use
    at_rest = {**use(), "answered": [], "partly": True}
    nodes.hear(Report.model_validate(said("n/1", kind="node", number=2, base=1, use=at_rest)), 0.0)
    assert known.report.use.answered is before.answered
    first = Totals.of(before, 1.0)
    assert Totals.of(known.report.use, 2.0, first).answered is first.answered
    more = {**use(), "answered": use(9)["answered"], "partly": True}
    nodes.hear(Report.model_validate(said("n/1", kind="node", number=3, base=1, use=more)), 0.0)
    assert Totals.of(known.report.use, 3.0, first).answered == {("m", "m/1", "stable"): (9, 0, (1, 2))}


def snapshot(revision, *stages):
    served = {
        f"m{number}": ServedRollout(ROLLOUT, stage, ROLLOUT.stable) for number, stage in enumerate(stages)
    }
    return Snapshot(revision, served)


def test_a_snapshot_is_put_into_words_once_for_all_who_have_the_same():
    snapshots, old, new = Snapshots(), snapshot(1, 1, 1), snapshot(2, 1, 2)
    known = {"base": 7, "number": 8}
    first = snapshots.told(old, Report(**said("w/1", revision=0)))
    assert first is snapshots.told(old, Report(**said("w/2", revision=1)))
    difference = snapshots.told(new, Report(**said("w/1", revision=1, **known)))
    assert difference is snapshots.told(new, Report(**said("w/2", revision=1, **known)))
    assert orjson.loads(difference) == orjson.loads(orjson.dumps(to_wire(new, old)))
    whole = snapshots.told(new, Report(**said("w/3", revision=1)))
    assert orjson.loads(whole) == orjson.loads(orjson.dumps(to_wire(new)))
    again = snapshots.told(snapshot(2, 3, 3), Report(**said("w/3", revision=1)))
    assert orjson.loads(again)["rollouts"]["m0"]["stage"] == 3, "another database, with the same number"
