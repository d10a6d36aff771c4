"""`understudy bench`: its search and its figures by property, and the whole command against a real server."""

import contextlib
import json
import math
import re
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.command import understudy
from harness.system import MODELS, ROOT, eventually
from router.counting.latency import bucket
from serving.errors import InvalidInput
from understudy.bench import requests
from understudy.bench.advice import advice
from understudy.bench.knee import KneeSearch
from understudy.bench.patterns import drift, spike
from understudy.bench.steps import Objective, Step, Usage, Window, together

OBJECTIVE = Objective(0.02, 0.001)


def window(latency, count=100, errors=0, seconds=1.0, **further):
    statuses = Counter({200: count - errors, 503: errors})
    return Window(seconds, statuses, Counter({bucket(latency): count}), **further)


@given(st.floats(1, 1e5), st.floats(2, 9e5), st.floats(0.02, 0.5))
def test_the_search_closes_in_on_the_knee_of_any_server(start, knee, precision):
    search, tried = KneeSearch(start, precision), 0
    while (rate := search.next_rate()) is not None:
        assert search.kept < rate
        assert search.too_much is None or rate < search.too_much
        search, tried = search.tried(rate, kept=rate <= knee), tried + 1
        assert tried < 60
    assert search.kept <= knee < search.too_much
    assert search.too_much <= search.kept * (1 + precision)


@given(st.floats(1, 1000), st.floats(1, 1000))
def test_a_server_that_keeps_everything_is_asked_for_no_more_than_the_highest(start, highest):
    search = KneeSearch(start, highest=highest)
    while (rate := search.next_rate()) is not None:
        assert rate <= highest
        search = search.tried(rate, kept=True)
    assert search.kept == highest


def test_a_server_that_keeps_nothing_is_given_up_at_one_request_a_second():
    search = KneeSearch(100)
    while (rate := search.next_rate()) is not None:
        search = search.tried(rate, kept=False)
    assert search.kept == 0
    assert 1 <= search.too_much < 2


@given(st.lists(st.floats(1e-5, 10), min_size=1, max_size=200), st.floats(1, 100))
def test_a_percentile_is_that_of_the_answers_within_a_bucket(latencies, percent):
    seen = Window(1.0, Counter({200: len(latencies)}), Counter(bucket(latency) for latency in latencies))
    exact = sorted(latencies)[max(0, math.ceil(len(latencies) * percent / 100 - 1e-9) - 1)]
    assert exact <= seen.percentile(percent) <= exact * 1.078


@given(st.lists(st.tuples(st.floats(1e-4, 1), st.integers(1, 100)), min_size=1, max_size=9))
def test_windows_add_up_whatever_way_they_are_put_together(parts):
    windows = [window(latency, count) for latency, count in parts]
    row, beside = together(windows), together(windows, side_by_side=True)
    assert row.requests == beside.requests == sum(count for _, count in parts)
    assert row.buckets == beside.buckets
    assert (row.seconds, beside.seconds) == (len(parts), 1.0)


@pytest.mark.parametrize(
    ("seen", "shortfall"),
    [
        (window(0.001), ""),
        (window(0.03), "p95 "),
        (window(0.001, errors=2), "errors 2.00%"),
        (window(0.001, count=50), "answered only 50/s"),
        (Window(1.0), "errors 100.00%"),
    ],
)
def test_a_step_says_what_of_the_objective_it_missed(seen, shortfall):
    assert Step(100, seen).shortfall(OBJECTIVE).startswith(shortfall)
    assert bool(Step(100, seen).shortfall(OBJECTIVE)) == bool(shortfall)


def test_recovery_is_counted_from_the_end_of_the_burst():
    calm, slow = window(0.001), window(0.5)
    assert spike([calm], [slow], [slow, slow, calm, calm]).recovery_seconds == 2.0
    assert spike([calm], [slow], [calm]).recovery_seconds == 0.0
    assert spike([calm], [slow], [slow, window(0.001, errors=1)]).recovery_seconds is None


def test_drift_is_the_last_quarter_against_the_first():
    windows = [window(0.001)] * 4 + [window(0.01)] * 4
    found = drift(windows, [(float(second), 1000 + 10 * second) for second in range(8)])
    assert found.first.percentile(50) < 0.0011
    assert found.last.percentile(50) > 0.009
    assert found.memory_bytes_an_hour == pytest.approx(36_000)
    assert drift(windows, []).memory_bytes_an_hour is None


def steps(cpu, **further):
    return [
        Step(rate, window(0.001, count=rate), Usage(cpu * rate / 400, 1 << 20), **further)
        for rate in (100, 200, 400)
    ]


def test_advice_names_what_bound_the_server():
    bound = steps(0.98)
    said = " ".join(advice(bound, bound[-1], OBJECTIVE, workers=1, cpus=2))
    assert "bound by CPU, 408 requests/s for each core" in said
    assert "--workers 2" in said
    assert "280 requests/s" in said
    assert "CPU target, 69% of 1 core." in said
    waiting = steps(0.3)
    assert "latency is the limit" in " ".join(advice(waiting, waiting[-1], OBJECTIVE, workers=1, cpus=2))
    crowded = steps(0.3, machine=0.99)
    assert "took the rest" in " ".join(advice(crowded, crowded[-1], OBJECTIVE, workers=1, cpus=2))


def test_advice_never_blames_the_server_for_the_generator():
    seen = window(0.001, count=400, busy=0.97)
    step = Step(400, seen)
    assert step.generator_limited
    assert "generator, not the server" in advice([step], step, OBJECTIVE, workers=None, cpus=2)[0]
    slow = Step(1, window(0.5, count=1))
    assert "too slow" in advice([slow], None, OBJECTIVE, workers=None, cpus=2)[0]


def test_requests_are_made_of_every_datatype():
    tensors = [
        {"name": name, "datatype": name, "shape": [-1, 2]}
        for name in ("BOOL", "UINT8", "INT64", "FP16", "FP32", "BYTES")
    ]
    [first, *_] = requests.made_up({"inputs": tensors}, np.random.default_rng(0))
    for tensor in json.loads(first)["inputs"]:
        assert tensor["shape"] == [1, 2]
        assert len(tensor["data"]) == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"inputs": 3}', '{"inputs": []}\n{"in'])
def test_a_file_of_requests_that_holds_none_is_refused_by_line(tmp_path, text):
    path = tmp_path / "requests.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"requests\.jsonl:"):
        requests.from_file(path)


def test_a_ramp_against_a_server_of_its_own(tmp_path):
    picture = tmp_path / "knee.png"
    done = understudy(
        "bench", "--model", "iris", "--models", str(MODELS), "--rate", "50", "--highest", "100",
        "--step", "1s", "--p95", "10s", "--errors", "50%", "--json", "--plot", str(picture),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["steps"][0]["offered"], found["steps"][-1]["offered"]) == (50, 100)
    assert found["knee"]["offered"] >= 50
    for step in found["steps"]:
        assert step["requests"] == step["statuses"]["200"] == round(step["offered"])
        assert 0 < step["p50_seconds"] <= step["p99_seconds"]
        assert step["memory_bytes"] > 20e6
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_command_of_the_page_writes_what_scales_a_fleet(tmp_path):
    page = (ROOT / "docs" / "bench.md").read_text()
    [command] = re.findall(r"^understudy (bench .* --manifests .*)$", page, re.MULTILINE)
    written, said = tmp_path / "scale.yaml", []

    def done():
        """A machine that stalls misses the objective, and there is no manifest then."""
        ran = understudy(
            *shlex.split(command), "--models", str(MODELS), "--rate", "8", "--highest", "8", "--step", "1s",
            "--p95", "10s", "--p99", "10s", "--json", "--write", str(written), timeout=300,
        )  # fmt: skip
        assert ran.returncode == 0 or "no manifest: " in ran.stderr, ran.stderr
        said.append(ran.stdout)
        return written.exists()

    eventually(done, "the objective was kept", 300.0)
    planned = json.loads(said[-1])["knee"]["answered_per_second"] * 0.7
    autoscaler, _ = yaml.safe_load_all(written.read_text())
    spec = autoscaler["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (math.ceil(500 / planned), math.ceil(5000 / planned))
    target = spec["metrics"][0]["pods"]["target"]["averageValue"]
    assert 0 < int(target.removesuffix("m")) <= 850


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from harness.system import serving

    with serving(tmp_path_factory.mktemp("bench")) as served:
        yield served


def test_a_burst_and_a_soak_against_a_server_that_runs(server):
    common = ("--model", "iris", "--rate", "40", "--json")
    done = understudy("bench", server.url, "--mode", "spike", "--times", "3", "--step", "1s", *common)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [found[name]["requests"] for name in ("before", "burst", "after")] == [40, 120, 40]
    done = understudy("bench", server.url, "--mode", "soak", "--for", "2s", *common)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["first_quarter"]["errors"] == 0


def test_refused_requests_are_errors_and_named(server, tmp_path):
    data = tmp_path / "wrong.json"
    data.write_text('{"inputs": [{"name": "nothing", "datatype": "FP32", "shape": [1], "data": [1]}]}')
    done = understudy(
        "bench", server.url, "--model", "iris", "--data", str(data), "--rate", "20", "--step", "1s",
        "--mode", "spike", "--times", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "400: 20" in done.stdout
    assert "did not recover" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("http://127.0.0.1:9", "--model", "iris"), "does not answer"),
        (("--model", "nothing"), "no model 'nothing'"),
        (("--models", str(MODELS)), "--model is needed: one of cancer"),
        (("--model", "iris", "--workers", "2"), "--workers needs --rollouts"),
        (("--p95", "fast"), "expected a duration"),
        (("--header", "x y"), "expected 'name: value'"),
        (("--fleet", "5"), "is LOW..HIGH, requests a second"),
        (("--model", "iris", "--manifests", "hpa"), "--manifests needs --fleet LOW..HIGH"),
        (("--write", "x"), "--fleet and --write need --manifests"),
        (("--manifests", "hpa", "--fleet", "1..2", "--mode", "soak"), "--manifests needs --mode ramp"),
        (
            ("http://127.0.0.1:9", "--manifests", "hpa", "--fleet", "1..2"),
            "--manifests with a URL needs --metrics",
        ),
        (("--manifests", "hpa", "--fleet", "1..2", "--json"), "--json with --manifests needs --write"),
        (("--manifests", "hpa", "--fleet", "1..2", "--namespace", "a b"), "--namespace 'a b' is no name"),
        (("--metrics", "http://127.0.0.1:9/metrics"), "--metrics is for --manifests with the URL"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments, named):
    done = understudy("bench", *arguments, "--models", str(MODELS))
    assert done.returncode in {1, 2}
    assert named in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_the_server_of_its_own_is_gone_afterwards(tmp_path):
    models = tmp_path / "models"
    models.symlink_to(MODELS)
    folder = str(models)
    done = understudy(
        "bench", "--model", "iris", "--models", folder,
        "--rate", "5", "--highest", "5", "--step", "1s", "--p95", "10s",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "knee" in done.stdout
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # one of another test has ended meanwhile
            commands.append(path.read_bytes())
    assert not [command for command in commands if folder.encode() in command]
