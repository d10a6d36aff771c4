"""What an A/A test has shown: each share with its bounds, tolerances above the noise, no claim beyond it."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.aa_report import CONFIDENCE, QUANTILES, aa_report, rounded_up, share
from control.judging.judge import judge
from control.rollouts.aa import judged_in_aa
from router.counting.pairs import NO_PAIRS, RATIO_EDGES, PairCounts, StagePairs
from router.counting.stage_counts import RoleCounts, StageCounts
from router.rollout.parser import parse_one

DOCUMENT = """
stable: digits/1
compare: {label: exact, probabilities: {atol: 1e-4}, scores: {cosine: 0.9}, shares: {js: 0.1}}
guards: {agreement: {output: label, min: 99%}}
"""
OUTPUTS = ("label", "other", "probabilities", "scores", "shares")


def judged(document=DOCUMENT):
    return judged_in_aa(parse_one("digits", document, "test"))


def report(counts, greatest=None, alarms=None, rollout=None):
    rollout = rollout or judged()
    guards = judge(rollout.guards, [counts], rollout.alpha).guards
    return aa_report(rollout, guards, greatest or {}, alarms or {}, counts)


def timed(pairs):
    counts = StagePairs()
    for candidate, stable in pairs:
        counts.add(candidate, stable, 1.25, (1.0, 1.0, 1.0))
    return counts.counts


@st.composite
def shares(draw):
    trials = draw(st.integers(0, 10**6))
    return draw(st.integers(0, trials)), trials


@st.composite
def stages(draw):
    def role():
        failures, requests = draw(shares())
        return RoleCounts(requests, requests, failures, failures, draw(st.integers(0, requests - failures)))

    agreement = {
        output: pair[::-1]
        for output, pair in draw(st.dictionaries(st.sampled_from(OUTPUTS), shares())).items()
    }
    farthest = {output: draw(st.floats(0, 1e6)) for output in agreement}
    pairs = timed(draw(st.lists(st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)), max_size=40)))
    return StageCounts(0.1, role(), role(), agreement, pairs=pairs, farthest=farthest)


@given(shares())
def test_a_share_lies_within_its_bounds_and_each_is_that_of_scipy(pair):
    from scipy import stats  # a second of CPU time, for the one process that runs this

    events, trials = pair
    found = share(events, trials)
    assert 0.0 <= found.least <= (events / trials if trials else 0.0) <= found.most <= 1.0
    if 0 < trials < 10_000:
        for side, bound in (("greater", "low"), ("less", "high")):
            test = stats.binomtest(events, trials, alternative=side)
            interval = test.proportion_ci(CONFIDENCE, "exact")
            ours = found.least if bound == "low" else found.most
            assert ours == pytest.approx(getattr(interval, bound), abs=1e-9)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_trials_without_an_event_allow_less(fewer, more):
    assert share(0, fewer + more).most < share(0, fewer).most


@given(st.floats(1e-300, 1e300))
def test_a_number_is_rounded_up_to_one_digit(value):
    rounded = rounded_up(value)
    assert value <= rounded <= 2.0 * value * (1 + 1e-9)
    assert len(f"{rounded:e}".partition("e")[0].rstrip("0").rstrip(".")) == 1
    assert rounded_up(0.0) == 0.0


@given(stages(), st.dictionaries(st.sampled_from(["errors", "latency", "draws"]), st.just("harmful: it is")))
def test_a_report_says_each_thing_that_was_counted_and_survives_json(counts, alarms):
    found = report(counts, {"errors": 0.5}, alarms)
    assert found.alarms == len(alarms)
    assert {guard.guard for guard in found.guards if guard.alarm} == alarms.keys() - {"draws"}
    assert ("no false alarm" in found.sentences[0]) == (not alarms)
    assert [output.output for output in found.outputs] == sorted(counts.agreement)
    for output in found.outputs:
        comparisons, differing = counts.agreement[output.output]
        assert (output.differences.trials, output.differences.events) == (comparisons, differing)
        noise = comparisons and (differing or counts.farthest[output.output])
        assert bool(output.suggestion) == bool(noise)
    assert found.canary.requests == counts.canary.requests
    assert len(found.sentences) >= 3 + len(counts.agreement)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["alarms"] == len(alarms)


@given(st.lists(st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)), min_size=1, max_size=80))
def test_quantiles_of_ratios_are_no_less_than_those_of_the_pairs(pairs):
    found = report(StageCounts(0.1, pairs=timed(pairs))).latency
    ordered = sorted(candidate / stable for candidate, stable in pairs)
    assert found.pairs == len(pairs)
    assert list(found.ratios) == sorted(found.ratios)
    for quantile, shown in zip(QUANTILES, found.ratios, strict=True):
        below = sum(ratio < shown * (1 + 1e-9) for ratio in ordered)
        assert below >= quantile * len(pairs) or shown == RATIO_EDGES[-1]


@pytest.mark.parametrize(
    ("output", "farthest", "differing", "suggestion"),
    [
        ("probabilities", 3.6e-5, 0, "atol 8e-05"),
        ("probabilities", 3.6e-3, 40, "atol 0.008"),
        ("other", 3.6e-3, 0, "atol 0.008"),
        ("other", 3.6e-3, 30, "min at most 99.1%, or for floats atol 0.008"),
        ("label", 0.5, 30, "min at most 99.1%"),
        ("label", 0.0, 0, ""),
        ("scores", 0.02, 0, "cosine 0.96"),
        ("shares", 0.02, 9, "js 0.04"),
        ("probabilities", 0.0, 30, "min at most 99.1%"),  # other shapes, or NaN at other places
        ("label", 1.0, 9000, "no min: it is noise"),
    ],
)
def test_the_suggested_tolerance_is_the_least_above_the_noise(output, farthest, differing, suggestion):
    counts = StageCounts(0.1, agreement={output: (10_000, differing)}, farthest={output: farthest})
    [found] = report(counts).outputs
    assert found.suggestion == suggestion


def test_the_suggested_ratio_is_the_least_that_a_tenth_of_the_pairs_is_beyond_at_most():
    quiet, noisy = [0] * len(NO_PAIRS.ratios), [0] * len(NO_PAIRS.ratios)
    quiet[61] = 1000  # of 1 to 1.0226
    noisy[61], noisy[75] = 800, 200  # of 1.37 to 1.4
    for ratios, suggestion in ((quiet, "maxRatio at least 1.1"), (noisy, "maxRatio at least 1.5")):
        found = report(StageCounts(0.1, pairs=PairCounts(ratios=tuple(ratios)))).latency
        assert found.suggestion == suggestion
    wild = PairCounts(ratios=(*NO_PAIRS.ratios[:-1], 10))
    assert report(StageCounts(0.1, pairs=wild)).latency.suggestion == "no maxRatio: it is noise"


def test_what_was_not_seen_is_said_to_be_unknown():
    found = report(StageCounts(0.1))
    unknown = [sentence.partition("nothing is known of ")[2] for sentence in found.sentences]
    assert unknown == ["false alarms", "errors", "noise", "its noise"]
    seen = StageCounts(0.1, agreement={"label": (12_000, 0)}, farthest={"label": 0.0})
    [said] = [sentence for sentence in report(seen).sentences if sentence.startswith("label: ")]
    assert said.startswith(
        "label: no disagreement in 12,000 comparisons, at most 0.025% at 95%; compared by exact"
    )
    assert said.endswith("; no noise was seen")


def test_guards_are_added_where_the_document_has_none_of_a_kind_and_need_what_the_others_need():
    bare, own = judged("stable: digits/1"), judged()
    assert [(guard.name, guard.mode) for guard in bare.guards] == [
        ("errors", "enforce"),
        ("latency", "enforce"),
    ]
    assert [(guard.name, guard.mode) for guard in own.guards] == [
        ("agreement:label", "enforce"),
        ("errors", "observe"),
        ("latency", "observe"),
    ]
    both = "{stable: digits/1, guards: {errors: {max: 2%}, latency: {maxRatio: 2}}}"
    assert judged(both) == parse_one("digits", both, "test")
