import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.judging.guard_evidence import DrawnUsers, Past
from control.judging.judge import judge
from control.judging.latency_edges import MIN_BASELINE, LatencyEdges, latency_edges, slower_than
from control.judging.latency_spans import TimedSpans
from control.judging.measurements import Measurements, measured
from control.judging.verdicts import duration, e_value, share
from harness.search import examples
from router.counting.latency import BUCKETS, bucket
from router.counting.pairs import PairLog, StagePairs
from router.counting.stage_counts import RoleCounts, SpanTimes, StageCounts
from router.rollout.guards.agreement import AgreementGuard
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.latency import LatencyGuard
from router.rollout.guards.promql import PromQLGuard

ERRORS = ErrorsGuard(max_ratio=1.5, max=0.01)
LATENCY = LatencyGuard(1.25)
AGREEMENT = AgreementGuard("label", 0.98)
WATCHED = PromQLGuard("conversion", "up", min=10, failure_limit=1, mode="enforce")
GUARDS = (ERRORS, LATENCY, AGREEMENT)


def latencies(count, factor=1.0, seed=1):
    """Log-normal compute times around 4 ms."""
    seconds = factor * 0.004 * np.random.default_rng(seed).lognormal(0, 0.3, count)
    histogram = {}
    for value in seconds:
        histogram[bucket(value)] = histogram.get(bucket(value), 0) + 1
    return histogram


def role(requests, errors=0):
    return RoleCounts(requests, requests, errors, failures=errors)


def timed_pairs(count, factor=1.0, ratio=1.25, seed=1):
    """Pairs as a sandbox counts them: times of one request have much in common, a tenth is the run's own."""
    rng = np.random.default_rng(seed)
    request, *own = rng.lognormal(0, [[0.8], [0.1], [0.1]], (3, count))
    counts, log = StagePairs(), PairLog(0.0)
    for at, candidate, stable in zip(request, *own, strict=True):
        log.add(counts, factor * at * candidate, at * stable, ratio)
    return counts.counts


PAIRS = timed_pairs(4000)


def good(scale=1):
    return StageCounts(
        0.1,
        role(9000 * scale, 90 * scale),
        role(1000 * scale, 9 * scale),
        {"label": (3000 * scale, 9 * scale)},
        pairs=PAIRS,
    )


def one(guard, *stages, alpha=0.01, **others):
    return judge([guard], stages, alpha, **others).guards[0]


# ------------------------------------------------------------------ verdicts and their reasons
def test_a_failing_canary_is_harmful_and_the_reason_gives_the_counts():
    found = judge(GUARDS, [StageCounts(0.01, role(5890, 4), role(61, 7))], 0.01)
    assert found.verdict == "harmful"
    assert re.fullmatch(
        r"errors: harmful: 7 of 61 canary requests failed against 4 of 5,890 at stable;"
        r" e-value [\d.,e+]+, needed 200",
        found.reason,
    )


def test_a_good_canary_is_proven_by_all_guards_at_once():
    found = judge(GUARDS, [good(8)], 0.01)
    assert [guard.verdict for guard in found.guards] == ["proven"] * 3
    assert found.verdict == "proven"
    assert found.hold is None
    wanted = "for at most 1.5 times stable's rate or at most 1%, whichever is more, needed 100"
    assert wanted in found.guards[0].reason


def test_one_undecided_guard_keeps_the_rollout_undecided_and_is_the_reason():
    found = judge(GUARDS, [replace(good(8), agreement={"label": (10, 0)})], 0.01)
    assert found.verdict == "undecided"
    assert found.reason.startswith("agreement:label: undecided: 0 of 10 comparisons of label differed")


def test_a_slower_canary_is_harmful_and_the_reason_gives_the_pairs():
    found = one(LATENCY, StageCounts(0.1, pairs=timed_pairs(320, 1.5)))
    assert found.verdict == "harmful"
    assert re.match(
        r"harmful: the canary's model took longer than 1\.25 times stable's in \d+ of 300 pairs; e-value",
        found.reason,
    )


def test_a_broken_tail_is_not_proven_by_a_good_median():
    counts, log, rng = StagePairs(), PairLog(0.0), np.random.default_rng(3)
    for stable, slow in zip(rng.lognormal(0, 0.1, 4000), rng.random(4000) < 0.15, strict=True):
        log.add(counts, stable * (3.0 if slow else 1.0), stable, 1.25)
    found = one(LATENCY, StageCounts(0.5, pairs=counts.counts))
    assert found.verdict == "harmful"
    assert "only the canary's model took longer than 1.25 times stable's p9" in found.reason
    assert found.log_safe < 0


def test_nothing_is_proven_of_the_tail_before_there_are_edges():
    found = one(LATENCY, StageCounts(0.5, pairs=timed_pairs(420)))
    assert found.verdict == "undecided"
    assert "stable's p90 is being taken from its times in pairs, 400 until now" in found.reason


def test_why_no_pairs_are_timed_is_the_reason():
    assert "no 10 pairs of the canary's model and stable's were timed yet" in one(LATENCY).reason
    past = Past(pairing="stable cannot be loaded beside the canary: it is too big")
    found = one(LATENCY, past=past)
    assert (found.verdict, found.log_harm) == ("undecided", None)
    assert found.reason == "undecided: stable cannot be loaded beside the canary: it is too big"


def spans(count, factor, seed=1):
    """Spans of 50 and 450 answers behind URLs, at edges from spans before."""
    edges = latency_edges(latencies(5000))
    found = TimedSpans.none(edges, 1.25)
    for number in range(count):
        times = SpanTimes(
            latencies(50, factor, seed + 2 * number), latencies(450, 1.0, seed + 2 * number + 1)
        )
        found = found.after(times)
    return Past(paired=False, timed=found)


def test_behind_a_url_latency_is_judged_span_by_span():
    slower = one(LATENCY, past=spans(40, 2.0))
    assert slower.verdict == "harmful"
    assert re.search(r"of 2,000 canary answers took longer than \d[\d.]* ms against", slower.reason)
    assert one(LATENCY, past=spans(40, 1.0)).verdict == "undecided"
    assert one(LATENCY, past=spans(400, 1.0)).verdict == "proven"
    assert "there is no baseline" in one(LATENCY, past=Past(paired=False)).reason


def test_disagreement_is_harmful():
    found = one(AGREEMENT, StageCounts(0.0, agreement={"label": (1000, 70), "other": (1000, 0)}))
    assert found.verdict == "harmful"
    assert found.reason.startswith(
        "harmful: 70 of 1,000 comparisons of label differed, tolerated 2%; e-value"
    )


def test_bodies_that_repeat_much_are_said_beside_the_verdict():
    stage = StageCounts(0.0, agreement={"label": (1000, 0)}, repeated=400)
    wanted = "400 of the compared requests repeat an earlier body, so they are not independent"
    assert wanted in one(AGREEMENT, stage).reason
    assert one(AGREEMENT, stage).doubt.startswith(wanted)
    assert wanted not in one(AGREEMENT, replace(stage, repeated=90)).reason
    assert wanted not in one(replace(AGREEMENT, per="body"), stage).reason


def test_the_share_of_recorded_requests_is_said_and_why_none_is_run():
    stage = StageCounts(0.0, agreement={"label": (1000, 0)}, recorded={"label": (900, 0)})
    found = one(AGREEMENT, stage)
    assert (found.verdict, found.recorded) == ("proven", 900)
    assert "of 1,000 comparisons 900 were of recorded requests" in found.reason
    past = Past(top_up="all were redacted")
    assert one(AGREEMENT, past=past).reason.endswith("yet; no recorded request is run: all were redacted")
    assert "; no recorded request is run: all were redacted" in one(AGREEMENT, stage, past=past).reason


def test_an_observed_guard_is_judged_but_does_not_act():
    observed = replace(ERRORS, mode="observe")
    found = judge(
        [observed, AGREEMENT], [StageCounts(0.5, role(100), role(100, 100), {"label": (3000, 0)})], 0.01
    )
    assert found.guards[0].verdict == "harmful"
    assert found.verdict == "proven"


def test_the_line_shares_alpha_among_enforced_guards_with_counts():
    found = judge([*GUARDS, WATCHED, ErrorsGuard(2.0, mode="observe")], [good()], 0.01)
    assert [guard.log_line for guard in found.guards] == pytest.approx(
        [math.log(200), math.log(400), math.log(400), None, math.log(200)]
    )
    assert [guard.log_proof_line for guard in found.guards] == pytest.approx(
        [math.log(100)] * 3 + [None, math.log(100)]
    )


def test_with_both_limits_good_is_at_most_the_greater_of_the_two():
    """Harm needs both e-values, proof either; so a canary within one limit is never harmful by the other."""
    few = StageCounts(0.5, role(10_000, 0), role(10_000, 40))
    assert one(ErrorsGuard(max=0.01), few).verdict == "proven"
    assert one(ErrorsGuard(max_ratio=1.5), few).verdict == "harmful"
    assert one(ERRORS, few).verdict == "proven"
    as_stable = StageCounts(0.5, role(10_000, 400), role(10_000, 400))
    assert one(ErrorsGuard(max=0.01), as_stable).verdict == "harmful"
    assert one(ERRORS, as_stable).verdict == "proven"
    worse_than_both = StageCounts(0.5, role(10_000, 400), role(10_000, 900))
    assert one(ERRORS, worse_than_both).verdict == "harmful"


def test_the_reason_says_what_the_failures_of_the_canary_were():
    bad = StageCounts(0.5, role(1000, 2), role(1000, 90))
    told = {"timeout": 50, "unavailable": 30, "failed": 9, "refused": 1}
    parts = [replace(bad, failed_by=told), replace(bad, weight=0.25, failed_by={"timeout": 70})]
    found = one(ERRORS, *parts)
    assert found.verdict == "harmful"
    assert (
        "180 of 2,000 canary requests failed against 4 of 2,000 at stable (the canary's: 120 timed out, 30"
        " found no connection, or 503, 9 got another 5xx or an answer that cannot be used, 1 were refused"
        " though stable accepts them)"
    ) in found.reason
    early = one(ERRORS, replace(bad, failed_by={"failed": 95})).reason
    assert "(the canary's, with those that are told and not counted yet: 95 got another 5xx" in early
    assert "canary's" not in one(ERRORS, bad).reason, "workers of an older version tell none"


@pytest.mark.parametrize("failed", [3, 6, 9, 20])
def test_the_same_canary_is_never_a_race_between_two_limits(failed):
    """0.2% against none at stable: within the limit of 1%, however the counts fall."""
    assert one(ERRORS, StageCounts(0.1, role(27_000), role(3000, failed))).verdict != "harmful"


def test_proof_of_a_ratio_must_hold_with_and_without_those_who_left():
    guard = ErrorsGuard(max_ratio=1.5)
    stable, canary = role(9000, 900), role(1000, 100)
    assert one(guard, StageCounts(0.1, stable, canary)).verdict == "proven"
    left = replace(canary, abandoned=400)
    assert one(guard, StageCounts(0.1, stable, left)).verdict == "undecided"
    assert one(guard, StageCounts(0.1, stable, left)).log_harm < math.log(100), "they may come in bursts"


def test_with_sticky_users_first_errors_alone_prove_no_ratio():
    """R5: users of either role have all erred once, though the canary fails each of them at once."""
    guard, canary = ErrorsGuard(max_ratio=1.5), replace(role(1000, 1000), failures=600)
    stable = replace(role(9000, 9000), failures=900)
    assert one(guard, StageCounts(0.1, stable, canary)).verdict == "proven"
    assert one(guard, StageCounts(0.1, stable, canary), sticky=True).verdict == "undecided"


def test_no_errors_prove_no_ratio():
    no_errors = StageCounts(0.5, role(10_000), role(10_000))
    assert one(ErrorsGuard(max_ratio=1.5), no_errors).verdict == "undecided"
    assert one(ERRORS, no_errors).verdict == "proven"


def test_an_outage_in_both_arms_is_not_the_canarys_fault():
    outage = StageCounts(0.1, role(9000, 9000), role(1000, 1000))
    assert one(ErrorsGuard(max_ratio=1.5), outage).verdict != "harmful"


# ------------------------------------------------------------------ no data is undecided
@settings(max_examples=examples(30))
@given(
    st.lists(
        st.builds(
            StageCounts,
            st.sampled_from([0.0, 0.001, 0.5, 1.0]),
            st.builds(role, st.integers(0, 10**6).map(lambda n: n + 10**6), st.integers(0, 10**6)),
        ),
        max_size=4,
    )
)
def test_without_counts_of_the_canary_nothing_is_ever_proven_or_harmful(stages):
    # The draws are not at issue here, only that the canary has given no answer.
    stages = [replace(stage, stable=replace(stage.stable, assigned=0)) for stage in stages]
    found = judge([*GUARDS, WATCHED], stages, 0.01)
    assert {guard.verdict for guard in found.guards} == {"undecided"}
    assert found.verdict == "undecided"
    assert "no canary request was counted yet" in found.reason


def test_three_requests_an_hour_are_undecided_after_a_day():
    found = judge(GUARDS, [StageCounts(0.1, role(65), role(7), {"label": (72, 0)})], 0.01)
    assert found.verdict == "undecided"
    assert found.guards[0].more_to_proof > 100


def test_without_an_enforced_guard_nothing_is_proven():
    assert judge([], [good()], 0.01).verdict == "undecided"
    assert judge([replace(ERRORS, mode="observe")], [good(8)], 0.01).verdict == "undecided"


# ------------------------------------------------------------------ sample ratio
def test_draws_that_do_not_fall_as_the_weight_says_hold_the_rollout_and_do_not_roll_it_back():
    skewed = replace(good(8), canary=replace(good(8).canary, assigned=20_000))
    found = judge(GUARDS, [good(1), skewed], 0.01)
    assert found.verdict == "undecided"
    assert found.hold == found.reason
    assert "20,000 of 92,000 requests went to the canary at a weight of 10%" in found.hold


def test_harm_acts_although_the_draws_are_off():
    found = judge(GUARDS, [StageCounts(0.1, role(500), role(500, 400))], 0.01)
    assert found.hold is not None
    assert found.verdict == "harmful"


# ------------------------------------------------------------------ forecasts
@pytest.mark.parametrize("guard", [ErrorsGuard(max_ratio=1.5), ERRORS, AGREEMENT])
def test_the_forecast_comes_true_at_the_same_rates(guard):
    def after(times):
        return StageCounts(
            0.1, role(1800 * times, 18 * times), role(200 * times, 2 * times), {"label": (200 * times, times)}
        )

    forecast = 1 + one(guard, after(1)).more_to_proof / 200
    proven = next(times for times in range(1, 100) if one(guard, after(times)).verdict == "proven")
    assert proven - 1 < forecast < proven * 1.12
    assert one(guard, after(1)).more_to_harm is None


def test_what_is_decided_takes_no_more_requests():
    assert one(AGREEMENT, good()).more_to_proof == 0
    assert one(AGREEMENT, good()).more_to_harm is None


def test_at_weight_zero_the_ratio_has_no_forecast():
    stages = [replace(good(), weight=0.1), StageCounts(0.0)]
    assert one(ErrorsGuard(1.5), *stages).more_to_proof is None


# ------------------------------------------------------------------ stages and routers
def test_stages_add_up_as_evidence_and_not_as_counts():
    """Errors that are many when the weight is high are no fault of the canary: Simpson's paradox."""
    quiet = StageCounts(0.01, role(99_000, 99), role(1000, 1))
    outage = StageCounts(0.5, role(1000, 500), role(1000, 500))
    found = one(ErrorsGuard(1.5), quiet, outage)
    assert found.verdict != "harmful"
    pooled_rates = (501 / 2000) / (599 / 100_000)
    assert pooled_rates > 40


def test_thousands_of_stages_are_judged_as_their_sum():
    many = [StageCounts(0.001, role(999, 9), role(1))] * 3000
    found = judge(GUARDS, many, 0.01)
    total = judge(
        GUARDS,
        [StageCounts(0.001, role(999 * 3000, 27_000), role(3000))],
        0.01,
    )
    assert [guard.log_harm for guard in found.guards] == pytest.approx(
        [guard.log_harm for guard in total.guards]
    )


# ------------------------------------------------------------------ latency edges
def test_edges_lie_at_stables_quantiles():
    edges = latency_edges(latencies(20_000))
    above = slower_than(latencies(20_000)) / 20_000
    assert above[list(edges.quantiles)] == pytest.approx([0.5, 0.1, 0.05], rel=0.35)
    assert above[edges.ceiling] <= 0.01


@settings(max_examples=examples(50))
@given(st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(1, 10**6), min_size=1, max_size=20))
def test_stable_has_answers_above_every_edge_that_can_prove(histogram):
    edges = latency_edges(histogram)
    if sum(histogram.values()) < MIN_BASELINE:
        assert edges is None
        return
    above = slower_than(histogram)
    assert all(above[edge] > 0 for edge in edges.quantiles)
    assert above[edges.ceiling] <= 0.01000001 * sum(histogram.values())
    assert list(edges.quantiles) == sorted(set(edges.quantiles))


def test_a_narrow_histogram_still_shows_a_slower_canary():
    edges = latency_edges({100: 5000})
    assert edges == LatencyEdges((100,), 101)
    spans = [TimedSpans.none(edges, 1.25).after(SpanTimes({at: 50}, {100: 450})) for at in (110, 100)]
    verdicts = [
        one(LATENCY, past=Past(paired=False, timed=TimedSpans.all([each] * 20))).verdict for each in spans
    ]
    assert verdicts == ["harmful", "proven"]


# ------------------------------------------------------------------ PromQL guards
def watch(*values):
    seen = Measurements()
    for value in values:
        seen = measured(WATCHED, seen, value)
    return one(WATCHED, measurements={"conversion": seen})


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([], "undecided"),
        ([12.0], "proven"),
        ([10.0], "proven"),
        ([9.0], "undecided"),
        ([9.0, 12.0], "proven"),
        ([9.0, 12.0, 8.0], "harmful"),
        ([9.0, 8.0, 12.0], "harmful"),
        (["away"], "undecided"),
        ([12.0, "away"], "undecided"),
        ([12.0, math.nan, 12.0], "undecided"),
        ([math.inf], "undecided"),
        (["away"] * 50, "undecided"),
    ],
)
def test_measurements_are_judged_in_argos_words(values, verdict):
    assert watch(*values).verdict == verdict


def test_the_reason_names_the_value_the_bounds_and_the_limit():
    assert watch(9.0, 8.5).reason == (
        "harmful: Prometheus last gave 8.5, wanted at least 10; 2 of 2 measurements failed, tolerated 1"
    )
    assert watch("away").reason.endswith("1 of 1 measurements had no value, tolerated 0")
    both = replace(WATCHED, max=20.0)
    seen = measured(both, Measurements(), 25.0)
    assert "wanted at least 10 and at most 20" in one(both, measurements={"conversion": seen}).reason


def test_a_harmful_measurement_rolls_back_and_an_unreachable_prometheus_does_not():
    failed = {"conversion": measured(WATCHED, measured(WATCHED, Measurements(), 1.0), 1.0)}
    assert judge([ERRORS, WATCHED], [good(8)], 0.01, failed).verdict == "harmful"
    silent = {"conversion": measured(WATCHED, Measurements(), "away")}
    assert judge([ERRORS, WATCHED], [good(8)], 0.01, silent).verdict == "undecided"


def test_a_guard_that_has_no_value_for_long_is_in_doubt_and_says_why():
    away = "http://p does not answer"
    assert watch(12.0, away, away).doubt == ""
    assert watch(12.0, *[away] * 4).doubt == (
        f"the last 4 times Prometheus was asked it gave no value: {away}"
    )
    assert watch(*[math.nan] * 3).doubt.endswith("its value is nan")
    assert watch(*[away] * 4, 12.0).doubt == ""


# ------------------------------------------------------------------ words
def test_numbers_read_as_people_write_them():
    assert [e_value(math.log(x)) for x in (0.031, 3, 412, 123_456, 1.2e15)] == [
        "0.031",
        "3",
        "412",
        "123,456",
        "1.2e+15",
    ]
    assert e_value(5000) == "above 1e+299"
    assert [share(x) for x in (0.02, 0.001, 1 - 0.98)] == ["2%", "0.1%", "2%"]
    assert [duration(x) for x in (2.5, 0.0125, 0.0000042, 1e-7)] == ["2.5 s", "12.5 ms", "4.2 us", "0.1 us"]


def test_sticky_users_are_held_to_the_weights_each_once_and_over_all_stages():
    # Three requests of a user come in four processes each: no draws of their own.
    stages = [StageCounts(0.1, role(36_000), role(4_900))]
    assert judge([ERRORS], stages, 0.01, sticky=True).hold is not None
    users = [DrawnUsers(0.1, 110, 890), DrawnUsers(0.0, 0, 0)]
    assert judge([ERRORS], stages, 0.01, past=Past(users=users), sticky=True).hold is None
    missing = [DrawnUsers(weight, int(1000 * weight * 0.7), 1000) for weight in (0.1, 0.2, 0.3, 0.5)]
    hold = judge([ERRORS], stages, 0.01, past=Past(users=missing), sticky=True).hold
    assert hold is not None
    assert "770 of 4,770 users went to the canary, where the weights make it about" in hold
