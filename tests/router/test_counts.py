"""Counts enter in order of arrival, and sticky keys count once."""

from hypothesis import given
from hypothesis import strategies as st

from router.counts import MAX_KEYS, StageRecorder


def test_an_outcome_waits_for_everything_that_arrived_before_it():
    recorder = StageRecorder("digits", 1, 0.5)
    slow = recorder.current
    slow.pending += 1
    recorder.rotate()
    recorder.current.canary.add(failed=True, compute_seconds=0.0)
    recorder.rotate()
    assert recorder.settled.canary.failures == 0, "stable's request from before is still under way"
    slow.pending -= 1
    slow.stable.add(failed=True, compute_seconds=0.0)
    recorder.rotate()
    assert (recorder.settled.stable.failures, recorder.settled.canary.failures) == (1, 1)


def test_the_first_request_and_the_first_error_of_a_key_count():
    recorder = StageRecorder("digits", 1, 0.5)
    assert recorder.first_of_key(7)
    assert not recorder.first_of_key(7)
    assert recorder.first_error_of_key(7)
    assert not recorder.first_error_of_key(7)


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
    recorder = StageRecorder("digits", 1, 0.5)
    for kind, failed in events:
        if kind == "rotate":
            recorder.rotate()
        else:
            getattr(recorder.current, kind).add(failed=failed, compute_seconds=0.0 if failed else 1e-5)
    recorder.rotate()
    for role in ("stable", "canary"):
        outcomes = [failed for kind, failed in events if kind == role]
        counts = getattr(recorder.settled, role)
        assert (counts.assigned, counts.requests, counts.failures) == (
            len(outcomes),
            len(outcomes),
            sum(outcomes),
        )
        assert sum(counts.latency.values()) == len(outcomes) - sum(outcomes)


def test_settling_says_whether_the_canary_failed():
    recorder = StageRecorder("digits", 1, 0.5)
    recorder.current.stable.errors += 1
    recorder.current.stable.requests += 1
    assert not recorder.rotate()
    recorder.current.canary.add(failed=True, compute_seconds=0.0)
    recorder.current.canary.errors += 1
    assert recorder.rotate()
    assert not recorder.rotate()
