"""Counts of many processes add up once each, also of those that are gone."""

from dataclasses import replace

import pytest

from control.fleet.nodes import Nodes, SeenSpan
from control.fleet.sight import GONE_SECONDS
from control.fleet.sticky_keys import Place
from router.counting.segments import SegmentErrors
from router.counting.stage_counts import RoleCounts, Second, Span, StageCounts, to_json
from router.wire.report import Report
from serving.errors import InvalidInput


def report(instance, counts=None, *, kind="worker", stage=1, **more):
    rows = [] if counts is None else [{"model": "digits", "stage": stage, "counts": to_json(counts)}]
    return Report(instance=instance, node="n", kind=kind, revision=1, wait=0, counts=rows, **more)


def counts(requests, errors=0):
    return StageCounts(0.5, canary=RoleCounts(requests, requests, errors))


def test_a_report_replaces_the_one_before():
    nodes = Nodes()
    nodes.hear(report("w/1", counts(5)), 0.0)
    nodes.hear(report("w/1", counts(8, 2)), 1.0)
    assert nodes.counts(Place("digits", 1), None) == counts(8, 2)


def test_workers_add_up_and_the_dead_still_count():
    nodes = Nodes()
    nodes.hear(report("w/1", counts(5)), 0.0)
    nodes.hear(report("w/2", counts(7)), 100.0)
    assert [instance.report.instance for instance in nodes.alive(100.0)] == ["w/2"]
    assert nodes.counts(Place("digits", 1), None).canary.requests == 12


def test_spans_count_once_all_living_workers_have_completed_them():
    def spans(open_span, **numbers):
        found = {int(number[1:]): Span(*span) for number, span in numbers.items()}
        return StageCounts(0.5, spans=found, open_span=open_span)

    nodes = Nodes()
    nodes.hear(report("w/1", spans(9, s7=(1, 0, 9, 0), s8=(2, 1, 8, 0))), 0.0)
    nodes.hear(report("w/2", spans(8, s7=(3, 0, 7, 1))), 0.0)
    assert nodes.spans(Place("digits", 1), 0.0) == {7: SeenSpan(Span(4, 0, 16, 1))}
    assert nodes.spans(Place("digits", 2), 0.0) == {}
    nodes.hear(report("w/1", spans(10, s7=(1, 0, 9, 0), s8=(2, 1, 8, 0))), GONE_SECONDS + 1)
    assert set(nodes.spans(Place("digits", 1), GONE_SECONDS + 1)) == {7, 8}, "the other is gone"


def test_a_sticky_key_that_several_processes_saw_fail_counts_once():
    def keys(*canary, stable=(), errors=0):
        return StageCounts(0.5, canary=RoleCounts(99, 99, errors), error_keys=(canary, stable))

    nodes = Nodes()
    assert nodes.hear(report("w/1", keys(1, 2, stable=(9,))), 0.0) == {"digits"}
    assert nodes.hear(report("w/2", keys(2, 1, stable=(9, 8))), 0.0) == set(), "no new one at the canary"
    assert nodes.hear(report("w/2", keys(3, errors=1)), 0.0) == {"digits"}
    nodes.settle(Place("digits", 1), 60.0, 0.0)
    found = nodes.counts(Place("digits", 1), None)
    assert (found.canary.errors, found.stable.errors) == (4, 2), "three keys, and one error without a key"
    nodes.begin_anew()
    assert nodes.counts(Place("digits", 1), None, since_heard=True).canary.errors == 0
    nodes.forget("digits", 2, 0.0)
    assert nodes.keys.places() == []


def test_when_there_are_too_many_keys_neither_role_takes_more(monkeypatch):
    monkeypatch.setattr("control.fleet.sticky_keys.MAX_ERROR_KEYS", 3)
    nodes = Nodes()
    nodes.hear(report("w/1", StageCounts(0.5, error_keys=((1, 2), (9,)))), 0.0)
    nodes.settle(Place("digits", 1), 60.0, 0.0)
    nodes.hear(report("w/1", StageCounts(0.5, error_keys=((), (8,)))), 0.0)
    nodes.settle(Place("digits", 1), 60.0, 0.0)
    found = nodes.counts(Place("digits", 1), None)
    assert (found.canary.errors, found.stable.errors) == (2, 1)


def seconds(settled_until, **found):
    """Counts of a worker, by second: requests and errors of the canary and of stable."""
    ring = {int(second[1:]): Second(c, ce, ce, 0, s, se, se, 0) for second, (c, ce, s, se) in found.items()}
    c, ce, s, se = (sum(column) for column in zip(*found.values(), strict=True)) if found else (0, 0, 0, 0)
    return StageCounts(
        0.5,
        RoleCounts(s, s, se, se),
        RoleCounts(c, c, ce, ce),
        settled_until=settled_until,
        seconds=ring,
    )


def errors(nodes, now=0.0):
    nodes.settle(Place("digits", 1), 10.0, now)
    found = nodes.counts(Place("digits", 1), None)
    return found.canary.errors, found.stable.errors


def test_an_outage_of_all_workers_is_counted_in_order_of_arrival():
    """E7: the canary fails at once, stable only after its timeout, at one worker later than at the other."""
    nodes = Nodes()
    nodes.hear(report("w/1", seconds(8.2, s7=(9, 0, 9, 0), s8=(3, 3, 3, 3))), 0.0)
    assert errors(nodes) == (3, 3), "nobody else is there to be waited for"
    nodes = Nodes()
    nodes.hear(report("w/1", seconds(9.5, s7=(9, 0, 9, 0), s8=(3, 3, 0, 0))), 0.0)
    nodes.hear(report("w/2", seconds(8.0, s7=(9, 1, 9, 0))), 0.0)
    assert errors(nodes) == (1, 0), "at the second one requests of second 8 are under way"
    assert nodes.hear(report("w/2", seconds(9.0, s7=(9, 1, 9, 0), s8=(0, 0, 5, 5))), 0.0) == {"digits"}
    assert errors(nodes) == (4, 5)
    nodes.hear(report("w/1", seconds(8.5, s7=(9, 0, 9, 0), s8=(3, 3, 0, 0))), 0.0)
    assert errors(nodes) == (4, 5), "a clock that goes back takes nothing away"


def test_a_worker_that_hangs_or_is_gone_keeps_the_others_waiting_for_a_while_only():
    nodes = Nodes()
    nodes.hear(report("w/1", seconds(100.0, s80=(3, 3, 0, 0), s95=(4, 4, 0, 0))), 0.0)
    nodes.hear(report("w/2", seconds(70.0)), 0.0)
    assert errors(nodes) == (3, 0), "up to twelve seconds before what the other has settled"
    nodes.hear(report("w/1", seconds(100.0, s80=(3, 3, 0, 0), s95=(4, 4, 0, 0))), GONE_SECONDS + 1.0)
    assert errors(nodes, GONE_SECONDS + 1.0) == (7, 0)


def test_a_worker_of_an_older_version_keeps_nobody_waiting():
    nodes = Nodes()
    nodes.hear(report("w/1", seconds(9.0, s8=(3, 3, 0, 0))), 0.0)
    old = {
        k: v
        for k, v in to_json(seconds(0.0, s8=(2, 2, 1, 0))).items()
        if "second" not in k and "until" not in k
    }
    row = {"model": "digits", "stage": 1, "counts": old}
    nodes.hear(Report(instance="old", node="n", kind="worker", revision=1, wait=0, counts=[row]), 0.0)
    assert errors(nodes) == (5, 0)


def test_keys_that_erred_wait_for_what_arrived_before_them_too():
    nodes = Nodes()
    late = replace(seconds(9.5), error_keys=((1, 2), ()), error_seconds=((7, 9), ()))
    assert nodes.hear(report("w/1", late), 0.0) == {"digits"}
    nodes.hear(report("w/2", seconds(8.0)), 0.0)
    assert errors(nodes) == (1, 0)
    assert nodes.hear(report("w/2", seconds(10.2)), 0.0) == {"digits"}, "it was waited for"
    assert errors(nodes) == (1, 0), "the first has not settled all of this second"
    assert nodes.hear(report("w/1", seconds(10.0)), 0.0) == {"digits"}
    assert errors(nodes) == (2, 0)


def test_agreement_comes_from_the_live_sandboxes_of_the_candidate_alone():
    nodes = Nodes()
    nodes.hear(report("w/1", counts(5)), 0.0)
    for instance, candidate, live in (
        ("a", "digits/2", True),
        ("b", "digits/3", True),
        ("c", "digits/2", False),
    ):
        found = StageCounts(0.0, agreement={"label": (10, 1)})
        nodes.hear(report(instance, found, kind="sandbox", candidate=candidate, live=live), 0.0)
    total = nodes.counts(Place("digits", 1), "digits/2")
    assert total.agreement == {"label": (10, 1)}
    assert total.weight == 0.5


def test_impossible_counts_are_refused_and_nothing_of_them_is_kept():
    nodes = Nodes()
    nodes.hear(report("w/1", counts(5)), 0.0)
    bad = to_json(counts(9))
    bad["canary"]["errors"] = 10**6
    row = {"model": "digits", "stage": 1, "counts": bad}
    with pytest.raises(InvalidInput):
        Report(instance="w/1", node="n", kind="worker", revision=1, wait=0, counts=[row])
    assert nodes.counts(Place("digits", 1), None).canary.requests == 5


SHA = "a" * 64


def row(target="digits/2", role="warm", model="digits", *, ready=True, problem="", sha256=SHA, failures=0):
    row = {"model": model, "target": target, "role": role, "ready": ready, "problem": problem}
    return {**row, "sha256": sha256, "failures": failures}


def test_ready_everywhere_asks_every_living_worker_at_the_revision():
    nodes = Nodes()
    assert not nodes.warm_in_all_workers("digits", "digits/2", SHA, 1, 0.0), "nobody is not everybody"
    nodes.hear(report("w/1", targets=[row()]), 0.0)
    assert nodes.warm_in_all_workers("digits", "digits/2", SHA, 1, 0.0)
    assert not nodes.warm_in_all_workers("digits", "digits/2", SHA, 2, 0.0)
    nodes.hear(report("w/2"), 0.0)
    assert not nodes.warm_in_all_workers("digits", "digits/2", SHA, 1, 0.0)
    nodes.hear(report("w/1", targets=[row()]), GONE_SECONDS)
    assert nodes.warm_in_all_workers("digits", "digits/2", SHA, 1, GONE_SECONDS), "the other one is gone"


def test_ready_in_a_wave_asks_the_workers_of_its_nodes():
    nodes = Nodes()
    nodes.hear(report("w/1", targets=[row()], label="eu"), 0.0)
    nodes.hear(report("w/2", label="us"), 0.0)
    assert nodes.warm_in_all_workers("digits", "digits/2", SHA, 1, 0.0, "eu")
    assert not nodes.warm_in_all_workers("digits", "digits/2", SHA, 1, 0.0, "us")
    assert not nodes.warm_in_all_workers("digits", "digits/2", SHA, 1, 0.0, "ap"), "nobody is not everybody"
    assert [nodes.bears(label, 0.0) for label in ("eu", "us", "ap", "")] == [True, True, False, False]


def test_other_bytes_are_not_what_is_waited_for():
    nodes = Nodes()
    nodes.hear(report("w/1", targets=[row(sha256="b" * 64)]), 0.0)
    assert not nodes.warm_in_all_workers("digits", "digits/2", SHA, 1, 0.0)


def test_a_worker_that_fails_again_and_again_refuses_in_its_own_words():
    nodes = Nodes()
    for failures, refusal in ((2, ""), (3, "w/1: gone")):
        nodes.hear(report("w/1", targets=[row(ready=False, problem="gone", failures=failures)]), 0.0)
        assert nodes.refusal("digits", "digits/2", 1, 0.0) == refusal
    assert nodes.refusal("digits", "digits/2", 2, 0.0) == "", "what it says of an older revision"


def test_a_target_is_ready_for_its_rollout_and_role_alone():
    nodes = Nodes()
    nodes.hear(
        report("w/1", targets=[row(role="canary"), row(model="other", ready=False, problem="no")]), 0.0
    )
    assert nodes.canary_ready("digits", "digits/2", 1, 0.0) == {"w/1": True}
    assert nodes.canary_ready("digits", "digits/2", 2, 0.0) == {"w/1": False}, "of an older revision"
    assert nodes.canary_ready("other", "digits/2", 1, 0.0) == {"w/1": False}
    assert not nodes.warm_in_all_workers("digits", "digits/2", SHA, 1, 0.0), (
        "a sandbox's is not the worker's own"
    )
    [shown] = nodes.rows(0.0)
    assert (shown["ready"], shown["problems"]) == (["digits/2"], {"digits/2": "no"})


def test_what_an_older_node_says_is_ready_is_shown_and_relied_on_by_nobody():
    nodes = Nodes()
    nodes.hear(report("w/1", ready=["digits/2"]), 0.0)
    assert nodes.canary_ready("digits", "digits/2", 0, 0.0) == {"w/1": False}
    assert nodes.rows(0.0)[0]["ready"] == ["digits/2"]


def test_ended_stages_are_forgotten():
    nodes = Nodes()
    nodes.hear(report("w/1", counts(5), stage=1), 0.0)
    nodes.hear(report("w/1", counts(6), stage=2), 0.0)
    nodes.forget("digits", 2, 0.0)
    assert nodes.counts(Place("digits", 1), None) is None
    assert nodes.counts(Place("digits", 2), None) == counts(6)


def test_a_report_tells_whose_canary_failed_since_the_one_before():
    nodes = Nodes()
    assert nodes.hear(report("w/1", counts(5)), 0.0) == set()
    assert nodes.hear(report("w/1", counts(6, 1)), 1.0) == {"digits"}
    assert nodes.hear(report("w/1", counts(9, 1)), 2.0) == set()
    assert nodes.hear(report("w/2", counts(9, 1)), 3.0) == {"digits"}


def top_up(instance, why, target="c/2"):
    row = {"model": "m", "target": target, "role": "top-up", "ready": False, "top_up": why}
    return report(instance, kind="top-up", targets=[row])


def test_why_nothing_recorded_is_run_is_said_unless_some_node_runs_it():
    nodes = Nodes()
    assert "--records" in nodes.top_up_problem("m", "c/2", 0.0)
    nodes.hear(top_up("t/1", "nothing fits"), 0.0)
    assert nodes.top_up_problem("m", "c/2", 0.0) == "nothing fits"
    assert "--records" in nodes.top_up_problem("m", "c/3", 0.0)
    nodes.hear(top_up("t/2", ""), 0.0)
    assert nodes.top_up_problem("m", "c/2", 0.0) == ""


def test_comparisons_of_recorded_requests_are_told_apart_and_add_up():
    nodes = Nodes()
    nodes.hear(report("w/1", counts(1)), 0.0)
    for instance in ("s/1", "s/2"):
        found = StageCounts(0.0, agreement={"y": (5, 1)}, recorded={"y": (2, 1)})
        nodes.hear(report(instance, found, kind="sandbox", candidate="c/2"), 0.0)
    total = nodes.counts(Place("digits", 1), "c/2")
    assert (total.agreement, total.recorded) == ({"y": (10, 2)}, {"y": (4, 2)})


def test_errors_by_segment_add_up_over_processes_as_far_as_all_are_settled():
    def told(until, **by_second):
        seconds = {int(second[1:]): found for second, found in by_second.items()}
        total = sum(
            (StageCounts(0.5, segments=found) for found in seconds.values()),
            StageCounts(0.5, settled_until=until, segment_seconds=seconds),
        )
        return replace(total, settled_until=until, segment_seconds=seconds)

    nodes = Nodes()
    de, fr = SegmentErrors(1, 0, 7), SegmentErrors(0, 2, 9)
    nodes.hear(report("w/1", told(10.0, s7={"de": de}, s9={"fr": fr})), 0.0)
    nodes.hear(report("w/2", told(8.5, s7={"de": SegmentErrors(2, 1, 7)})), 0.0)
    nodes.settle(Place("digits", 1), 60.0, 0.0)
    assert nodes.counts(Place("digits", 1), None).segments == {"de": SegmentErrors(3, 1, 7)}
    nodes.hear(report("w/2", told(10.0, s7={"de": SegmentErrors(2, 1, 7)})), 0.0)
    nodes.settle(Place("digits", 1), 60.0, 0.0)
    assert nodes.counts(Place("digits", 1), None).segments == {"de": SegmentErrors(3, 1, 7), "fr": fr}


def test_a_user_who_erred_in_several_processes_counts_once_in_the_segment_told_first():
    nodes = Nodes()
    one = StageCounts(
        0.5,
        error_keys=((1, 2), (9,)),
        error_seconds=((7, 7), (8,)),
        error_segments=(("de", "fr"), ("de",)),
        settled_until=9.0,
    )
    nodes.hear(report("w/1", one), 0.0)
    nodes.hear(report("w/2", replace(one, error_segments=(("it", "it"), ("it",)))), 0.0)
    nodes.settle(Place("digits", 1), 60.0, 0.0)
    found = nodes.counts(Place("digits", 1), None)
    assert found.segments == {"de": SegmentErrors(1, 1, 7), "fr": SegmentErrors(1, 0, 7)}
    assert (found.canary.errors, found.stable.errors) == (2, 1)


def of_arm(key, requests, errors=0):
    return {"model": "digits", "stage": 1, "candidate": key, "counts": to_json(counts(requests, errors))}


def test_counts_of_each_candidate_of_a_test_are_their_own():
    nodes = Nodes()
    common = {"node": "n", "kind": "worker", "revision": 1, "wait": 0}
    both = [of_arm("c/2", 5), of_arm("c/3", 7, 1)]
    assert nodes.hear(Report(instance="w", counts=both, **common), 0.0) == {"digits"}
    assert nodes.counts(Place("digits", 1, "c/2"), "c/2").canary.requests == 5
    assert nodes.counts(Place("digits", 1, "c/3"), "c/3").canary.errors == 1
    assert nodes.counts(Place("digits", 1), None) is None
    assert [row.get("candidate") for row in nodes.rows(0.0)[0]["counts"]] == ["c/2", "c/3"]
    nodes.forget("digits", 2, 0.0)
    assert nodes.counts(Place("digits", 1, "c/2"), "c/2") is None
