"""The parts of benchmarks.peers that judge and tell; and that nothing it starts is left behind."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.system import ROOT, alive

sys.path.insert(0, str(ROOT))  # benchmarks is no installed package

from benchmarks.peers import answers, catalogue, ours, report
from benchmarks.peers.answers import Expected, WrongAnswerError
from benchmarks.peers.environments import PINS, pinned
from benchmarks.peers.load import Closed, LoadError, Open, closed, opened
from benchmarks.peers.measure import Row
from benchmarks.peers.processes import descendants, last_words

WRK = """Running 1s test @ http://127.0.0.1:18001/v2/models/iris/infer
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.86ms    1.07ms  13.40ms   91.53%
  Latency Distribution
     50%  950.00us
     75%    6.93ms
     90%    7.55ms
     99%    1.20s
  5000 requests in 1.10s, 1.11MB read
Requests/sec:   4545.45
Transfer/sec:      1.01MB
"""
ERRORS = """  Socket errors: connect 1, read 20, write 300, timeout 4000
  Non-2xx or 3xx responses: 50000
"""
CSV = """Request Rate,Inferences/Second,Client Send,p50 latency,p90 latency,p95 latency,p99 latency
2000,1966.6,89,590,1057,1416,14539
"""
TOLD = {"date": "a day", "machine": "a machine", "command": "a command"}


def run(rate, cpu=10.0):
    return Closed(rate, 100.0, 200.0, cpu, 0)


def row(peer, rate, **fields):
    return Row(peer, closed={1: run(rate / 2), 32: run(rate)}, **fields)


def peer(name):
    return next(peer for peer in catalogue.PEERS if peer.name == name)


def test_figures_of_wrk_are_in_microseconds_and_cpu_is_per_request():
    assert closed(WRK, 0.5) == Closed(4545.45, 950.0, 1.2e6, 100.0, 0)


def test_broken_connections_and_bad_statuses_are_all_errors():
    assert closed(WRK.replace("Requests/sec", ERRORS + "Requests/sec"), 0.5).errors == 54321


@pytest.mark.parametrize("text", ["", "unable to connect", WRK.replace("5000 requests", "0 requests")])
def test_a_run_without_an_answer_has_no_figures(text):
    with pytest.raises(LoadError, match="no requests"):
        closed(text, 0.5)


def test_figures_of_perf_analyzer_tell_what_was_sent_late():
    said = "[WARNING] Perf Analyzer was not able to keep up. 13.08% of the requests were delayed."
    assert opened(CSV, said, 2000) == Open(2000, 1966.6, pytest.approx(0.1308), 590.0, 14539.0)
    assert opened(CSV, "", 2000).delayed == 0
    with pytest.raises(LoadError, match="perf_analyzer's report"):
        opened("nothing\n", "", 2000)


def test_processes_below_one_are_found_at_any_depth_without_itself():
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 13: 10, 20: 1, 21: 20}
    assert sorted(descendants(10, parents)) == [11, 12, 13]
    assert descendants(21, parents) == []


def test_a_ratio_needs_both_sides():
    assert report.ratio(24.0, 10.0) == "2.40x"
    assert report.ratio(None, 10.0) == report.ratio(24.0, None) == report.ratio(24.0, 0.0) == "-"


def test_durations_have_their_unit():
    assert [report.duration(value) for value in (6.19, 213.0, 1290.0, 2e6)] == [
        "6.19 us",
        "213 us",
        "1.29 ms",
        "2 s",
    ]


RIGHT = Expected([5.1, 3.5, 1.4, 0.2], 0, [0.97, 0.03, 0.0])


def test_both_kinds_of_json_are_read_flat_or_nested():
    oip = {"outputs": [{"name": "label", "data": [[0]]}, {"name": "probabilities", "data": [0.97, 0.03, 0]}]}
    own = {"label": [0], "probabilities": [[0.97, 0.03, 0.0]]}
    answers.compare(answers.outputs(oip, oip=True), RIGHT)
    answers.compare(answers.outputs(own, oip=False), RIGHT)


@pytest.mark.parametrize(
    "answer",
    [
        {"label": [1], "probabilities": [[0.97, 0.03, 0.0]]},
        {"label": [0], "probabilities": [[0.9701, 0.0299, 0.0]]},
        {"label": [0], "probabilities": [[0.97, 0.03]]},
        {"label": [0], "probabilities": [[float("nan"), 0.03, 0.0]]},
        {"label": [0, 0], "probabilities": [[0.97, 0.03, 0.0]]},
        {"label": [0]},
        {"error": "busy"},
        [],
    ],
)
def test_any_other_answer_is_wrong(answer):
    with pytest.raises(WrongAnswerError):
        answers.compare(answers.outputs(answer, oip=False), RIGHT)


def test_expected_answers_are_the_models_own():
    found = answers.expected()
    assert found[0].row == pytest.approx(answers.TYPICAL)
    assert {one.label for one in found} == {0, 1, 2}
    assert all(one.label == max(range(3), key=one.probabilities.__getitem__) for one in found)


def test_goals_are_held_against_the_fastest_configuration_and_both_runs_of_ours():
    rows = [
        row(ours.OURS, 900.0),
        row(ours.CANARY, 500.0),
        row(peer("mosec"), 100.0),
        row(peer("mosec-batched"), 200.0),
        row(ours.LAST, 1100.0),
    ]
    page = report.page(rows, TOLD)
    assert re.search(r"\| mosec, batching \(mosec [\d.]+\) \| 5x \| 5\.00x \| 2\.50x \| yes \|", page)
    rows[3] = row(peer("mosec-batched"), 201.0)
    assert re.search(r"\| 5x \| 4\.98x \| 2\.49x \| no \|", report.page(rows, TOLD))


def test_a_peer_that_failed_is_in_the_table_with_its_reason():
    failed = Row(peer("ray"), failure="no answer in 120 s:\n a | b")
    page = report.page([row(ours.OURS, 900.0), failed, row(ours.LAST, 900.0)], TOLD)
    assert re.search(r"\| Ray Serve \(ray [\d.]+\) \| no figures: no answer in 120 s: a / b \|", page)


def test_without_both_runs_of_ours_there_are_no_ratios():
    page = report.page([Row(ours.OURS, failure="broke"), row(peer("triton"), 100.0)], TOLD)
    assert "| 2.4x | - | - | - |" in page
    assert "no ratios" in page


def test_rows_of_a_table_have_as_many_cells_as_its_head():
    rows = [row(ours.OURS, 900.0), Row(peer("ray"), failure="broke"), Row(ours.ALONE, closed={1: run(1e5)})]
    rows[0].open = {1000: Open(10, 10, 0.0, 1.0, 2.0), 2000: "it broke"}
    cells = 0
    for line in report.page(rows, TOLD).splitlines():
        if not line.startswith("|"):
            cells = 0
        elif cells:
            assert line.count("|") == cells, line
        else:
            cells = line.count("|")


def test_peers_are_chosen_by_name_and_an_unknown_one_is_named():
    assert [one.name for one in catalogue.chosen("triton, mosec")] == ["triton", "mosec"]
    assert catalogue.chosen("") == list(catalogue.PEERS)
    with pytest.raises(ValueError, match="unknown peer 'torchserve'"):
        catalogue.chosen("triton,torchserve")


@pytest.mark.parametrize("name", sorted({one.pins for one in catalogue.PEERS} | {"client"}))
def test_every_requirement_is_pinned_and_names_no_host(name):
    for line in (PINS / f"{name}.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line


def test_the_version_of_every_peer_is_that_of_its_pins():
    assert all(pinned(one.pins, one.package) for one in catalogue.PEERS)
    with pytest.raises(KeyError, match="numpie is not pinned"):
        pinned("triton", "numpie")


def test_the_reason_of_a_failed_start_is_the_last_error(tmp_path):
    log = tmp_path / "log"
    log.write_text("starting\nValueError: first\nImportError: no module\n  shutting down\n")
    assert last_words(log) == "ImportError: no module"
    log.write_text("")
    assert last_words(log) == "it said nothing"


# A server whose detached child outlives SIGTERM, told by the benchmark's own processes module.
SCRIPT = """
import os, sys, time
from pathlib import Path
from benchmarks.peers.processes import NotStartedError, adopt_orphans, cpu_seconds, started

adopt_orphans()
folder = Path(sys.argv[1])
child = "import os, signal, sys, time; os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n" \\
    "sum(range(5_000_000)); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
parent = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]])"
command = [sys.executable, "-c", parent + "; time.sleep(60)", child, str(folder / "pid")]
answers = lambda: (folder / "pid").exists() and (folder / "pid").read_text() != ""
with started(command, {}, folder / "log", answers, 30):
    print(cpu_seconds() > 0.05)
try:
    command = [sys.executable, "-c", "raise SystemExit('no such error')"]
    with started(command, {}, folder / "log", lambda: False, 30):
        pass
except NotStartedError as error:
    print(error)
"""


@pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset is needed")
@pytest.mark.skipif(0 not in os.sched_getaffinity(0), reason="core 0 is not ours")
def test_detached_children_are_counted_and_ended(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["True", "ended with 1: no such error"], done.stderr
    assert not alive(int((tmp_path / "pid").read_text()))


def test_shapes_are_told_to_perf_analyzer_only_of_servers_that_speak_the_protocol():
    driven = [one for one in (*catalogue.PEERS, ours.OURS) if one.shape]
    assert [one.name for one in driven] == ["triton", "ours"]
    assert all(one.oip for one in driven)
    assert replace(ours.LAST, name="ours", title="", shape="1,4") == replace(ours.OURS, title="")
