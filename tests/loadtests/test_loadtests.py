"""Real Locust against a real server: what it reports is what the server counted."""

import argparse
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.pilot import piloted
from harness.system import ROOT, eventually

LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"
MODEL = "loaded"
DOCUMENT = {"stable": "digits/1", "canary": {"model": "digits/2", "weight": 30}}
SECONDS = 120.0
"""For a run of Locust, which makes its imports first."""


@pytest.fixture
def pilot(node):
    with piloted(node, MODEL, DOCUMENT) as found:
        eventually(found.ready, "both are ready")
        yield found


@pytest.fixture(scope="module")
def tally():
    sys.path.insert(0, str(LOCUSTFILE.parent))
    try:
        import tally

        return tally
    finally:
        sys.path.pop(0)


def locust(*arguments):
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(LOCUSTFILE),
        "--headless",
        "--only-summary",
        *("--model", MODEL, "--rows", str(ROOT / "models" / "digits" / "heldout.npz")),
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def counted(pilot):
    targets = ("digits/1", "digits/2")
    return {target: pilot.metric("requests_total", target=target, code="200") for target in targets}


def test_the_report_counts_what_the_server_counted(pilot, tmp_path):
    file = tmp_path / "report.json"
    limits = ("--sla-errors", "0%", "--sla-accuracy", "90%", "--sla-p99", "10s")
    run = locust(
        "--host", pilot.up.url, "--pattern", "spike", "-u", "2", "-t", "3s", "--report", str(file), *limits
    )
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(file.read_text())
    assert {target: row["requests"] for target, row in report["targets"].items()} == counted(pilot)
    assert report["requests"] > 20
    assert report["failed"] == 0
    assert all(limit["kept"] for limit in report["sla"])


def test_failed_requests_break_the_limit_on_errors(pilot, tmp_path):
    file = tmp_path / "report.json"
    rows = ROOT / "models" / "iris" / "heldout.npz"
    limit = ("--sla-errors", "0.1%", "--report", str(file))
    run = locust("--host", pilot.up.url, "-u", "2", "-t", "1s", "--rows", str(rows), *limit)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "SLA errors BROKEN: 100%" in run.stdout
    assert json.loads(file.read_text())["p50_seconds"] is None


def test_an_unknown_model_and_a_limit_without_a_unit_are_refused(node):
    unknown = locust("--host", node.url, "--model", "nobody", "-t", "1s")
    assert unknown.returncode == 1
    assert "error: nobody" in unknown.stderr
    unit = locust("--host", node.url, "--sla-p95", "25")
    assert unit.returncode == 2
    assert "expected a duration such as 25ms, got '25'" in unit.stderr


def test_make_load_runs_a_server_of_its_own_names_a_broken_limit_and_passes_the_exit_code_on():
    limits = ["--sla-p99", "1us", "--sla-accuracy", "50%"]
    command = [sys.executable, str(LOCUSTFILE.with_name("run.py")), "-u", "2", "-t", "1s"]
    run = subprocess.run(
        [*command, *limits], capture_output=True, text=True, timeout=2 * SECONDS, check=False
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "SLA p99 BROKEN" in run.stdout
    assert "SLA errors kept" in run.stdout
    assert "SLA accuracy kept" in run.stdout
    assert "the server ended" not in run.stderr


@given(st.lists(st.floats(0, 100), min_size=1), st.integers(1, 100))
def test_a_percentile_has_that_share_of_the_values_at_or_below_it(tally, values, percent):
    found = tally.percentile(sorted(values), percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100
    assert sum(value < found for value in values) < len(values) * percent / 100


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.booleans(), st.sampled_from([None, True, False])))
)
def test_every_request_is_counted_once(tally, requests):
    seen = tally.Tally()
    for target, fine, right in requests:
        if fine:
            seen.answered(target, 0.001, right=right)
        else:
            seen.failed(target)
    report = seen.report()
    assert report["requests"] == len(requests)
    assert report["failed"] == sum(not fine for _, fine, _ in requests)
    judged = [right for _, fine, right in requests if fine and right is not None]
    assert report["accuracy"] == (sum(judged) / len(judged) if judged else None)
    shares = [row["share"] for row in report["targets"].values() if row["share"] is not None]
    assert sum(shares) == pytest.approx(1.0 if shares else 0.0)


@given(st.integers(1, 1000), st.floats(0, 1))
def test_patterns_start_low_peak_tenfold_or_stay(tally, base, elapsed):
    assert tally.users_at("soak", base, elapsed) == base
    assert tally.users_at("spike", base, elapsed) in {base, 10 * base}
    assert 1 <= tally.users_at("ramp", base, 0) <= tally.users_at("ramp", base, elapsed) <= base
    assert tally.users_at("spike", base, 0.5) == 10 * base
    assert tally.users_at("ramp", base, 1) == base


@pytest.mark.parametrize("text", ["", "ms", "-1ms", "nanms", "infs", "1h", "5"])
def test_what_is_no_duration_is_refused(tally, text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected a duration"):
        tally.seconds(text)


def test_units_mean_what_they_say(tally):
    assert tally.seconds("25ms") == pytest.approx(0.025)
    assert tally.seconds("250us") == pytest.approx(0.00025)
    assert tally.seconds("1.5s") == 1.5
    assert tally.ratio("0.1%") == pytest.approx(0.001)
    for text in ("0.1", "101%", "x%"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected"):
            tally.ratio(text)


def test_a_limit_on_what_was_not_measured_is_broken(tally):
    report = tally.Tally().report()
    assert not tally.Limit("p95", "p95_seconds", 1.0).judge(report)["kept"]
    assert not tally.Limit("accuracy", "accuracy", 0.0, floor=True).judge(report)["kept"]
