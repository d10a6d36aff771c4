"""Errors by segment: they add up in any order, and who has a place does not depend on who failed."""

import json
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.counting.recorder import StageRecorder
from router.counting.segments import (
    MAX_PLACES,
    MAX_TEXT,
    NONE,
    OTHER,
    Places,
    SegmentErrors,
    apart,
    segment_of,
    together,
)
from router.counting.stage_counts import StageCounts, from_json, to_json
from router.rollout import kinds
from serving.errors import InvalidInput

VALUES = st.sampled_from(["de", "fr", "it", OTHER, NONE])
segments = st.dictionaries(
    VALUES, st.builds(SegmentErrors, st.integers(0, 9), st.integers(0, 9), st.integers(1, 99)), max_size=4
)


@given(st.one_of(st.none(), st.binary(max_size=200)))
def test_a_value_is_short_text_that_can_be_printed(value):
    text = segment_of(value)
    assert 0 < len(text) <= MAX_TEXT
    assert text.isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NONE),
        (b" \t", NONE),
        (b" de\t", "de"),
        ("K\N{LATIN SMALL LETTER O WITH DIAERESIS}ln".encode(), "K\N{LATIN SMALL LETTER O WITH DIAERESIS}ln"),
        (b"a\x00b", "a\N{REPLACEMENT CHARACTER}b"),
        (b"x" * 99, "x" * MAX_TEXT),
    ],
)
def test_what_a_header_names(value, text):
    assert segment_of(value) == text


def test_a_process_tells_as_many_as_a_document_may_ask_for():
    assert kinds.SEGMENTS.most == MAX_PLACES


@given(segments, segments, segments)
def test_errors_of_processes_add_up_in_any_order(a, b, c):
    found = [dict(together(together(x, y), z)) for x, y, z in permutations((a, b, c))]
    assert all(each == found[0] for each in found)
    for value, errors in found[0].items():
        assert errors.canary == sum(each[value].canary for each in (a, b, c) if value in each)
    assert together(a, {}) == a


@given(segments, segments)
def test_what_is_taken_off_is_what_was_added(a, b):
    left = apart(together(a, b), b)
    assert {value: each[:2] for value, each in left.items()} == {
        value: each[:2] for value, each in a.items() if each[0] or each[1]
    }


@given(st.integers(0, 3), segments)
def test_folded_into_places_no_error_is_lost(most, counted):
    places = Places(most).seen([counted])
    folded = places.folded(counted)
    assert len(places.values) <= most
    assert OTHER not in places.values
    assert folded.keys() <= {*places.values, OTHER}
    for role in (0, 1):
        assert sum(each[role] for each in folded.values()) == sum(each[role] for each in counted.values())


def test_whoever_fails_first_has_a_place_and_keeps_it():
    places = Places(2).seen([{"it": SegmentErrors(1, 0, 9)}, {"fr": SegmentErrors(0, 1, 7)}])
    assert places.values == ("fr", "it")
    assert places.seen([{"de": SegmentErrors(5, 5, 1)}]) is places
    assert (places.of("it"), places.of("de")) == ("it", OTHER)


EVENTS = st.lists(
    st.tuples(st.sampled_from("abcde"), st.booleans(), st.integers(0, 3), st.booleans()), max_size=20
)


@given(EVENTS, st.randoms(), st.booleans())
def test_places_do_not_depend_on_the_role_of_what_failed(events, random, keyed):
    """The same requests, drawn otherwise, some of which end late: all count in the same places."""

    def places(roles):
        wall = [1000.0]
        recorder = StageRecorder("m", 1, 0.5, lambda: wall[0], segments=2)
        hung = []
        for key, ((value, _, seconds, late), at_canary) in enumerate(zip(events, roles, strict=True), 1):
            arrived = recorder.current
            arrived.pending += 1
            # Stable times out where the canary fails at once: it tells of its errors late.
            ends = arrived, arrived.canary if at_canary else arrived.stable, value, key if keyed else 0
            hung.insert(random.randint(0, len(hung)) if late or not at_canary else 0, ends)
            wall[0] += seconds / 7
            recorder.rotate()
        for slice_, tally, value, key in hung:
            tally.err(key, "failed", value)
            tally.requests += 1
            slice_.pending -= 1
            recorder.rotate()
        recorder.rotate()
        told = recorder.report(0)
        assert from_json(json.loads(json.dumps(to_json(told)))) == told
        by_key = zip((*told.error_keys[0], *told.error_keys[1]), sum(told.error_segments, ()), strict=True)
        sums = {value: sum(errors[:2]) for value, errors in told.segments.items()}
        return dict(by_key), sums

    as_drawn = [at_canary for _, at_canary, _, _ in events]
    assert places(as_drawn) == places([not each for each in as_drawn])


def test_errors_wait_in_their_segment_for_what_arrived_before():
    wall = [1000.0]
    recorder = StageRecorder("m", 1, 0.5, lambda: wall[0], segments=20)
    for second in (1000, 1002):
        wall[0] = float(second)
        recorder.rotate()
        recorder.current.canary.refuse(failed=True)
        recorder.current.canary.err(0, "failed", "de" if second == 1000 else "fr")
        recorder.rotate()
    wall[0] = 1003.0
    recorder.rotate()
    found = recorder.report(0)
    assert found.segments == {"de": SegmentErrors(1, 0, 1000), "fr": SegmentErrors(1, 0, 1002)}
    assert found.until(1002.0).segments == {"de": SegmentErrors(1, 0, 1000)}
    assert from_json(json.loads(json.dumps(to_json(found)))) == found


@pytest.mark.parametrize(("weight", "most"), [(0.5, 0), (0.0, 20), (1.0, 20)])
def test_nothing_is_counted_unless_asked_for_or_without_a_draw(weight, most):
    recorder = StageRecorder("m", 1, weight, segments=most)
    recorder.current.stable.err(0, "failed", "de")
    recorder.current.stable.err(7, "failed", "de")
    recorder.rotate()
    found = recorder.report(0)
    assert (found.segments, found.segment_seconds, found.error_segments) == ({}, {}, ((), ()))
    assert found.error_keys == ((), (7,))


@given(segments, segments)
def test_stages_carry_their_segments(a, b):
    one, other = StageCounts(0.5, segments=a), StageCounts(0.5, segments=b)
    assert (one + other).segments == together(a, b)
    assert (one + other).since(other).segments == apart(together(a, b), b)
    assert one.without_draws().segments == {}


def test_an_older_release_tells_of_no_segments_and_a_newer_one_tells_more():
    counts = StageCounts(0.5, segments={"de": SegmentErrors(1, 2, 3)}, error_keys=((7,), ()))
    value = to_json(counts)
    newer = value | {"segments": [["de", 1, 2, 3, "more"]]}
    assert from_json(newer) == counts
    older = {key: each for key, each in value.items() if "segment" not in key}
    assert from_json(older) == replace(counts, segments={})
    assert from_json(older).segments_of_errors(0) == ("",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("segments", [["de", 1, 2]]),
        ("segments", [["de", 1, -2, 3]]),
        ("segments", [["", 1, 2, 3]]),
        ("segments", [["a\x00", 1, 2, 3]]),
        ("segments", [["x" * (MAX_TEXT + 1), 1, 2, 3]]),
        ("segments", [[str(n), 1, 2, 3] for n in range(MAX_PLACES + 2)]),
        ("segments", {"de": 1}),
        ("segment_seconds", [[1]]),
        ("segment_seconds", [["de", []]]),
        ("error_segments", [["de"]]),
        ("error_segments", [[7], []]),
        ("error_segments", ["de", []]),
    ],
)
def test_impossible_segments_are_refused_with_their_place(key, value):
    with pytest.raises(InvalidInput, match=f"counts.{key}: "):
        from_json(to_json(StageCounts(0.5)) | {key: value})
