import math

from hypothesis import given
from hypothesis import strategies as st

from understudy.commands.figures import agreement, quantile, scrape, since, targets

TEXT = """
# TYPE understudy_requests_total counter
understudy_requests_total{model="digits",target="digits/1",role="stable",code="200"} 90
understudy_requests_total{model="digits",target="digits/2",role="canary",code="200"} 8
understudy_requests_total{model="digits",target="digits/2",role="canary",code="503"} 2
understudy_requests_total{model="iris",target="iris/1",role="stable",code="200"} 5
# TYPE understudy_request_seconds histogram
understudy_request_seconds_bucket{model="digits",target="digits/1",role="stable",le="0.001"} 45
understudy_request_seconds_bucket{model="digits",target="digits/1",role="stable",le="0.01"} 90
understudy_request_seconds_bucket{model="digits",target="digits/1",role="stable",le="+Inf"} 90
# TYPE understudy_comparison_total counter
understudy_comparison_total{model="digits",target="digits/2",output="label",verdict="same"} 49
understudy_comparison_total{model="digits",target="digits/2",output="label",verdict="different"} 1
"""


def test_figures_are_those_of_one_rollout_by_target():
    found = targets(scrape(TEXT, "digits"))
    assert list(found) == ["digits/1", "digits/2"]
    assert (found["digits/1"].requests, found["digits/1"].errors, found["digits/1"].p50) == (90, 0, 0.001)
    assert (found["digits/2"].requests, found["digits/2"].errors, found["digits/2"].p99) == (10, 2, None)


def test_figures_of_a_target_in_two_roles_are_told_apart_by_the_role():
    both = scrape(TEXT.replace("digits/2", "digits/1"), "digits")
    assert targets(both)["digits/1"].requests == 100
    found = {role: targets(both, role)["digits/1"] for role in ("stable", "canary")}
    assert (found["stable"].requests, found["stable"].p50) == (90, 0.001)
    assert (found["canary"].requests, found["canary"].errors, found["canary"].p50) == (10, 2, None)


def test_agreement_is_told_by_target_and_output():
    assert agreement(scrape(TEXT, "digits")) == {"digits/2": {"label": (49, 50)}}


def test_a_stretch_of_time_is_the_difference_and_all_when_counting_began_anew():
    now = scrape(TEXT, "digits")
    before = scrape(TEXT.replace(" 90", " 60").replace(" 45", " 30"), "digits")
    assert targets(since(before, now))["digits/1"].requests == 30
    assert targets(since(now, before))["digits/1"].requests == 60


@given(st.lists(st.floats(0, 9.9), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_lies_in_the_bucket_in_which_the_observation_does(values, share):
    edges = [1.0, 2.0, 5.0, 10.0, math.inf]
    buckets = {edge: sum(value <= edge for value in values) for edge in edges}
    exact = sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
    found = quantile(buckets, share)
    upper = next(edge for edge in edges if exact <= edge)
    lower = max([0.0, *(edge for edge in edges if edge < upper)])
    assert lower <= found <= upper


def test_no_observations_have_no_quantile():
    assert quantile({}, 0.5) is None
    assert quantile({1.0: 0, math.inf: 0}, 0.5) is None
    assert quantile({1.0: 0, math.inf: 3}, 0.5) == 1.0
