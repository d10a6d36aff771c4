"""The guard of segments: one harmed segment is found and named, and many cost no more alpha than one."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.guard_evidence import Past, Segmented, pool
from control.judging.guards.registry import judged
from control.judging.judge import judge, remembered
from router.counting.segments import NONE, OTHER, Places, SegmentErrors
from router.counting.stage_counts import RoleCounts, StageCounts
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.segments import SegmentsGuard

GUARD = SegmentsGuard()
GUARDS = (ErrorsGuard(max_ratio=1.5), GUARD)
HEADER = "x-country"


def stage(weight=0.1, **segments):
    """Counts of a stage with these errors, canary's and stable's."""
    found = {
        value: SegmentErrors(*errors, first) for first, (value, errors) in enumerate(segments.items(), 1)
    }
    canary, stable = (sum(each[role] for each in found.values()) for role in (0, 1))
    asked = 1_000, 9_000
    roles = (RoleCounts(n, n, errors, errors) for n, errors in zip(asked, (canary, stable), strict=True))
    return StageCounts(weight, *reversed(tuple(roles)), segments=found)


def past(stages, most=20, ratio=1.5, **more):
    places = Places(most).seen(each.segments for each in stages)
    return Past(segmented=Segmented(HEADER, places, ratio), **more)


def verdict(*stages, guards=(GUARD,), **more):
    return judge(guards, stages, 0.01, None, past(stages, **more)).guards[-1]


def test_the_harmed_segment_is_named_where_the_pooled_guard_is_silent():
    counts = stage(de=(24, 20), **{f"c{n}": (9, 90) for n in range(12)})
    found = judge(GUARDS, [counts], 0.01, None, past([counts]))
    errors, segments = found.guards
    assert (errors.verdict, segments.verdict, found.verdict) == ("proven", "harmful", "harmful")
    assert segments.reason.startswith(
        "harmful: errors in segment x-country=de: 24 of the canary's 132 failures against 20 of stable's"
        " 1,100; e-value "
    )
    assert segments.log_line == pytest.approx(log(3 / 0.01)), "errors have two thirds of alpha"
    assert [each.value for each in segments.segments if each.named] == ["de"]
    assert segments.segments[0].value == "de"
    assert len(segments.segments) == 13
    assert not segments.proves
    assert segments.log_safe is None


def test_several_harmed_segments_are_named_and_more_are_counted():
    found = verdict(stage(**{f"c{n}": (30, 10) for n in range(5)}, **{NONE: (1, 9)}))
    assert found.verdict == "harmful"
    assert found.reason.count("x-country=c") == 3
    assert "and 2 segments more" in found.reason


def test_without_errors_nothing_is_said_against_the_canary():
    found = verdict(stage())
    assert found.reason == (
        "undecided: no request of any segment failed; e-value 1 for harm (needed 100), all that it asks"
    )
    assert (found.segments, found.doubt) == ((), "")


def test_what_speaks_most_for_harm_is_told_until_it_is_enough():
    found = verdict(stage(de=(4, 3), fr=(1, 9)))
    assert found.verdict == "undecided"
    assert "x-country=de: 4 of the canary's 5 failures against 3 of stable's 12" in found.reason
    assert found.more_to_harm is not None


def test_values_without_a_place_are_one_segment_and_a_doubt():
    few = stage(de=(2, 9), fr=(1, 9))
    assert verdict(few, most=2).doubt == ""
    found = verdict(stage(de=(2, 9), fr=(1, 9), it=(1, 9), es=(2, 9)), most=2)
    assert found.doubt == (
        "requests of more than 2 values of x-country failed: those that came after the first 2 are one"
        " segment together, other"
    )
    assert {(each.value, each.canary) for each in found.segments} == {("de", 2), ("fr", 1), (OTHER, 3)}


def test_stages_of_all_weights_count():
    first, second = stage(de=(10, 9)), stage(0.5, de=(30, 3))
    alone, both = verdict(second), verdict(first, second)
    assert both.log_harm > alone.log_harm
    [segment] = both.segments
    assert (segment.canary, segment.stable) == (40, 12)


def test_with_sticky_users_stages_in_which_nobody_is_drawn_anew_are_no_evidence():
    nobody = StageCounts(0.0, RoleCounts(9, 9), beyond=0.5, again=9)
    found = judge((GUARD,), [nobody], 0.01, None, past([nobody]), sticky=True).guards[0]
    assert found.verdict == "undecided"
    assert "no user is drawn anew in this stage" in found.reason


def test_a_place_goes_on_over_ticks_and_a_new_one_begins_anew():
    early = stage(fr=(9, 90))
    tests = {}
    for _ in range(5):
        tests = remembered((GUARD,), [early], past([early], tests=tests))
    assert {"segments/fr", f"segments/{OTHER}"} == tests.keys()
    later = stage(fr=(24, 92), de=(12, 4))
    with_past, at_once = (
        {each.value: each.log_harm for each in verdict(later, tests=before).segments}
        for before in (tests, {})
    )
    assert with_past["de"] == pytest.approx(at_once["de"])
    assert with_past["fr"] > at_once["fr"] + 2, "what comes late need not win back what came before"


ERRORS = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]), st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4
)


@given(ERRORS, st.permutations("abcd"))
def test_what_segments_are_called_changes_no_evidence(errors, names):
    other = {names["abcd".index(value)]: found for value, found in errors.items()}
    one, two = (verdict(stage(**each)) for each in (errors, other))
    assert one.log_harm == pytest.approx(two.log_harm)


@given(ERRORS, st.integers(4, 100))
def test_the_e_value_is_the_mean_over_all_places_the_empty_ones_too(errors, most):
    counts = stage(**errors)
    found = judged(GUARD).weigh(GUARD, pool([counts]), past([counts], most))
    of_places = [exp(each.log_harm) for each in found.segments]
    mean = (sum(of_places) + most + 1 - len(of_places)) / (most + 1)
    assert float(found.evidence.harm[0]) == pytest.approx(log(mean))
    assert np.all(found.evidence.safe == -np.inf)


def test_an_adversary_who_chooses_segments_and_when_to_stop_makes_no_more_than_one():
    """Exact: knowing all that was, who fails next is chosen, and whether a new value gets the last place."""
    weight, values, depth = 0.2, "ab", 5

    def e_value(history):
        errors: dict[str, SegmentErrors] = {}
        for second, (value, at_canary) in enumerate(history, 1):
            one = SegmentErrors(at_canary, 1 - at_canary, second)
            errors[value] = errors[value] + one if value in errors else one
        counts = StageCounts(weight, RoleCounts(99, 99), RoleCounts(99, 99), segments=errors)
        found = judged(GUARD).weigh(GUARD, pool([counts]), past([counts], most=1, ratio=1.0))
        return exp(float(found.evidence.harm[0]))

    def best(history=()):
        stopped = e_value(history)
        if len(history) == depth:
            return stopped
        goes_on = (
            weight * best((*history, (value, 1))) + (1 - weight) * best((*history, (value, 0)))
            for value in (values if history else values[:1])  # what they are called changes nothing
        )
        return max(stopped, *goes_on)

    assert best() == pytest.approx(1.0, abs=1e-9)
