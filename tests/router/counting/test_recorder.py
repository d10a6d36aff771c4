"""Counts enter in order of arrival, and sticky keys count once."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.counting.key_units import UNIT_REQUESTS, Unit
from router.counting.recorder import KEPT_SPANS, MAX_KEYS, StageRecorder
from router.counting.slices import Timed
from router.counting.stage_counts import MAX_KEYS_A_REPORT, SPAN_SECONDS, Second, Span, from_json, to_json


def test_an_outcome_waits_for_everything_that_arrived_before_it():
    recorder = StageRecorder("digits", 1, 0.5)
    slow = recorder.current
    slow.pending += 1
    recorder.rotate()
    recorder.current.canary.refuse(failed=True)
    recorder.rotate()
    assert recorder.settled.canary.failures == 0, "stable's request from before is still under way"
    slow.pending -= 1
    slow.stable.refuse(failed=True)
    recorder.rotate()
    assert (recorder.settled.stable.failures, recorder.settled.canary.failures) == (1, 1)


def test_what_arrives_is_added_up_by_spans_of_wall_time():
    wall = [1000.0]
    recorder = StageRecorder("digits", 1, 0.5, lambda: wall[0])
    recorder.current.canary.leave()
    waiting = recorder.current
    waiting.pending += 1
    wall[0] += SPAN_SECONDS
    recorder.rotate()
    recorder.current.stable.add(0.0, 0.01)
    recorder.rotate()
    assert (recorder.settled.spans, recorder.settled.open_span) == ({}, 200), "one request is under way"
    waiting.pending -= 1
    wall[0] += SPAN_SECONDS
    recorder.rotate()
    found = recorder.settled
    assert found.spans == {200: Span(1, 1, 0, 0), 201: Span(0, 0, 1, 0)}
    assert found.open_span == 202
    assert (found.canary.assigned, found.canary.requests, found.canary.abandoned) == (1, 1, 1)


def test_only_the_latest_spans_are_kept():
    wall = [0.0]
    recorder = StageRecorder("digits", 1, 0.5, lambda: wall[0])
    for number in range(3 * KEPT_SPANS):
        recorder.current.stable.leave()
        recorder.rotate()
        wall[0] = SPAN_SECONDS * (number + 1)
        recorder.rotate()
    assert set(recorder.settled.spans) == set(range(2 * KEPT_SPANS, 3 * KEPT_SPANS))
    assert recorder.settled.stable.abandoned == 3 * KEPT_SPANS


def test_the_latest_seconds_are_told_and_how_far_all_is_settled():
    wall = [1000.25]
    recorder = StageRecorder("digits", 1, 0.5, lambda: wall[0], longest=2.0)
    recorder.current.canary.refuse(failed=True)
    recorder.current.canary.errors += 1
    recorder.current.canary.err(77, "failed", "")
    hung = recorder.current
    hung.pending += 1
    wall[0] = 1001.5
    recorder.rotate()
    assert (recorder.settled.settled_until, recorder.settled.seconds) == (1000.25, {})
    hung.pending -= 1
    wall[0] = 1001.75
    recorder.rotate()
    assert recorder.settled.settled_until == 1001.75
    assert recorder.settled.seconds == {1000: Second(1, 1, 1)}
    assert recorder.report(0).error_seconds == ((1000,), ())
    for second in range(1002, 1020):
        recorder.current.stable.leave()
        wall[0] = float(second)
        recorder.rotate()
    assert set(recorder.settled.seconds) == set(range(1012, 1019)), "those of two seconds, and a margin"


def test_without_a_draw_there_is_nothing_to_hold_the_roles_against():
    recorder = StageRecorder("digits", 1, 0.0)
    recorder.current.stable.leave()
    recorder.rotate()
    assert recorder.settled.spans == {}


def test_users_who_were_drawn_before_are_no_draw_and_count_against_limits():
    wall = [1000.0]
    recorder = StageRecorder("digits", 3, 0.2, lambda: wall[0], beyond=0.5)
    recorder.current.canary.refuse(failed=True)
    recorder.current.canary.err(7, "failed", "")
    again = recorder.current.again
    again.pending += 1
    again.canary.add(0.0, 0.01)
    again.canary.refuse(failed=True)
    again.canary.leave()
    again.stable.leave()
    again.canary.err(8, "failed", "")
    again.canary.of_keys += [(8, True)] * UNIT_REQUESTS + [(0, True)]
    again.stable.of_keys.append((9, True))
    recorder.rotate()
    assert recorder.settled.canary.requests == 0, "one of them is under way"
    again.pending -= 1
    wall[0] += 1.0
    assert recorder.rotate()
    found = from_json(to_json(recorder.report(0)))
    assert (found.weight, found.beyond, found.again) == (0.2, 0.5, 2)
    assert (found.canary.requests, found.stable.requests, found.error_keys) == (1, 0, ((7,), ()))
    assert found.spans == {200: Span(1, 0, 0, 0)}
    assert found.seconds == {1000: Second(1, 0, 1, 0, 0, 0, 0, 0, 2, 1)}
    assert found.units == (Unit("canary", 8, 1000, UNIT_REQUESTS, UNIT_REQUESTS),)
    assert found.keyless == {"canary": (1, 1)}


def test_where_nobody_is_drawn_anew_what_is_held_against_limits_still_counts():
    recorder = StageRecorder("digits", 3, 0.0, lambda: 1000.0, beyond=0.5)
    recorder.current.again.canary.refuse(failed=True)
    recorder.current.stable.leave()
    recorder.rotate()
    found = recorder.settled
    assert (found.spans, found.seconds[1000][-2:]) == ({}, (1, 1))


def test_the_first_request_and_the_first_error_of_a_key_count():
    recorder = StageRecorder("digits", 1, 0.5)
    assert recorder.first_of_key(7)
    assert not recorder.first_of_key(7)
    assert recorder.first_error_of_key(7)
    assert not recorder.first_error_of_key(7)


def test_keys_that_erred_are_told_until_control_answers_and_then_no_more():
    recorder = StageRecorder("digits", 1, 0.5)

    def errs(*keys):
        for key in keys:
            recorder.current.canary.err(key, "failed", "")
        assert recorder.rotate() is bool(keys)

    def told(answered):
        found = recorder.report(answered)
        assert from_json(to_json(found)) == found
        return found.error_keys[0]

    errs(1, 2)
    assert told(0) == (1, 2)
    errs(3)
    assert told(0) == (1, 2, 3), "hurried, beside the report that is being answered"
    assert told(1) == (3,), "the answer was to the first"
    errs()
    assert told(1) == (3,)
    assert told(2) == ()
    errs(4)
    assert told(2) == (4,)
    assert told(3) == (4,), "it may not have been in the report that was answered"
    assert told(4) == ()


def test_many_keys_are_told_in_parts():
    recorder = StageRecorder("digits", 1, 0.5)
    for key in range(1, MAX_KEYS_A_REPORT + 3):
        recorder.current.stable.err(key, "failed", "")
    recorder.rotate()
    assert len(recorder.report(0).error_keys[1]) == MAX_KEYS_A_REPORT
    assert recorder.report(1).error_keys[1] == (MAX_KEYS_A_REPORT + 1, MAX_KEYS_A_REPORT + 2)


def test_bodies_that_repeat_are_counted(monkeypatch):
    monkeypatch.setattr("router.counting.recorder.MAX_KEYS", 2)
    recorder = StageRecorder("digits", 1, 0.0)
    assert [recorder.first_of_body(body) for body in (7, 7, 8, 7, 9, 9)] == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]
    assert recorder.settled.repeated == 2, "of those that are remembered"


def test_a_full_set_of_keys_stops_counting_and_says_so():
    recorder = StageRecorder("digits", 1, 0.5)
    recorder._keys = set(range(1, MAX_KEYS + 1))
    assert not recorder.first_of_key(MAX_KEYS + 1)
    assert recorder.keys_full
    assert not recorder.first_error_of_key(1)


def test_agreement_is_counted_per_output():
    recorder = StageRecorder("digits", 3, 0.0)
    recorder.compared("label", same=True)
    recorder.compared("label", same=False)
    recorder.compared("probabilities", same=False)
    assert recorder.settled.agreement == {"label": (2, 1), "probabilities": (1, 1)}


@given(st.lists(st.tuples(st.sampled_from(["stable", "canary", "rotate"]), st.booleans()), max_size=60))
def test_nothing_is_lost_or_counted_twice(events):
    recorder = StageRecorder("digits", 1, 0.5, timed=Timed(compute=True, waits=True))
    for kind, failed in events:
        if kind == "rotate":
            recorder.rotate()
        else:
            tally = getattr(recorder.current, kind)
            tally.refuse(failed=True) if failed else tally.add(1e-5, 1e-3)
    recorder.rotate()
    for role in ("stable", "canary"):
        outcomes = [failed for kind, failed in events if kind == role]
        counts = getattr(recorder.settled, role)
        assert (counts.assigned, counts.requests, counts.failures) == (
            len(outcomes),
            len(outcomes),
            sum(outcomes),
        )
        for kept in (recorder.settled.times, recorder.settled.waits):
            told = [getattr(span, role) for span in kept.values()]
            assert sum(sum(span.values()) for span in told) == len(outcomes) - sum(outcomes)


@pytest.mark.parametrize("timed", [Timed(*kept) for kept in product([False, True], repeat=2)])
def test_times_are_kept_only_where_they_are_wanted(timed):
    recorder = StageRecorder("digits", 1, 0.5, timed=timed)
    recorder.current.stable.add(1e-3, 0.01)
    recorder.rotate()
    assert recorder.settled.spans
    assert bool(recorder.settled.times) == timed.compute
    assert bool(recorder.settled.waits) == timed.waits


def test_settling_says_whether_the_canary_failed():
    recorder = StageRecorder("digits", 1, 0.5)
    recorder.current.stable.errors += 1
    recorder.current.stable.requests += 1
    assert not recorder.rotate()
    recorder.current.canary.refuse(failed=True)
    recorder.current.canary.errors += 1
    assert recorder.rotate()
    assert not recorder.rotate()
