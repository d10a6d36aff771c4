import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.dashboard.series_window import WINDOW_SECONDS, Totals, Window, comparisons, flows, percentile
from serving.telemetry.families import SECONDS_BUCKETS

KEY = ("digits", "digits/1", "stable")
OUTPUT = ("digits", "digits/2", "label")


def totals(at: float, requests: int, failures: int = 0, compared: tuple[int, int] = (0, 0)) -> Totals:
    latency = (0,) * 10 + (requests,)
    return Totals(at, {KEY: (requests, failures, latency)}, {OUTPUT: compared})


def window(*reports: Totals) -> Window:
    found = Window()
    for report in reports:
        found.take(report)
    return found


def test_the_first_report_says_nothing_of_the_second_it_came_in():
    assert flows([window(totals(0, 1000))]) == {}
    assert flows([]) == {}


def test_rates_are_of_the_last_second_however_reports_are_spaced():
    early = window(totals(0, 0), totals(1, 50, 5), totals(2, 90, 6))
    flow = flows([early])[KEY]
    assert (flow.requests_per_second, flow.failures_per_second) == (40, 1)
    # A report that came at once after the one before has too little time in it to be a rate of its own.
    hasty = flows([window(totals(0, 0), totals(1, 50), totals(1.01, 60))])[KEY]
    assert hasty.requests_per_second == pytest.approx(60 / 1.01)


def test_nodes_add_up():
    nodes = [window(totals(0, 0), totals(1, 10)), window(totals(0.5, 100), totals(1.5, 130))]
    flow = flows(nodes)[KEY]
    assert (flow.requests_per_second, flow.requests, flow.latency[10]) == (40, 40, 40)


def test_the_window_forgets():
    busy_then_idle = [totals(second, min(second, 5) * 10, 0, (second, 0)) for second in range(30)]
    kept = window(*busy_then_idle)
    assert flows([kept])[KEY].requests == 0
    assert comparisons([kept])[OUTPUT] == [WINDOW_SECONDS, 0]
    assert len(kept._kept) <= WINDOW_SECONDS + 2


def test_differences_are_counted_within_the_window():
    assert comparisons([window(totals(0, 0, 0, (10, 10)), totals(1, 0, 0, (30, 15)))])[OUTPUT] == [20, 5]


@given(
    st.lists(st.floats(2e-5, 9.0), min_size=1, max_size=200),
    st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_percentile_is_in_the_bucket_of_the_true_one(values, fraction):
    latency = np.histogram(values, [0.0, *np.nextafter(SECONDS_BUCKETS, np.inf), np.inf])[0].tolist()
    found = percentile(latency, fraction)
    true = float(np.quantile(values, fraction, method="inverted_cdf"))
    edges = [0.0, *SECONDS_BUCKETS]
    above = next(index for index, edge in enumerate(edges) if true <= edge)
    assert edges[above - 1] <= found <= edges[above]


def test_no_answers_have_no_percentile_and_those_beyond_the_scale_are_at_its_end():
    assert percentile([0] * 20, 0.99) is None
    assert percentile([0] * len(SECONDS_BUCKETS) + [3], 0.5) == SECONDS_BUCKETS[-1]
