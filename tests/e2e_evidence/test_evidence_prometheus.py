"""PromQL guards against a real Prometheus that scrapes the node."""

import pytest

from harness.pilot import piloted, rollout
from harness.prometheus import Prometheus, needs_prometheus
from harness.system import eventually, running

pytestmark = needs_prometheus


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    server = Prometheus(folder)
    environment = {"UNDERSTUDY_PROMETHEUS": server.url}
    with running(folder, "digits: {stable: digits/1}", environment=environment) as up:
        try:
            server.start(up.admin_port)
            yield server, up
        finally:
            server.kill()


def guarded(query, **bounds):
    """A guard on errors that any traffic proves, and one on a value."""
    guard = {"promql": query, "interval": "1s", "mode": "enforce", **bounds}
    guards = {"errors": {"max": "50%"}, "scraped": guard}
    return rollout("digits/2", guards, {"prove": {}}, {"pause": {}}, weight=50)


def test_a_value_within_bounds_lets_the_rollout_go_on(both):
    _, up = both
    query = "sum(understudy_config_revision)"
    with piloted(up, "within", guarded(query, min=1)) as pilot, pilot.load(25):
        pilot.wait_step(3)
        assert pilot.status["phase"] == "paused"
        assert "scraped: proven" in pilot.history[0]["reason"]


def test_a_value_out_of_bounds_takes_the_canary_off(both):
    _, up = both
    with piloted(up, "beyond", guarded("sum(understudy_config_revision)", max=0)) as pilot:
        status = pilot.wait_phase("rolled_back")
        assert "wanted at most 0" in status["reason"]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("vector(0) / vector(0)", "its value is nan"),
        ("understudy_no_such_metric", "the query gives 0 series, one is needed"),
        ("understudy_no_such_metric{", "parse error"),
    ],
)
def test_a_value_that_is_none_decides_nothing(both, query, why):
    _, up = both
    with piloted(up, "nan", guarded(query, min=1)) as pilot:
        with pilot.load(25):
            eventually(lambda: pilot.guard("errors").get("verdict") == "proven", "the other guard is proven")
        eventually(lambda: "had no value" in pilot.judgement.get("reason", ""), "measured")
        pilot.look()
        assert pilot.status["phase"] == "progressing"
        assert pilot.judgement["verdict"] == "undecided"
        eventually(lambda: why in pilot.guard("scraped")["doubt"], "the guard is in doubt, and why")


def doubts(up, model):
    """What is said of guards in doubt, beside all else that needs a person."""
    needs = up.admin.get("/v1/needs").raise_for_status().json()
    return [need["sentence"] for need in needs if (need["model"], need["kind"]) == (model, "doubtful")]


def test_a_prometheus_that_goes_away_decides_nothing(both):
    server, up = both
    with piloted(up, "down", guarded("sum(up)", min=1)) as pilot:  # without requests it stays at its step
        eventually(lambda: pilot.guard("scraped").get("verdict") == "proven", "in bounds while it is up")
        server.kill()
        eventually(lambda: pilot.guard("scraped")["verdict"] == "undecided", "undecided")
        pilot.look()
        assert "had no value" in pilot.guard("scraped")["reason"]
        assert pilot.status["phase"] == "progressing"
        eventually(lambda: doubts(up, "down"), "a person is told")
        [sentence] = doubts(up, "down")
        assert "times Prometheus was asked it gave no value" in sentence
        assert sentence.endswith(f"{server.url} does not answer (ConnectError)")
        server.start(up.admin_port)
