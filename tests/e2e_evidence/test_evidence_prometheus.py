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
    with piloted(up, "within", guarded(query, min=1)) as pilot, pilot.load(50):
        pilot.wait_step(3)
        assert pilot.status["phase"] == "paused"
        assert "scraped: proven" in pilot.history[0]["reason"]


def test_a_value_out_of_bounds_takes_the_canary_off(both):
    _, up = both
    with piloted(up, "beyond", guarded("sum(understudy_config_revision)", max=0)) as pilot:
        status = pilot.wait_phase("rolled_back")
        assert "wanted at most 0" in status["reason"]


@pytest.mark.parametrize("query", ["vector(0) / vector(0)", "understudy_no_such_metric"])
def test_a_value_that_is_none_decides_nothing(both, query):
    _, up = both
    with piloted(up, "nan", guarded(query, min=1)) as pilot:
        with pilot.load(50):
            eventually(lambda: pilot.guard("errors").get("verdict") == "proven", "the other guard is proven")
        eventually(lambda: "had no value" in pilot.judgement.get("reason", ""), "measured")
        pilot.look()
        assert pilot.status["phase"] == "progressing"
        assert pilot.judgement["verdict"] == "undecided"


def test_a_prometheus_that_goes_away_decides_nothing(both):
    server, up = both
    with piloted(up, "down", guarded("sum(up)", min=1)) as pilot:  # without requests it stays at its step
        eventually(lambda: pilot.guard("scraped").get("verdict") == "proven", "in bounds while it is up")
        server.kill()
        eventually(lambda: pilot.guard("scraped")["verdict"] == "undecided", "undecided")
        pilot.look()
        assert "had no value" in pilot.guard("scraped")["reason"]
        assert pilot.status["phase"] == "progressing"
        server.start(up.admin_port)
