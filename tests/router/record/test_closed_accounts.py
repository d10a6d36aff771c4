"""Accounts of processes that have ended take a row, later none, and no total ever changes by that."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from router.record.account import Account, kind_of
from router.record.accounts import EXPIRED, REQUESTS, STORE_AWAY, WRITTEN, Accounts, OwnAccounts
from router.record.closed_accounts import FOLDED, ClosedAccounts, folded

counts = st.integers(0, 2**40)
instances = st.sampled_from(["a.worker-0.1", "a.worker-0.2", "a.sandbox-1.3", *FOLDED.values()])
places = st.tuples(instances, st.sampled_from(["m", "n"]))
accounts = st.one_of(
    st.builds(Account, *[counts] * 9),
    st.builds(lambda count: Account(count, 0, count, expired=count), counts),
)


class Process:
    """One that counts, until it has ended."""

    def __init__(self, folder, instance="a.worker-0.1", model="m", requests=5, written=3):
        self._own = OwnAccounts(folder, instance)
        self._own.of(model)[REQUESTS] = requests
        Accounts(folder).cells(instance, model)[WRITTEN] = written
        Accounts(folder).cells(instance, model)[STORE_AWAY] = requests - written

    def end(self):
        os.close(self._own._lock)


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_process_that_has_ended_keeps_a_row_and_no_page(tmp_path):
    process, log_writer, other = Process(tmp_path), Accounts(tmp_path), Accounts(tmp_path)
    expected = {("a.worker-0.1", "m"): Account(5, written=3, store_away=2)}
    for looks_at_it in ((), ("a.worker-0.1",)):
        log_writer.close(busy=looks_at_it)
        assert log_writer.instances() == ["a.worker-0.1"], "it lives"
    process.end()
    log_writer.close(busy={"a.worker-0.1"})
    assert log_writer.instances() == ["a.worker-0.1"], "rows of it are on the way"
    assert log_writer.read() == other.read() == expected
    for _ in range(2):
        log_writer.close(busy=())
        assert [path.name for path in tmp_path.iterdir()] == ["closed.json"]
        assert log_writer.read() == other.read() == Accounts(tmp_path).read() == expected
    assert log_writer.has("a.worker-0.1", "m")


def test_what_is_not_settled_is_not_closed(tmp_path):
    process = Process(tmp_path)
    log_writer = Accounts(tmp_path)
    log_writer.cells("a.worker-0.1", "m")[WRITTEN] = 2
    process.end()
    log_writer.close(busy=())
    assert log_writer.instances() == ["a.worker-0.1"]
    log_writer.settle(busy=())
    log_writer.close(busy=())
    assert log_writer.instances() == []
    assert log_writer.by_model() == {"m": Account(5, written=2, store_away=2, worker_gone=1)}


def test_killed_before_the_pages_went_it_counts_once(tmp_path):
    Process(tmp_path / "accounts").end()
    log_writer = Accounts(tmp_path / "accounts")
    before = log_writer.read()
    shutil.copytree(tmp_path / "accounts" / "a.worker-0.1", tmp_path / "kept")
    log_writer.close(busy=())
    shutil.copytree(tmp_path / "kept", tmp_path / "accounts" / "a.worker-0.1")
    assert Accounts(tmp_path / "accounts").read() == before
    Accounts(tmp_path / "accounts").close(busy=())
    assert log_writer.read() == before
    assert log_writer.instances() == []


def test_once_its_rows_have_expired_it_is_part_of_what_was_earlier(tmp_path):
    for number, instance in enumerate(("a.worker-0.1", "a.worker-0.2", "a.sandbox-1.3")):
        Process(tmp_path, instance, requests=5 + number).end()
    log_writer = Accounts(tmp_path)
    log_writer.close(busy=())
    for instance in ("a.worker-0.1", "a.worker-0.2", "a.sandbox-1.3"):
        log_writer.cells(instance, "m")[EXPIRED] = 3  # as the ledger does: it has a page again
    assert log_writer.by_model() == {"m": Account(11, written=6, store_away=5, expired=6)}
    for _ in range(2):  # rows without pages, and only then one
        log_writer.close(busy=())
    assert log_writer.read() == {
        ("earlier", "m"): Account(11, written=6, store_away=5, expired=6),
        ("earlier.sandboxes", "m"): Account(7, written=3, store_away=4, expired=3),
    }
    assert log_writer.by_model("comparison") == {"m": Account(7, written=3, store_away=4, expired=3)}


@given(st.dictionaries(places, accounts), st.sets(places))
def test_no_total_changes_by_folding_and_nothing_is_folded_that_files_may_have(rows, with_pages):
    def totals(found):
        sums = Counter()
        for (instance, model), account in found.items():
            for outcome, count in account.outcomes().items():
                sums[kind_of(instance), model, outcome] += count
            sums[kind_of(instance), model, "expired"] += account.expired
        return sums

    after = folded(rows, with_pages)
    assert totals(after) == totals(rows)
    for place, account in rows.items():
        if place[0] not in FOLDED.values() and (place in with_pages or account.written != account.expired):
            assert after[place] == account
    assert folded(after, with_pages) == after


@given(rows=st.dictionaries(places, accounts))
def test_rows_come_back_as_they_were(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "closed.json"
    ClosedAccounts(path).write(rows)
    assert ClosedAccounts(path).known() == rows


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"columns": [], "rows": [["a", "m", 1]]}'])
def test_a_file_that_cannot_be_read_is_said_and_never_written_over(tmp_path, text):
    Process(tmp_path).end()
    (tmp_path / "closed.json").write_text(text)
    log_writer = Accounts(tmp_path)
    with capture_logs() as said:
        assert log_writer.by_model() == {"m": Account(5, written=3, store_away=2)}
    assert str(tmp_path / "closed.json") in said[0]["path"]
    with pytest.raises(ValueError, match=r".+"):
        log_writer.close(busy=())
    assert (tmp_path / "closed.json").read_text() == text
    assert log_writer.instances() == ["a.worker-0.1"]


def test_however_many_have_ended_none_holds_a_file_open(tmp_path):
    for number in range(300):
        Process(tmp_path, f"a.worker-0.{number:x}").end()
    log_writer, before = Accounts(tmp_path), descriptors()
    for _ in range(2):
        log_writer.settle(busy=())
        assert log_writer.by_model()["m"].requests == 1500
        assert descriptors() == before
        log_writer.close(busy=())
    assert (tmp_path / "closed.json").stat().st_size < 300 * 60
