"""Files are added up against accounts, and what is missing is said."""

import os
from datetime import UTC, datetime

import pytest

from router.record.account import Account
from router.record.accounts import REQUESTS, SAMPLED_OUT, WRITTEN, Accounts, OwnAccounts
from router.record.files.footers import Footer
from router.record.files.partitions import Part
from router.record.files.rows import Row
from router.record.files.stores import FolderStore
from router.record.log_writer import encoded
from understudy.records.checking import balances
from understudy.records.place import Folder

AT = datetime(2026, 11, 27, 13, 30, tzinfo=UTC)


@pytest.fixture
def own(tmp_path):
    return OwnAccounts(tmp_path / "accounts", "here.worker-0.1")


@pytest.fixture
def check(tmp_path):
    (tmp_path / "log").mkdir()
    return lambda: balances(Folder(tmp_path / "log"), Accounts(tmp_path / "accounts"))


def put(folder, rows, written, instance="here.worker-0.1"):
    part = Part("m", "model=m/date=2026-11-27/hour=13", 0.0)
    for _ in range(rows):
        part.columns.add(Row("m", instance, AT, {"request_time": AT}, {}, 1))
    account = Account(requests=written, written=written)
    FolderStore(folder / "log").put(
        part.name, encoded(part, Footer("m", "n", {instance: rows}, {instance: account}))
    )
    return folder / "log" / part.name


def test_what_adds_up_is_equal(tmp_path, own, check):
    cells = own.of("m")
    cells[REQUESTS], cells[SAMPLED_OUT], cells[WRITTEN] = 9, 4, 5
    put(tmp_path, 2, 2)
    put(tmp_path, 3, 5)
    put(tmp_path, 7, 7, "there.worker-0.9")
    ours, theirs = check()
    assert (ours.rows, ours.difference, ours.ours, ours.ended) == (5, "", True, False)
    assert (theirs.rows, theirs.difference, theirs.ours) == (7, "", False)


def test_a_file_that_is_missing_or_that_no_account_has_is_a_difference(tmp_path, own, check):
    cells = own.of("m")
    cells[REQUESTS] = cells[WRITTEN] = 5
    put(tmp_path, 2, 2).unlink()
    put(tmp_path, 3, 5)
    put(tmp_path, 1, 8, "there.worker-0.9")
    ours, theirs = check()
    assert ours.difference == "2 rows are missing"
    assert theirs.difference == "7 rows are missing"
    cells[WRITTEN] = 1
    assert check()[0].difference == "2 rows are there that no account has"


def test_more_outcomes_than_answers_are_a_difference(tmp_path, own, check):
    own.of("m")[SAMPLED_OUT] = 2
    [ours] = check()
    assert ours.difference == "2 answers more have an outcome than there were"


def test_answers_without_an_outcome_are_a_difference_once_their_process_has_ended(own, check):
    own.of("m")[REQUESTS] = 3
    [ours] = check()
    assert ours.difference == ""
    os.close(own._lock)
    [ours] = check()
    assert ours.difference == "3 answers have no outcome, and their process has ended"


def test_an_account_that_was_closed_is_held_against_its_files(tmp_path, own, check):
    cells = own.of("m")
    cells[REQUESTS], cells[SAMPLED_OUT], cells[WRITTEN] = 9, 4, 5
    os.close(own._lock)
    Accounts(tmp_path / "accounts").close(busy=())
    put(tmp_path, 5, 5)
    [found] = check()
    assert (found.rows, found.difference, found.ours, found.ended) == (5, "", True, True)
    (tmp_path / "log").rename(tmp_path / "elsewhere")
    (tmp_path / "log").mkdir()
    [found] = check()
    assert found.difference == "5 rows are missing"
