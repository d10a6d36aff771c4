"""Files and accounts go together, wherever the process that writes them is killed."""

import pytest

from router.record.accounts import EXPIRED, REQUESTS, WRITTEN, Accounts, OwnAccounts
from router.record.files.columns import Columns
from router.record.files.footers import Footer, written
from router.record.files.stores import FolderStore
from router.record.ledger import Ledger

NAME = "model=m/date=2026-11-27/hour=13/a.parquet"
ROWS = {("w.1", "m"): 3, ("gone", "m"): 2}


class Killed(BaseException):
    """The process is killed here."""


class Store(FolderStore):
    """A folder whose user is killed before or after a file is there."""

    def __init__(self, root, killed=""):
        super().__init__(root)
        self.killed = killed

    def put(self, name, data):
        if self.killed == "before":
            raise Killed
        super().put(name, data)
        if self.killed == "after":
            raise Killed

    def delete(self, name):
        if self.killed == "before":
            raise Killed
        super().delete(name)
        if self.killed == "after":
            raise Killed


@pytest.fixture
def cells(tmp_path):
    own = OwnAccounts(tmp_path / "accounts", "w.1")
    own.of("m")[REQUESTS] = 10
    return own.of("m")


@pytest.fixture
def ledger(tmp_path, cells):
    def make(killed=""):
        accounts, store = Accounts(tmp_path / "accounts"), Store(tmp_path / "log", killed)
        made = Ledger(tmp_path / "notes", accounts, store)
        made.recover()
        return made

    return make


def test_rows_are_written_once_their_file_is_there_and_committed(ledger, cells, tmp_path):
    one = ledger()
    note = one.put(NAME, b"data", ROWS)
    assert cells[WRITTEN] == 0
    one.commit(note)
    assert cells[WRITTEN] == 3
    assert (tmp_path / "log" / NAME).read_bytes() == b"data"
    assert list(FolderStore(tmp_path / "log").names()) == [NAME]
    assert list((tmp_path / "notes").iterdir()) == []


@pytest.mark.parametrize(("killed", "counted"), [("before", 0), ("after", 3)])
def test_who_comes_after_counts_what_is_there(ledger, cells, killed, counted):
    with pytest.raises(Killed):
        ledger(killed).put(NAME, b"data", ROWS)
    assert cells[WRITTEN] == 0
    for _ in range(2):
        ledger()
        assert cells[WRITTEN] == counted


def test_a_file_that_was_merged_before_its_writer_came_back_was_there(ledger, cells, tmp_path):
    with pytest.raises(Killed):
        ledger("after").put(NAME, b"data", ROWS)
    folder = (tmp_path / "log" / NAME).parent
    (folder / "a.parquet").unlink()
    merged = Footer("m", "here", {"w.1": 5}, {}, replaces=("a.parquet", "b.parquet"))
    (folder / "compacted-1.parquet").write_bytes(written(Columns().table(), merged))
    ledger()
    assert cells[WRITTEN] == 3


def test_killed_between_the_file_and_its_commit_rows_count_once(ledger, cells):
    first = ledger()
    note = first.put(NAME, b"data", ROWS)
    text = note.read_bytes()
    first.commit(note)
    note.write_bytes(text)  # it was killed before this was gone
    ledger()
    assert cells[WRITTEN] == 3


@pytest.mark.parametrize(("killed", "expired"), [("before", 0), ("after", 3), ("", 3)])
def test_what_is_deleted_as_too_old_is_accounted_for(ledger, cells, killed, expired):
    one = ledger()
    one.commit(one.put(NAME, b"data", ROWS))
    if killed:
        with pytest.raises(Killed):
            ledger(killed).delete(NAME, ROWS)
    else:
        one.commit(one.delete(NAME, ROWS))
    ledger()
    assert (cells[WRITTEN], cells[EXPIRED]) == (3, expired)


def test_a_note_that_a_loss_of_power_left_half_stops_nobody(ledger, cells, tmp_path):
    ledger()
    (tmp_path / "notes" / "a.parquet.json").write_bytes(b"")
    ledger()
    assert (cells[WRITTEN], list((tmp_path / "notes").iterdir())) == (0, [])


def test_a_file_that_cannot_be_written_leaves_nothing(ledger, tmp_path, cells):
    (tmp_path / "log").write_text("a file stands where the folder should be")
    one = ledger()
    with pytest.raises(OSError, match="Not a directory"):
        one.put(NAME, b"data", ROWS)
    (tmp_path / "log").unlink()
    one.commit(one.put(NAME, b"data", ROWS))
    assert cells[WRITTEN] == 3


def test_folders_that_are_empty_go_with_their_last_file(tmp_path):
    store = FolderStore(tmp_path / "log")
    store.put(NAME, b"data")
    store.put(NAME.replace("a.", "b."), b"data")
    store.delete(NAME)
    assert not store.exists(NAME)
    assert [name[-9:] for name in store.names()] == ["b.parquet"]
    store.delete(NAME.replace("a.", "b."))
    assert list((tmp_path / "log").iterdir()) == []
