"""Which counts the judge is shown: harm of all stages, proof of the present one, latency after its edges."""

import contextlib
import json
import math
from dataclasses import replace

import pytest

from control.fleet.nodes import Nodes
from control.judging.outcomes.stage_outcomes import StageOutcomes
from control.pilot.examiner import TICK_SECONDS, Examiner, Of
from control.pilot.prometheus import Prometheus
from control.rollouts.events import StartAA
from control.rollouts.progress import advance, begin
from control.rollouts.writer import Entry
from router.counting.key_units import Unit
from router.counting.pairs import NO_PAIRS, PairCounts
from router.counting.segments import SegmentErrors
from router.counting.stage_counts import RoleCounts, Second, Span, SpanTimes, StageCounts, to_json
from router.rollout.parser import parse_one
from router.wire.report import Report
from serving.telemetry.cells import Metrics, read

DOCUMENT = """
stable: digits/1
canary: {model: digits/2, steps: [{setWeight: 10}, {prove: {}}, {setWeight: 50}, {prove: {}}], mirror: 100}
guards:
  errors: {max: 5%}
  latency: {maxRatio: 1.25, mode: observe}
"""


@pytest.fixture
def nodes():
    return Nodes()


@pytest.fixture
def examiner(nodes, tmp_path):
    metrics = Metrics(tmp_path, "control")
    yield Examiner(nodes, Prometheus(""), metrics)
    metrics.close()


def entry(document=DOCUMENT, **changes):
    rollout = parse_one("digits", document, "test")
    return Entry(rollout, replace(begin(rollout), **changes), 1)


def failing(requests, errors):
    return RoleCounts(requests, requests, errors, errors)


def hear(nodes, stage, canary, stable=None, weight=0.1):
    counts = StageCounts(weight, stable or RoleCounts(), canary)
    row = {"model": "digits", "stage": stage, "counts": to_json(counts)}
    nodes.hear(Report(instance="w", node="n", kind="worker", revision=1, wait=0, counts=[row]), 0.0)


def verdicts(judgement):
    return {guard.guard: guard.verdict for guard in judgement.guards}


def test_no_counts_are_undecided(examiner):
    found = examiner.examine(entry(), 0.0)
    assert found.verdict == "undecided"
    assert set(verdicts(found).values()) == {"undecided"}


def test_a_rollout_without_canary_or_guards_is_not_judged(examiner):
    assert examiner.examine(entry("stable: digits/1"), 0.0) is None
    assert examiner.examine(entry("{stable: digits/1, canary: {model: digits/2, weight: 5}}"), 0.0) is None


def test_proof_of_an_earlier_weight_does_not_prove_the_present_one(examiner, nodes):
    hear(nodes, 1, RoleCounts(2000, 2000), RoleCounts(18000, 18000))
    assert examiner.examine(entry(), 0.0).verdict == "proven"
    hear(nodes, 2, RoleCounts(20, 20), RoleCounts(20, 20), weight=0.5)
    later = entry(stage=2, evidence_stage=1)
    assert examiner.examine(later, 0.0).verdict == "undecided"
    hear(nodes, 2, RoleCounts(2000, 2000), RoleCounts(2000, 2000), weight=0.5)
    assert examiner.examine(later, 0.0).verdict == "proven"


def test_harm_counts_from_all_stages_together(examiner, nodes):
    hear(nodes, 1, failing(20, 5), RoleCounts(180, 180))
    assert examiner.examine(entry(), 0.0).verdict == "undecided"
    hear(nodes, 2, failing(20, 5), RoleCounts(20, 20), weight=0.5)
    found = examiner.examine(entry(stage=2, evidence_stage=1), 0.0)
    assert found.verdict == "harmful"
    assert "10 of 40" in found.reason


def test_counts_from_before_the_evidence_began_are_left_out(examiner, nodes):
    hear(nodes, 1, failing(100, 50), RoleCounts(900, 900))
    assert examiner.examine(entry(), 0.0).verdict == "harmful"
    assert examiner.examine(entry(stage=2, evidence_stage=2), 0.0).verdict == "undecided"


SLOWER = PairCounts((0,) * 10 + (40,))


def hear_sandbox(nodes, stage, pairs=SLOWER, pairing=""):
    row = {"model": "digits", "stage": stage, "counts": to_json(StageCounts(0.0, pairs=pairs))}
    target = {"model": "digits", "target": "digits/2", "role": "canary", "ready": True, "pairing": pairing}
    report = Report(
        instance="s", node="n", kind="sandbox", revision=1, wait=0, counts=[row], candidate="digits/2",
        targets=[target],
    )  # fmt: skip
    nodes.hear(report, 0.0)


def test_latency_is_judged_by_the_pairs_of_the_canarys_sandboxes(examiner, nodes):
    hear(nodes, 1, RoleCounts(1000, 1000), RoleCounts(1000, 1000), weight=0.5)
    assert "no 10 pairs" in examiner.examine(entry(), 0.0).guards[1].reason
    hear_sandbox(nodes, 1)
    found = examiner.examine(entry(), 0.0)
    assert verdicts(found)["latency"] == "harmful"
    assert "took longer than 1.25 times stable's in 400 of 400 pairs" in found.guards[1].reason


def test_why_stable_is_not_timed_beside_the_canary_is_the_reason(examiner, nodes):
    hear(nodes, 1, RoleCounts(1000, 1000), RoleCounts(1000, 1000), weight=0.5)
    hear_sandbox(nodes, 1, NO_PAIRS, "stable cannot be loaded beside the canary: out of memory")
    found = examiner.examine(entry(), 0.0).guards[1]
    assert found.reason == "undecided: stable cannot be loaded beside the canary: out of memory"


FAR = DOCUMENT.replace("{model: digits/2,", "{model: digits/2, url: 'http://far:8000',")


def hear_times(nodes, canary, stable, number, instance="w"):
    """All spans up to this one, each with these times."""
    spans = {each: Span(100, 0, 100, 0) for each in range(1, number + 1)}
    times = dict.fromkeys(spans, SpanTimes({canary: 100}, {stable: 100}))
    n = 100 * number
    counts = StageCounts(
        0.5, RoleCounts(n, n), RoleCounts(n, n), spans=spans, times=times, open_span=number + 1
    )
    row = {"model": "digits", "stage": 1, "counts": to_json(counts)}
    nodes.hear(Report(instance=instance, node="n", kind="worker", revision=1, wait=0, counts=[row]), 0.0)


def test_behind_a_url_latency_is_judged_by_the_spans_after_those_that_fixed_the_edges(examiner, nodes):
    hear_times(nodes, 90, 60, 1)
    found = examiner.examine(entry(FAR), 0.0).guards[1]
    assert "there is no baseline" in found.reason, "this span fixed the edges"
    hear_times(nodes, 90, 60, 21)
    found = examiner.examine(entry(FAR), 0.0)
    assert verdicts(found)["latency"] == "harmful"
    assert examiner.examine(entry(FAR), 0.0) == found, "each span counts once"


def test_edges_outlive_a_control(examiner, nodes, tmp_path):
    hear_times(nodes, 60, 60, 3)
    examiner.examine(entry(FAR), 0.0)
    examiner.examine(entry(FAR), TICK_SECONDS)
    kept = json.loads(json.dumps(dict(examiner.to_keep())))
    later = Nodes()
    with contextlib.closing(Metrics(tmp_path, "later")) as metrics:
        successor = Examiner(later, Prometheus(""), metrics)
        successor.take_up(kept)
        hear_times(later, 60, 60, 4)
        guard = successor.examine(entry(FAR), 0.0).guards[1]
        assert " of 100 at stable" in guard.reason, "the fourth span alone, at the edges of the first"


CLIENTS = DOCUMENT.replace("{maxRatio: 1.25, mode: observe}", "{maxRatio: 1.25}")


def hear_waits(nodes, canary, number, stage=1, stable=60, first=1):
    """Spans up to this one, in each of which 10 and 90 good answers came after these buckets of time."""
    spans = {each: Span(10, 0, 90, 0) for each in range(first, number + 1)}
    waits = dict.fromkeys(spans, SpanTimes({canary: 10}, {stable: 90}))
    roles = RoleCounts(90 * number, 90 * number), RoleCounts(10 * number, 10 * number)
    counts = StageCounts(0.1, *roles, spans=spans, waits=waits, open_span=number + 1)
    row = {"model": "digits", "stage": stage, "counts": to_json(counts)}
    nodes.hear(Report(instance="w", node="n", kind="worker", revision=1, wait=0, counts=[row]), 0.0)


@pytest.mark.parametrize(("slice_seconds", "spans"), [(5, 14), (10, 26)])
def test_clients_that_wait_longer_at_the_canary_take_it_off_slice_by_slice(
    examiner, nodes, slice_seconds, spans
):
    document = CLIENTS.replace("1.25", f"1.25, clients: {{slice: {slice_seconds}s}}")
    hear_waits(nodes, 160, 2)
    found = examiner.examine(entry(document), 0.0).guards[2]
    assert "no span with canary requests was complete" in found.reason, "the first fixed the edges"
    hear_waits(nodes, 160, spans)
    judgement = examiner.examine(entry(document), 0.0)
    assert judgement.verdict == "undecided"
    hear_waits(nodes, 160, spans + 4)
    judgement = examiner.examine(entry(document), 0.0)
    assert examiner.examine(entry(document), 0.0) == judgement, "each slice counts once"
    assert judgement.verdict == "harmful"
    counted = 10 * (spans + 2), 90 * (spans + 2)
    assert (
        f"latency:clients: harmful: clients waited longer at the canary ({counted[0]} of" in judgement.reason
    )
    assert f"stable 0 of {counted[1]:,} over" in judgement.reason
    assert judgement.reason.endswith("whether the model itself computes slower is undecided")
    assert judgement.guards[2].log_safe is None


def test_where_the_model_computes_no_slower_it_is_the_queue_or_the_placement(examiner, nodes):
    hear_waits(nodes, 160, 20)
    hear_sandbox(nodes, 1, PairCounts((200,) + (0,) * 10, ((0, 40), (0, 40), (0, 10)), 2000, 500))
    found = examiner.examine(entry(CLIENTS), 0.0)
    assert verdicts(found) == {"errors": "proven", "latency": "proven", "latency:clients": "harmful"}
    assert found.verdict == "harmful"
    assert found.reason.endswith("the model itself computes no slower: queue or placement")


def test_a_longer_wait_within_ratio_and_slack_harms_nobody_and_no_proof_waits_for_it(examiner, nodes):
    hear_waits(nodes, 100, 30)
    hear_sandbox(nodes, 1, PairCounts((200,) + (0,) * 10, ((0, 40), (0, 40), (0, 10)), 2000, 500))
    found = examiner.examine(entry(CLIENTS), 0.0)
    assert verdicts(found)["latency:clients"] == "undecided"
    assert found.verdict == "proven"


def test_a_stage_asks_how_long_clients_wait_by_the_edges_of_the_stages_before(examiner, nodes):
    hear_waits(nodes, 60, 5)
    examiner.examine(entry(CLIENTS), 0.0)
    hear_waits(nodes, 160, 18, stage=2, stable=160, first=6)
    found = examiner.examine(entry(CLIENTS, stage=2, evidence_stage=1), 0.0).guards[2]
    assert "(130 of 130 over" in found.reason
    assert "stable 1,170 of 1,170 over" in found.reason, "the whole of its first span is tested"
    assert found.log_harm < 1.0, "stable's clients wait as long"


def test_edges_of_what_clients_wait_outlive_a_control(examiner, nodes, tmp_path):
    hear_waits(nodes, 60, 3)
    examiner.examine(entry(CLIENTS), 0.0)
    examiner.examine(entry(CLIENTS), TICK_SECONDS)
    kept = json.loads(json.dumps(dict(examiner.to_keep())))
    later = Nodes()
    with contextlib.closing(Metrics(tmp_path, "later")) as metrics:
        successor = Examiner(later, Prometheus(""), metrics)
        successor.take_up(kept)
        hear_waits(later, 60, 4)
        guard = successor.examine(entry(CLIENTS), 0.0).guards[2]
        assert "of 10 over" in guard.reason, "the fourth span alone, at the edges of the first two"


def test_a_canary_that_lets_its_clients_wait_until_they_leave_is_harmful_by_spans(examiner, nodes):
    """E2: none of its requests failed, and none was answered."""
    document = "{stable: digits/1, canary: {model: digits/2, weight: 10}, guards: {errors: {max: 1%}}}"
    for number in range(1, 15):
        spans = {each: Span(5, 5, 45, 0) for each in range(max(number - 5, 1), number + 1)}
        n = 5 * number
        counts = StageCounts(
            0.1, RoleCounts(9 * n, 9 * n), RoleCounts(n, n, abandoned=n), {}, spans, number + 1
        )
        row = {"model": "digits", "stage": 1, "counts": to_json(counts)}
        nodes.hear(Report(instance="w", node="n", kind="worker", revision=1, wait=0, counts=[row]), 0.0)
        found = examiner.examine(entry(document), 0.0)
        assert examiner.examine(entry(document), 0.0) == found, "each span counts once"
        assert found.hold is None
        assert (found.verdict == "harmful") == (number >= 13)
    assert (
        "clients of 70 of 70 canary requests went away unanswered, against 0 of 630 at stable" in found.reason
    )


def test_clients_that_leave_both_alike_harm_nobody_and_prove_no_limit(examiner, nodes):
    document = "{stable: digits/1, canary: {model: digits/2, weight: 50}, guards: {errors: {max: 1%}}}"
    hear(nodes, 1, RoleCounts(2000, 2000, abandoned=2000), RoleCounts(2000, 2000, abandoned=2000), weight=0.5)
    found = examiner.examine(entry(document), 0.0)
    assert verdicts(found) == {"errors": "undecided"}


def counted(nodes, instance, canary, stable, now):
    row = {"model": "digits", "stage": 1, "counts": to_json(StageCounts(0.1, stable, canary))}
    report = Report(instance=instance, node="n", kind="worker", revision=1, wait=0, counts=[row])
    nodes.hear(report, now)


RATIO = "{stable: digits/1, canary: {model: digits/2, weight: 10}, guards: {errors: {maxRatio: 1.5}}}"


def after_good_service(nodes, examiner, minutes=60):
    """So many minutes at 60 requests/s, of which both fail 0.5%."""
    for minute in range(1, minutes + 1):
        canary, stable = failing(360 * minute, 2 * minute), failing(3240 * minute, 16 * minute)
        counted(nodes, "w", canary, stable, TICK_SECONDS * minute)
        assert examiner.examine(entry(RATIO), TICK_SECONDS * minute).verdict != "harmful"
    return 360 * minutes, 2 * minutes, failing(3240 * minutes, 16 * minutes)


def failures_until_harmful(nodes, examiner, requests, errors, stable, now):
    for more in range(1, 60):
        counted(nodes, "w", failing(requests + more, errors + more), stable, now)
        if examiner.examine(entry(RATIO), now).verdict == "harmful":
            return more
    raise AssertionError("never")


def test_an_hour_of_good_service_does_not_hide_that_the_canary_died(examiner, nodes):
    """E4, through what control keeps from tick to tick."""
    requests, errors, stable = after_good_service(nodes, examiner)
    now = TICK_SECONDS * 60 + 1
    assert failures_until_harmful(nodes, examiner, requests, errors, stable, now) <= 20


def test_a_control_that_takes_over_goes_on_and_counts_nothing_twice(examiner, nodes, tmp_path):
    requests, errors, stable = after_good_service(nodes, examiner)
    before = examiner.judgements["digits"].guards[0].log_harm
    [(model, state)] = examiner.to_keep()
    assert examiner.to_keep() == []
    kept = json.loads(json.dumps({model: state}))

    later = Nodes()
    with contextlib.closing(Metrics(tmp_path, "later")) as metrics:
        successor = Examiner(later, Prometheus(""), metrics)
        successor.take_up(kept)
        counted(later, "w", failing(requests, errors), stable, 0.0)  # what it had counted before
        assert successor.examine(entry(RATIO), 0.0).guards[0].log_harm is None
        counted(later, "w", failing(requests + 1, errors), stable, 0.0)
        found = successor.examine(entry(RATIO), 0.0).guards[0].log_harm
        assert found == pytest.approx(before, abs=0.05), "nothing is counted twice"
        assert failures_until_harmful(later, successor, requests, errors, stable, 1.0) <= 20


OUTCOMES = """
stable: digits/1
canary: {model: digits/2, weight: 50}
outcomes: {conversion: {kind: binary, within: 1h}}
guards: {conversions: {outcome: conversion, maxDrop: 5%}}
"""


def test_of_outcomes_a_control_that_takes_over_knows_all(nodes, tmp_path):
    """They are in the database, and so is what their tests had come to when the last tick ended."""
    conversions = [400.0, 420.0]
    rollout = entry(OUTCOMES)

    def known(_):
        outcome = rollout.rollout.outcome("conversion")
        return {"conversions": [StageOutcomes(0.5, *conversions, outcome=outcome)]}

    with contextlib.closing(Metrics(tmp_path, "control")) as metrics:
        before, after = (Examiner(nodes, Prometheus(""), metrics, known) for _ in range(2))
        for tick in range(4):
            found = before.examine(rollout, tick * TICK_SECONDS)
            conversions[0] += 10.0 * tick
        kept = json.loads(json.dumps(dict(before.to_keep())))
        conversions[1] += 50.0
        found = before.examine(rollout, 3.5 * TICK_SECONDS).guards[0]
        after.take_up(kept)
        assert after.examine(rollout, 0.0).guards[0].log_harm == pytest.approx(found.log_harm)
        after.forget_outcomes()
        assert after.examine(rollout, 0.0).guards[0].log_harm != pytest.approx(found.log_harm)


def test_users_are_held_to_the_weight_each_once_over_all_processes(examiner, nodes):
    """Each of 4 processes counts the first request of each user as a draw."""
    document = DOCUMENT + "sticky: {header: x-user}\n"
    for process in range(4):
        told = tuple(
            Unit("first/canary" if key <= 130 else "first/stable", key, 5, 1, 0) for key in range(1, 1001)
        )
        counts = StageCounts(0.1, RoleCounts(870, 870), RoleCounts(130, 130), settled_until=9.0, units=told)
        row = {"model": "digits", "stage": 1, "counts": to_json(counts)}
        name = f"w{process}"
        nodes.hear(Report(instance=name, node="n", kind="worker", revision=1, wait=0, counts=[row]), 0.0)
    assert examiner.examine(entry(document), 0.0).hold is None
    told = tuple(Unit("first/canary", key, 5, 1, 0) for key in range(2001, 2101))
    counts = StageCounts(0.1, settled_until=9.0, units=told)
    row = {"model": "digits", "stage": 1, "counts": to_json(counts)}
    nodes.hear(Report(instance="w9", node="n", kind="worker", revision=1, wait=0, counts=[row]), 0.0)
    assert "230 of 1,100 users went to the canary" in examiner.examine(entry(document), 0.0).hold


def test_evidence_that_was_kept_of_another_canary_is_left_alone(examiner, nodes):
    after_good_service(nodes, examiner, 2)
    [(model, state)] = examiner.to_keep()
    examiner.take_up({model: {**state, "evidence_stage": 7}})
    assert not examiner._case(Of("digits"), 1).restored
    assert examiner._case(Of("digits"), 7).restored


def test_an_examination_reckons_no_effect_until_somebody_asks(examiner, nodes):
    hear(nodes, 1, failing(200, 9), RoleCounts(1800, 1800, 27, 27))
    found = examiner.examine(entry(), 0.0).guards[0]
    reckoned = found.tell_effect.cache_info
    assert reckoned().misses == 0
    assert found.effect.estimate == pytest.approx(0.045)
    assert found.effect is found.effect
    assert reckoned().misses == 1


def test_the_evidence_is_a_metric(examiner, nodes, tmp_path):
    hear(nodes, 1, RoleCounts(2000, 2000), RoleCounts(18000, 18000))
    examiner.examine(entry(), 0.0)
    index = next(tmp_path.glob("*.index")).read_text()
    assert '"understudy_guard_evidence", ["digits", "errors", "safe"]' in index
    lines = {
        labels[1:]: value for labels, (value, *_) in read(tmp_path)["understudy_guard_line"].series.items()
    }
    assert lines == {
        ("errors", "harm"): pytest.approx(math.log(100)),
        ("errors", "safe"): pytest.approx(math.log(100)),
        ("latency", "harm"): pytest.approx(math.log(200)),
        ("latency", "safe"): pytest.approx(math.log(100)),
        ("latency:clients", "harm"): pytest.approx(math.log(400)),
    }, "those of latency observe, and have a half and a quarter of the part of errors"
    examiner.forget("digits")
    assert not read(tmp_path)["understudy_guard_line"].series
    assert not read(tmp_path)["understudy_guard_evidence"].series


STICKY = """
stable: digits/1
sticky: {header: x-user}
canary: {model: digits/2, steps: [{setWeight: 10}, {prove: {}}], mirror: 100}
guards:
  errors: {max: 5%}
  agreement: {output: label, min: 95%}
"""


def hear_units(nodes, kind, units, **counts):
    found = StageCounts(0.1, RoleCounts(900, 900), RoleCounts(900, 900), {"label": (900, 0)}, **counts)
    row = {"model": "digits", "stage": 1, "counts": to_json(replace(found, units=units))}
    candidate = "digits/2" if kind == "sandbox" else None
    report = Report(instance=kind, node="n", kind=kind, revision=1, wait=0, counts=[row], candidate=candidate)
    nodes.hear(report, 0.0)


def test_with_sticky_keys_users_are_weighed_and_not_their_requests(examiner, nodes):
    users = range(1, 21)
    hear_units(nodes, "worker", tuple(Unit("canary", key, 0, 10, 0) for key in range(1, 301)))
    hear_units(nodes, "sandbox", tuple(Unit("agreement:label", key, 0, 10, 10) for key in users))
    found = examiner.examine(entry(STICKY), 0.0)
    assert verdicts(found) == {"errors": "proven", "agreement:label": "harmful"}
    assert "as the mean over 20 users" in found.reason
    assert "as the mean over 300 users" in found.guards[0].reason


def test_requests_without_a_key_are_units_of_their_own(examiner, nodes):
    hear_units(nodes, "worker", (), keyless={"canary": (900, 0)})
    hear_units(nodes, "sandbox", (), keyless={"agreement:label": (900, 900)})
    assert verdicts(examiner.examine(entry(STICKY), 0.0)) == {
        "errors": "proven",
        "agreement:label": "harmful",
    }


def test_a_guard_that_weighs_time_takes_each_complete_second_once(examiner, nodes):
    document = STICKY.replace("min: 95%", "min: 95%, per: 1s").replace("max: 5%", "max: 5%, per: 1s")
    seconds = {second: Second(100, 50, 50, 0, 900, 0, 0, 0) for second in range(100, 130)}
    hear_units(nodes, "worker", (), seconds=seconds, settled_until=130.0)
    compared = {second: {"label": (50, 0)} for second in range(100, 130)}
    hear_units(nodes, "sandbox", (), compared=compared, settled_until=125.5)
    for _ in range(2):
        found = examiner.examine(entry(document), 0.0)
        assert verdicts(found) == {"errors": "harmful", "agreement:label": "undecided"}
    assert "over 29 spans of 1 s" in found.guards[0].reason, "one is under way"
    assert "over 24 spans of 1 s" in found.guards[1].reason, "its sandbox has settled less"


def test_a_canary_that_fails_every_user_is_taken_off_before_a_unit_has_ended(examiner, nodes):
    hear_units(nodes, "worker", tuple(Unit("first/canary", key, 0, 1, 1) for key in range(1, 6)))
    found = examiner.examine(entry(STICKY), 0.0)
    assert verdicts(found)["errors"] == "harmful"


def test_a_false_alarm_of_an_aa_acts_on_nothing_and_outlives_a_restart(examiner, nodes):
    rollout = parse_one("digits", "stable: digits/1", "test")
    progress, _ = advance(rollout, begin(rollout), StartAA(10.0, 100.0, 60.0, None, "anna"))
    itself = Entry(rollout, progress, 7)
    assert examiner.aa_evidence(itself)["report"] is None
    hear(nodes, 2, failing(1000, 900), RoleCounts(9000, 9000))
    found = examiner.examine(itself, 0.0)
    assert verdicts(found)["errors"] == "harmful"
    assert {guard.mode for guard in found.guards} == {"observe"}
    seen = examiner.aa_evidence(itself)
    assert (seen["revision"], seen["report"]["alarms"]) == (7, 1)
    assert examiner.aa_requests(itself) == 10_000
    kept = json.loads(json.dumps(dict(examiner.to_keep())))  # at once, since the alarm is new
    examiner.take_up(kept)
    nodes.begin_anew()
    assert verdicts(examiner.examine(itself, 0.0))["errors"] == "undecided"
    report = examiner.aa_evidence(itself)["report"]
    assert report["alarms"] == 1
    assert report["guards"][0]["log_greatest"] > report["guards"][0]["log_line"]
    examiner.forget("digits")
    assert examiner.aa_report(itself) is None


SEGMENTED = """
stable: digits/1
canary: {model: digits/2, weight: 10}
segments: {header: x-country, max: 2}
guards: {errors: {maxRatio: 1.5}, segments: {guard: errors}}
"""


def hear_segments(nodes, asked=1000, **errors):
    found = {value: SegmentErrors(*each) for value, each in errors.items()}
    counts = StageCounts(0.1, RoleCounts(9000, 9000, 90), RoleCounts(asked, asked, 30), segments=found)
    row = {"model": "digits", "stage": 1, "counts": to_json(counts)}
    nodes.hear(Report(instance="w", node="n", kind="worker", revision=1, wait=0, counts=[row]), 0.0)


def places(judgement):
    return {row.value: (row.canary, row.stable) for row in judgement.guards[1].segments}


def test_segments_have_places_in_the_order_of_their_first_error_for_the_whole_evidence(examiner, nodes):
    hear_segments(nodes, fr=(1, 9, 70), de=(2, 9, 60), it=(1, 1, 80))
    assert places(examiner.examine(entry(SEGMENTED), 0.0)) == {"de": (2, 9), "fr": (1, 9), "other": (1, 1)}
    hear_segments(nodes, fr=(1, 9, 70), de=(2, 9, 60), it=(9, 1, 50), es=(1, 0, 1))
    found = examiner.examine(entry(SEGMENTED), 0.0)
    assert places(found) == {"de": (2, 9), "fr": (1, 9), "other": (10, 1)}
    assert "x-country=other" in found.guards[1].reason


def test_a_control_that_takes_over_leaves_segments_in_their_places(examiner, nodes, tmp_path):
    hear_segments(nodes, fr=(1, 9, 70), de=(2, 9, 60))
    examiner.examine(entry(SEGMENTED), 0.0)
    examiner.examine(entry(SEGMENTED), TICK_SECONDS)
    [(model, kept)] = examiner.to_keep()
    with contextlib.closing(Metrics(tmp_path / "next", "control")) as metrics:
        heir_nodes = Nodes()
        heir = Examiner(heir_nodes, Prometheus(""), metrics)
        heir.take_up({model: json.loads(json.dumps(kept))})
        hear_segments(heir_nodes, fr=(1, 9, 70), de=(2, 9, 60))
        assert places(heir.examine(entry(SEGMENTED), 0.0)) == {}
        hear_segments(heir_nodes, 1010, fr=(1, 9, 70), de=(5, 9, 60), at=(1, 0, 1))
        assert places(heir.examine(entry(SEGMENTED), 0.0)) == {"de": (3, 0), "other": (1, 0)}


def test_without_a_guard_of_segments_none_are_judged(examiner, nodes):
    hear_segments(nodes, de=(9, 9, 60))
    found = examiner.examine(entry(SEGMENTED.replace(", segments: {guard: errors}}", "}")), 0.0)
    assert [guard.segments for guard in found.guards] == [()]
