"""What is checked of one rollout, without running a model."""

import pytest

from router.rollout.parser import parse_one
from understudy.gate.changes import Change
from understudy.gate.checks import Settings, gated, worst

STEPS = (
    "{stable: m/1, canary: {model: m/2, mirror: 20, steps: [{setWeight: 5}, {prove: {max: 30m}}]},"
    " guards: {errors: {max: 1%}, agreement: {output: y, min: 95%}}}"
)

SEVERAL = (
    "{stable: m/1, candidates: [{model: m/2, weight: 20, mirror: 50}, {model: m/3, weight: 20}],"
    " guards: {errors: {max: 1%}, agreement: {output: y, min: 95%}}}"
)


@pytest.fixture
def check(tmp_path):
    def checked(text, before=None, traffic=None):
        after, earlier = (text and parse_one("m", text, "test"), before and parse_one("m", before, "test"))
        told = []
        settings = Settings(tmp_path, {}, requests_per_second=traffic)
        found = gated(Change("m", "its document", earlier, after), None, settings, told.append)
        return {check.name: check.outcome for check in found.checks}, found

    return checked


@pytest.mark.parametrize(
    ("traffic", "outcome", "code"), [(None, "noted", 0), (50, "passed", 0), (0.1, "undecided", 5)]
)
def test_steps_are_simulated_where_the_traffic_is_known(check, traffic, outcome, code):
    checks, found = check(STEPS, traffic=traffic)
    assert (checks["plan"], found.code) == (outcome, code)
    if traffic:
        assert f"at {traffic:g} requests/s" in found.checks[-1].reason
        assert "caught: 5% errors" in found.checks[-1].reason


def test_harm_in_each_of_several_candidates_is_simulated(check):
    checks, found = check(SEVERAL, traffic=50)
    assert (checks["plan"], found.code) == ("passed", 0)
    for words in ("m/2 with 5% errors 100% in 1 d", "m/2 with 90% agreement 100%", "m/3 with 5% errors 100%"):
        assert words in found.checks[-1].reason
    assert "m/3 with 90% agreement 0% in 1 d" in found.checks[-1].reason, "nothing is mirrored to it"


def test_without_steps_nothing_is_simulated(check):
    assert check("{stable: m/1}")[0] == {"lint": "passed", "models": "passed"}


@pytest.mark.parametrize(
    ("after", "before", "tests"),
    [
        ("{stable: m/1, canary: {model: m/2, weight: 5}}", None, ["test m/2"]),
        ("{stable: m/2}", "{stable: m/1}", ["test m/2"]),
        (SEVERAL, None, ["test m/2", "test m/3"]),
        ("{stable: m/2, canary: {model: m/3, weight: 5}}", "{stable: m/1}", ["test m/3", "test m/2"]),
        ("{stable: m/1, shadows: [{model: m/2}]}", None, []),
        ("{stable: m/1, canary: {model: m/2, url: 'http://a:1', weight: 5}}", None, []),
        ("{stable: {model: m/1, url: 'http://a:1'}}", "{stable: m/1}", []),
    ],
)  # fmt: skip
def test_the_canary_and_an_exchanged_stable_are_tested_where_there_are_rows(check, after, before, tests):
    checks, found = check(after, before)
    assert [name for name in checks if name.startswith("test")] == tests
    assert all(
        "there are no rows; give --on m=FILE" in each.reason for each in found.checks if each.name in tests
    )


def test_the_worst_exit_code_counts():
    assert [worst(codes) for codes in ([], [0, 0], [0, 5], [5, 3], [3, 1, 5])] == [0, 0, 5, 3, 1]
