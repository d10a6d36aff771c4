"""Accounts outlive their processes, add up at every moment, and are closed once nothing can arrive."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from router.record.account import OUTCOMES, Account
from router.record.accounts import (
    AWAY,
    FULL,
    LOST,
    REQUESTS,
    SAMPLED_OUT,
    SENT,
    STORE_AWAY,
    TOO_LARGE,
    WORKER_GONE,
    WRITTEN,
    Accounts,
    OwnAccounts,
    account_of,
)

counts = st.integers(0, 2**40)


@given(st.lists(counts, min_size=16, max_size=16))
def test_outcomes_add_up_to_the_requests(cells):
    account = account_of(cells)
    outcomes = account.outcomes()
    assert tuple(outcomes) == OUTCOMES
    assert sum(outcomes.values()) == account.requests == cells[REQUESTS]


@given(st.builds(Account, *[counts] * 9), st.builds(Account, *[counts] * 9))
def test_accounts_of_several_processes_add_up(one, other):
    together = (one + other).outcomes()
    assert together == {name: count + other.outcomes()[name] for name, count in one.outcomes().items()}


def test_one_side_counts_and_the_other_sees_it(tmp_path):
    own, accounts = OwnAccounts(tmp_path, "w.1"), Accounts(tmp_path)
    assert (accounts.instances(), accounts.by_model()) == ([], {})
    for model in ("a", "b"):
        cells = own.of(model)
        for cell, count in ((REQUESTS, 9), (SAMPLED_OUT, 1), (FULL, 1), (TOO_LARGE, 1), (AWAY, 1), (SENT, 5)):
            cells[cell] += count
    seen = accounts.cells("w.1", "a")
    for cell, count in ((WRITTEN, 2), (STORE_AWAY, 1), (LOST, 1)):
        seen[cell] = count
    assert accounts.read()["w.1", "a"] == Account(9, 1, 2, 1, 1, 1, writer_gone=2)
    assert accounts.by_model()["a"].pending == 1
    assert own.sent() == {"a": 5, "b": 5}
    assert accounts.has("w.1", "a")
    assert not accounts.has("w.1", "c")


def test_a_model_may_be_called_as_files_are(tmp_path):
    own, accounts = OwnAccounts(tmp_path, "w.1"), Accounts(tmp_path)
    for model in ("lock", "closed.json"):
        own.of(model)[REQUESTS] += 1
    assert accounts.models("w.1") == ["closed.json", "lock"]
    assert accounts.lives("w.1")
    assert accounts.by_model()["lock"].requests == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from router.record.accounts import REQUESTS, SENT, OwnAccounts
own = OwnAccounts(Path(sys.argv[1]), "w.1")
own.of("m")[REQUESTS] = 7
own.of("m")[SENT] = 7
print("there", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_had_on_the_way_is_lost_once_nothing_can_arrive(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"there\n"
        accounts = Accounts(tmp_path)
        accounts.cells("w.1", "m")[WRITTEN] = 4
        accounts.settle(busy=())
        assert accounts.lives("w.1")
        assert accounts.by_model()["m"].pending == 3, "it lives"
        process.kill()
        process.wait()
    assert not accounts.lives("w.1")
    accounts.settle(busy={"w.1"})
    assert accounts.by_model()["m"].pending == 3, "rows of it are on the way"
    accounts.settle(busy=())
    assert accounts.by_model()["m"] == Account(7, written=4, worker_gone=3)
    accounts.cells("w.1", "m")[WRITTEN] = 5
    accounts.settle(busy=())
    assert accounts.cells("w.1", "m")[WORKER_GONE] == 2, "a row that came after all"


def test_where_the_disk_has_no_room_an_account_is_this_process_s_own(tmp_path):
    (tmp_path / "accounts").write_text("a file stands where the folder should be")
    own = OwnAccounts(tmp_path / "accounts", "w.1")
    own.of("m")[REQUESTS] += 1
    assert own.of("m")[REQUESTS] == 1
    assert not Accounts(tmp_path / "accounts").has("w.1", "m")
