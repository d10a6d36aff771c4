"""What clients see: who has no good answer in time, by edges that the past fixed, slice by slice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.client_waits import QUANTILES, ClientWaits, Late, wait_edges
from control.judging.evidence import bets_test, span_bets
from control.judging.latency_edges import MIN_BASELINE
from harness.search import examples
from router.counting.latency import BUCKETS, edge
from router.counting.stage_counts import Span, SpanTimes
from router.rollout.guards.latency import ClientsGuard

GUARD = ClientsGuard()
histograms = st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(1, 500), min_size=1, max_size=8)
told = histograms.filter(lambda found: sum(found.values()) >= MIN_BASELINE)
guards = st.builds(ClientsGuard, st.floats(1, 10), st.floats(0, 1), st.integers(1, 4).map(lambda n: 5 * n))


@given(histograms)
def test_few_answers_make_no_edges(histogram):
    few = sum(histogram.values()) < MIN_BASELINE
    assert (wait_edges(histogram, GUARD) is None) == few


@given(told, guards)
def test_the_canary_may_wait_at_least_ratio_and_slack_longer_than_stable_does(histogram, guard):
    edges = wait_edges(histogram, guard)
    total = sum(histogram.values())
    for quantile, stable, canary in zip(QUANTILES, edges.stable, edges.canary, strict=True):
        below = sum(answers for at, answers in histogram.items() if at < stable)
        assert below >= quantile * total * (1 - 1e-12)
        wanted = guard.max_ratio * edge(stable) + guard.slack_seconds
        assert edge(canary) >= wanted * (1 - 1e-12) or canary == BUCKETS
        assert canary == 0 or edge(canary - 1) < wanted


@given(told, st.integers(0, 50), st.integers(0, 50), st.data())
def test_whoever_has_no_good_answer_in_time_is_late(histogram, failed, abandoned, data):
    """The span counts all draws; the histogram has the good answers only."""
    edges = wait_edges(histogram, GUARD)
    waits = data.draw(histograms)
    good = sum(waits.values())
    late = Late.of(Span(good + failed + abandoned, abandoned, good, 0), SpanTimes(waits, waits), edges)
    for at, (canary, stable) in enumerate(zip(edges.canary, edges.stable, strict=True)):
        assert late.canary_late[at] == failed + abandoned + sum(n for b, n in waits.items() if b >= canary)
        assert late.stable_late[at] == sum(n for b, n in waits.items() if b >= stable)


def after(spans, guard=GUARD, first=1):
    waits = ClientWaits.after(guard, [])
    for number, (canary, stable) in enumerate(spans, first):
        span = Span(sum(canary.values()), 0, sum(stable.values()), 0)
        waits = waits.taken(number, span, SpanTimes(canary, stable))
    return waits


ROLES = st.tuples(histograms, told)


@given(st.lists(ROLES, min_size=2, max_size=8), st.integers(1, 3))
def test_spans_of_a_slice_are_one_observation(spans, per_slice):
    """Slices of several spans are what one span with all of it would be, and the one under way waits."""
    guard = ClientsGuard(slice_seconds=5 * per_slice)
    found = after(spans, guard, first=per_slice - 1)  # the first, for the edges, is alone
    won = np.zeros_like(found.won)
    tested = spans[1:]
    for begin in range(0, len(tested) // per_slice * per_slice, per_slice):
        late = [
            Late.of(Span(sum(c.values()), 0, sum(s.values()), 0), SpanTimes(c, s), found.edges)
            for c, s in tested[begin : begin + per_slice]
        ]
        won += sum(late, Late()).bets()
    whole = len(tested) % per_slice == 0 and len(tested) and per_slice > 1
    if not whole:  # a whole one of several spans is counted when the next begins
        np.testing.assert_allclose(found.all_won(), won)


@pytest.mark.parametrize(("hop", "harmful"), [(0.0, False), (0.004, False), (0.05, True)])
def test_a_hop_within_the_slack_is_no_harm_and_a_queue_is(hop, harmful):
    rng = np.random.default_rng(1)

    def histogram(seconds):
        found, numbers = np.unique(
            np.searchsorted([edge(i) for i in range(1, BUCKETS)], seconds), return_counts=True
        )
        return dict(zip(found.tolist(), numbers.tolist(), strict=True))

    spans = [
        (histogram(rng.lognormal(-7, 0.5, 50) + hop), histogram(rng.lognormal(-7, 0.5, 450)))
        for _ in range(40)
    ]
    log_e = [float(bets_test(won)) for won in after(spans).all_won()]
    assert (max(log_e) > np.log(100)) == harmful


@pytest.mark.parametrize("pauses", [0.0, 0.1])
def test_pauses_and_queues_of_equal_processes_are_no_harm(pauses):
    """In a pause nearly all that arrived is late, at one role: a burst, and one observation."""
    runs, spans = examples(400), 360
    rng = np.random.default_rng([2, round(10 * pauses)])
    crossed = 0
    for _ in range(runs):
        n, m = rng.poisson(50, spans), rng.poisson(450, spans)
        late = rng.binomial(n, np.where(rng.random(spans) < pauses, 0.9, 0.1))
        late_stable = rng.binomial(m, np.where(rng.random(spans) < pauses, 0.9, 0.1))
        won = np.cumsum(span_bets(n, late, m, late_stable), axis=1)
        crossed += bool((bets_test(won) >= np.log(100)).any())
    assert crossed <= runs * 0.01 + 3 * np.sqrt(runs * 0.01 * 0.99)
