"""The pure parts of benchmarks.evidence.aa: cells, order, interval, tallies, and the models that it makes."""

import sys
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.system import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks is no installed package

from benchmarks.evidence import aa, aa_load, aa_models, aa_report
from benchmarks.evidence.aa_cells import WORKERS, Job, Tally, by, cells, interval, jobs, slower_cells, tally

METRICS = """# TYPE understudy_requests counter
understudy_requests_total{model="run1",target="small/1",role="stable",code="200"} 7
understudy_requests_total{model="run1",target="small/9",role="canary",code="200"} 2.0
understudy_requests_total{model="run11",target="small/9",role="canary",code="200"} 5
understudy_comparison_total{model="run1",target="small/9",output="label",verdict="same"} 3
understudy_comparison_total{model="run1",target="small/9",output="other",verdict="same"} 4
understudy_ejections_total{target="small/9"} 1
"""


def test_every_cell_is_run_once_a_round() -> None:
    ran = Counter(job.cell for workers in WORKERS for job in jobs(workers, 3) if not job.cell.slower)
    assert ran == dict.fromkeys(cells(), 3)
    assert len(cells()) == 72


def test_slower_canaries_are_run_once_in_each_class() -> None:
    ran = Counter(job.cell for workers in WORKERS for job in jobs(workers, 3) if job.cell.slower)
    assert ran == dict.fromkeys(slower_cells(), 1)
    assert {(cell.workers, cell.placement, cell.connections) for cell in ran} == {
        (cell.workers, cell.placement, cell.connections) for cell in cells()
    }


def test_the_order_is_the_same_every_time_and_no_two_runs_share_a_key() -> None:
    assert jobs(4, 2) == jobs(4, 2)
    keys = [job.key for workers in WORKERS for job in jobs(workers, 2)]
    assert len(set(keys)) == len(keys)


@given(runs=st.integers(1, 400), data=st.data())
def test_each_end_of_an_interval_leaves_its_share_of_chance(runs: int, data: st.DataObject) -> None:
    from scipy.stats import binom

    events = data.draw(st.integers(0, runs))
    low, high = interval(events, runs)
    assert 0.0 <= low <= events / runs <= high <= 1.0
    if events:
        assert binom.sf(events - 1, runs, low) == pytest.approx(0.025, rel=1e-6)
    if events < runs:
        assert binom.cdf(events, runs, high) == pytest.approx(0.025, rel=1e-6)


def test_without_a_run_nothing_is_known() -> None:
    assert interval(0, 0) == (0.0, 1.0)


def test_alpha_is_exceeded_only_beyond_error() -> None:
    assert Tally(216, 5, 100).within
    assert not Tally(216, 8, 100).within
    assert Tally(216, 5, 100).undecided == 111


def test_a_tally_by_a_dimension_adds_up() -> None:
    runs = [
        {"verdict": verdict, "w": w}
        for verdict, w in zip(["harmful", "proven", "undecided"] * 2, "aababb", strict=True)
    ]
    found = by(runs, lambda run: run["w"])
    assert [*found] == ["a", "b"]
    assert sum(each.runs for each in found.values()) == 6
    assert tally(runs) == Tally(6, 2, 2)


def test_counts_are_those_of_the_name_alone() -> None:
    assert aa.counted(METRICS, "run1") == {
        "requests": {"stable 200": 7, "canary 200": 2},
        "comparison": {"same": 7},
    }


def test_a_resumed_record_knows_what_was_run(tmp_path) -> None:
    record, [job, other, *_] = aa.Record(tmp_path / "aa.json", resumed=False), jobs(1, 1)
    record.add({"key": job.key, "verdict": "proven"})
    again = aa.Record(tmp_path / "aa.json", resumed=True)
    assert job.key in again.done
    assert other.key not in again.done
    assert aa.Record(tmp_path / "aa.json", resumed=False).done == set()


def test_the_slower_model_answers_bit_for_bit_as_stable() -> None:
    stable = aa_models.mlp()
    pixels = np.random.default_rng(1).standard_normal((5, aa_models.PIXELS)).astype(np.float32)
    for model in (stable, onnx.load(ROOT / "models" / "digits" / "1" / "model.onnx")):
        both = [
            onnxruntime.InferenceSession(each.SerializeToString()).run(None, {"pixels": pixels})
            for each in (model, aa_models.widened(model, 200))
        ]
        assert all(np.array_equal(own, its) for own, its in zip(*both, strict=True))


def test_a_quantile_is_the_upper_edge_of_its_bucket() -> None:
    seen = Counter({10: 1, 20: 98, 30: 1})
    assert aa_load.quantile(seen, 0.5) == aa_load.edge(21)
    assert aa_load.quantile(seen, 0.999) == aa_load.edge(31)
    assert aa_load.quantile(Counter(), 0.5) == 0.0


def a_run(job: Job, verdict: str = "undecided") -> dict[str, Any]:
    guard = {"guard": "errors", "mode": "enforce", "log_harm": -0.1, "log_line": 5.7, "log_proof_line": 4.6}
    return {
        "key": job.key,
        **asdict(job.cell),
        "verdict": verdict,
        "reason": f"errors: {verdict}: said so",
        "seconds": 60.0,
        "pairs_slower": "",
        "guards": [guard | {"most_log_harm": -0.05, "most_log_safe": 9.0}],
        "clients": {},
        "counts": {"requests": {"canary 200": 5}, "failover": {"timeout": 2}},
    }


def test_the_page_names_what_was_taken_off_and_what_is_left_to_run() -> None:
    ran = [a_run(job, "harmful" if number == 3 else "undecided") for number, job in enumerate(jobs(1, 1))]
    timed = {"stable_us": 5.0, "slower_us": 7.5, "ratio": 1.5}
    session = {
        "lanes": 8, "run_seconds": 60.0, "timeout": "10s", "rounds": 1, "machine": "this one",
        "load_at_start": [1.0], "models": {"small": timed, "mlp": timed}, "seconds": 600,
    }  # fmt: skip
    copies = [run for run in ran if not run["slower"]]
    shown = aa_report.page({"sessions": [session], "runs": ran, "note": "It was shared."})
    harmful = sum(run["verdict"] == "harmful" for run in copies)
    assert f"**{harmful} of 36 copies were taken off" in shown
    assert "Of 72 runs with a copy that were planned 36 were done" in shown
    assert "| errors | enforce | 36 of 36 | 36 | 0 |" in shown
    assert aa_report.asked(ran[0]) == 7


def test_clients_of_the_canary_are_held_to_those_of_stable() -> None:
    clients = {"small/1": {"p50_us": 100.0}, "small/15": {"p50_us": 150.0}}
    assert aa_report.clients_ratio({"clients": clients}) == 1.5
    assert aa_report.clients_ratio({"clients": {"small/1": {"p50_us": 100.0}}}) is None
