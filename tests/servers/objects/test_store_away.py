"""While the object store is away rows wait, and what does not fit is dropped and counted."""

import sys

from harness.system import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks is no installed package

from benchmarks.robustness.store_away import Plan, played


def adds_up(away):
    """Whether each answer that clients had is accounted for, and each row that was written is in a file.

    Of how many were refused or late nothing is said: the machine may be busy with anything.
    """
    found = away.outcomes
    dropped = sum(
        found[reason] for reason in ("full", "too_large", "store_away", "writer_gone", "worker_gone")
    )
    assert (away.check, away.differences) == (0, [])
    assert found["requests"] == away.clients + away.failed
    assert (found["sampled_out"], found["pending"]) == (0, 0)
    assert found["requests"] == found["written"] + dropped
    assert found["rows"] == found["written"]
    return dropped


def test_rows_that_waited_for_the_store_are_all_written_once_it_is_back(tmp_path):
    away = played(Plan(rate=50, flowers=4, calm_seconds=2, away_seconds=5), tmp_path)
    assert away.waiting > 50
    assert adds_up(away) == 0


def test_what_does_not_fit_meanwhile_is_dropped_and_counted(tmp_path):
    plan = Plan(rate=20, flowers=1 << 16, calm_seconds=2, away_seconds=10, until_dropped=True)  # 2.4 MB a row
    away = played(plan, tmp_path)
    assert adds_up(away) >= away.outcomes["store_away"] > 0
    assert away.waiting * plan.flowers * 36 > 200 << 20
