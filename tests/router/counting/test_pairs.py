"""Pairs: in which order models run, what is counted, and how rarely a copy is called slower."""

import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.counting.pairs import (
    BASELINE_PAIRS,
    MAX_REPEATS,
    NO_PAIRS,
    RATIO_EDGES,
    UNIT_PAIRS,
    WARM_PAIRS,
    PairCounts,
    PairLog,
    StagePairs,
    clock_tick,
    edges_of,
    repeats,
    time_pair,
)

seconds = st.floats(1e-6, 10.0)


@pytest.mark.parametrize("stable_first", [True, False])
def test_each_model_runs_twice_and_is_timed_after_the_other(stable_first):
    ran = []
    time_pair(lambda: ran.append("c"), lambda: ran.append("s"), (1, 1), stable_first=stable_first)
    assert "".join(ran) == ("scscsc" if stable_first else "cscscs")


def test_a_run_that_is_short_beside_the_clocks_tick_is_repeated_within_its_timing():
    assert repeats(1e-3, 50e-9) == 1
    assert repeats(1e-6, 50e-9) == 5
    assert repeats(0.0, 50e-9) == MAX_REPEATS
    ran = []
    time_pair(lambda: ran.append("c"), lambda: ran.append("s"), (3, 2), stable_first=False)
    assert "".join(ran) == "cscs" + "ccc" + "ss"
    assert 0.0 < clock_tick() < 1e-3


def test_the_first_pairs_count_nowhere_and_the_next_are_for_the_edges():
    counts, log = StagePairs(), PairLog(1e-6)
    for _ in range(WARM_PAIRS):
        log.add(counts, 1e-5, 1.0, 1.25)
    assert counts.counts == NO_PAIRS
    assert log.repeats == (10, 1)
    for number in range(BASELINE_PAIRS):
        log.add(counts, 2.0 * number, number, 1.25)
    assert log.edges == (449.0, 474.0, 494.0)
    assert (counts.counts.baseline, counts.counts.tail_pairs) == (BASELINE_PAIRS, 0)
    log.add(counts, 600.0, 300.0, 1.25)  # beyond 1.25 times the first edge, stable's own is not
    log.add(counts, 100.0, 480.0, 1.25)
    log.add(counts, 1000.0, 1000.0, 1.25)
    assert (counts.counts.tails, counts.counts.tail_pairs) == (((1, 1), (1, 1), (0, 0)), 3)


def test_a_unit_counts_when_it_is_whole_and_edges_outlive_a_stage():
    first, second, log = StagePairs(), StagePairs(), PairLog(0.0)
    for _ in range(WARM_PAIRS + BASELINE_PAIRS + 9):
        log.add(first, 2.0, 1.0, 1.25)
    assert first.counts.pairs == BASELINE_PAIRS
    log.add(second, 2.0, 1.0, 1.25)
    assert (second.counts.pairs, second.counts.tail_pairs, second.counts.baseline) == (0, 1, 0)


@given(st.lists(st.tuples(seconds, seconds), max_size=80), st.floats(1.1, 3.0))
def test_units_hold_every_pair_that_was_slower(pairs, ratio):
    counts = StagePairs()
    for candidate, stable in pairs:
        counts.add(candidate, stable, ratio, (1.0, 2.0, 3.0))
    whole = pairs[: len(pairs) // UNIT_PAIRS * UNIT_PAIRS]
    assert counts.counts.pairs == len(whole)
    assert counts.counts.slower == sum(candidate > ratio * stable for candidate, stable in whole)
    assert counts.counts.tail_pairs == len(pairs)
    for (worse, better), edge in zip(counts.counts.tails, (1.0, 2.0, 3.0), strict=True):
        above = [(candidate > ratio * edge, stable > edge) for candidate, stable in pairs]
        assert (worse, better) == (above.count((True, False)), above.count((False, True)))


@given(st.lists(st.tuples(seconds, seconds), max_size=80), st.floats(1.1, 3.0))
def test_units_hold_every_pair_in_which_the_candidate_was_not_as_fast_as_asked(pairs, speed):
    counts, unasked = StagePairs(), StagePairs()
    for candidate, stable in pairs:
        counts.add(candidate, stable, 1.25, None, speed)
        unasked.add(candidate, stable, 1.25, None)
    lagging = counts.counts.lagging
    whole = pairs[: len(pairs) // UNIT_PAIRS * UNIT_PAIRS]
    assert UNIT_PAIRS * sum(lagging) == len(whole)
    told = sum(number * units for number, units in enumerate(lagging))
    assert told == sum(stable < speed * candidate for candidate, stable in whole)
    assert unasked.counts == replace(counts.counts, lagging=NO_PAIRS.lagging)


@given(st.lists(st.tuples(seconds, seconds), max_size=40), st.lists(st.tuples(seconds, seconds), max_size=40))
def test_what_was_counted_since_is_what_is_added(before, after):
    counts = StagePairs()
    for pair in before:
        counts.add(*pair, 1.25, (1.0, 2.0, 3.0))
    then = counts.counts
    for pair in after:
        counts.add(*pair, 1.25, (1.0, 2.0, 3.0))
    assert then + counts.counts.since(then) == counts.counts
    assert then + NO_PAIRS == then
    assert isinstance(then + then, PairCounts)


@given(st.lists(st.tuples(seconds, seconds), max_size=80))
def test_each_pair_is_in_the_bucket_of_its_ratio(pairs):
    counts = StagePairs()
    for pair in pairs:
        counts.add(*pair, 1.25, None)
    found = counts.counts.ratios
    assert sum(found) == len(pairs)
    for place, edge in enumerate(RATIO_EDGES):
        assert sum(found[: place + 1]) == sum(candidate / stable < edge for candidate, stable in pairs)


def test_edges_are_quantiles():
    times = np.random.default_rng(1).lognormal(0, 0.5, 500).tolist()
    above = [statistics.fmean(time > edge for time in times) for edge in edges_of(times)]
    assert above == pytest.approx([0.1, 0.05, 0.01])
