import contextlib
import itertools
import os
import random
import select
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.store.database import NEWEST, REVISIONS, Lost, StoreError
from control.store.store import Change, Fenced, Stale, State, Store, Stored
from harness.search import examples
from harness.system import ROOT
from harness.warm import Program, python
from router.counting.receipt import SECRET_BYTES, ReceiptKey
from serving.errors import NotFound

NUMBERS = itertools.count()

WRITER = """
import sys
from control.store.store import Change, Stale, Store

store, name, wins = Store(sys.argv[1], busy_seconds=60.0), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
while wins:
    now = store.load().rollouts["digits"]
    total = now.document["total"] + 1
    change = Change("digits", now.revision, {"total": total}, {"stage": total}, name, "api", "one more")
    try:
        print(*store.change(change), flush=True)
    except Stale:
        continue
    wins -= 1
"""


def change(model="digits", expected=0, document=None, progress=None, **fields) -> Change:
    given = {"actor": "anna", "kind": "api", "reason": "because", **fields}
    return Change(model, expected, document, progress or {"stage": 1}, **given)


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/state/understudy.db"


@pytest.fixture
def store(url):
    opened = Store(url, clock=lambda: 1000.0, busy_seconds=0.05)
    yield opened
    opened.close()


def file_of(store: Store) -> Path:
    return store._database._file


# ------------------------------------------------------------------ changes
def test_an_empty_store_holds_nothing(store):
    assert store.load() == State(0, {})
    assert store.history("digits") == ()
    assert store.next_stage("digits") == 1


def test_a_change_is_kept_with_who_when_and_why(store):
    document = {"stable": "digits/1", "alpha": 0.01}
    [first] = store.change(change(document=document, evidence={"errors": [412.0, None]}))
    [second] = store.change(change("iris", document={}, kind="file"))
    assert (first, second) == (1, 2)
    assert store.load().rollouts["digits"] == Stored(document, 1, {"stage": 1})
    row = store.revision("digits", 1)
    assert (row.at, row.actor, row.kind, row.reason) == (1000.0, "anna", "api", "because")
    assert (row.document, row.evidence) == (document, {"errors": [412.0, None]})
    assert store.revision("iris", 2).evidence is None


@pytest.mark.parametrize("expected", [0, 1, 3, 99])
def test_a_stale_edit_is_refused_and_changes_nothing(store, expected):
    store.change(change(document={"n": 1}))
    store.change(change(expected=1, document={"n": 2}))
    before = store.load()
    with pytest.raises(Stale, match=f"is at revision 2, the change is based on {expected}") as refused:
        store.change(change(expected=expected, document={"n": 3}))
    assert refused.value.status == 412
    assert store.load() == before
    assert len(store.history("digits")) == 2


def test_a_deleted_rollout_is_remembered_and_its_stages_never_come_again(store):
    store.change(change(document={"n": 1}, progress={"stage": 7}))
    store.change(change(expected=1, document=None, progress={"stage": 7}))
    assert store.load() == State(2, {})
    assert store.next_stage("digits") == 8
    with pytest.raises(Stale):
        store.change(change(expected=1, document={"n": 2}))
    assert store.change(change(document={"n": 2}, progress={"stage": 8})) == (3,)
    assert [row.document for row in store.history("digits")] == [{"n": 2}, None, {"n": 1}]


def test_history_comes_in_pages_the_latest_first(store):
    for revision in range(6):
        store.change(change(expected=revision, document={"n": revision}))
    assert [row.revision for row in store.history("digits", limit=2)] == [6, 5]
    assert [row.revision for row in store.history("digits", limit=3, before=5)] == [4, 3, 2]
    with pytest.raises(NotFound, match="'digits' has no revision 7"):
        store.revision("digits", 7)
    with pytest.raises(NotFound, match="'iris' has no revision 6"):
        store.revision("iris", 6)


def test_a_tick_saves_progress_without_an_audit_row(store):
    store.change(change(document={"n": 1}))
    store.tick("digits", 1, {"stage": 1, "waited_seconds": 5.0})
    assert store.load().rollouts["digits"].progress == {"stage": 1, "waited_seconds": 5.0}
    assert len(store.history("digits")) == 1
    for model, revision in (("digits", 2), ("iris", 1)):
        with pytest.raises(Stale):
            store.tick(model, revision, {"stage": 1})


def test_what_was_written_is_there_after_a_restart(store, url):
    store.change(change(document={"n": 1}))
    again = Store(url)
    assert again.load() == store.load()
    assert again.change(change(expected=1, document={"n": 2})) == (2,)
    again.close()


def test_threads_share_a_store(url):
    store = Store(url)
    with ThreadPoolExecutor(8) as threads:
        revisions = list(threads.map(lambda n: store.change(change(f"m{n}", document={}))[0], range(40)))
    assert sorted(revisions) == list(range(1, 41))
    store.close()


# ------------------------------------------------------------------ the file
def test_the_file_is_the_owners_alone(store, url):
    store.change(change(document={}))
    file = file_of(store)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()} == {0o600}
    file.chmod(0o644)
    Store(url).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_migrations_make_the_tables_that_the_queries_use(store):
    with store._database.begin(writes=False) as connection:
        assert compare_metadata(MigrationContext.configure(connection), REVISIONS.metadata) == []
        assert MigrationContext.configure(connection).get_current_revision() == NEWEST


def test_what_migrates_is_imported_for_a_database_that_is_not_up_to_date(tmp_path):
    program = (
        "import sys; from control.store.store import Store; Store(sys.argv[1]).close();"
        " print('alembic' in sys.modules)"
    )
    arguments = [sys.executable, "-c", program, f"sqlite:///{tmp_path}/state.db"]
    told = [subprocess.run(arguments, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert told == ["True\n", "False\n"]


def test_a_database_of_a_newer_version_is_left_alone(store, url):
    with sqlite3.connect(file_of(store)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = 'later'")
    raw.close()
    with pytest.raises(StoreError, match="by a newer version; start that one again, or put back the backup"):
        Store(url)


# ------------------------------------------------------------------ faults
def test_a_locked_database_is_unavailable_until_it_is_free(store):
    store.change(change(document={}))
    raw = sqlite3.connect(file_of(store), isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="is locked by another process") as refused:
        store.change(change(expected=1, document={"n": 2}))
    assert refused.value.status == 503
    assert store.load().revision == 1
    raw.execute("ROLLBACK")
    raw.close()
    assert store.change(change(expected=1, document={"n": 2})) == (2,)


def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(store):
    store.change(change(document={}))
    before = store.load()

    def allow(connection, _):
        connection.execute(f"PRAGMA max_page_count = {pages}")

    sa.event.listen(store._database._engine, "connect", allow)
    pages = 1
    store._database._engine.dispose()
    with pytest.raises(StoreError, match="the disk is full"):
        store.change(change(expected=1, document={"text": "x" * 1_000_000}))
    assert store.load() == before
    assert len(store.history("digits")) == 1
    pages = 1_000_000
    store._database._engine.dispose()
    assert store.change(change(expected=1, document={"text": "x" * 1_000_000})) == (2,)


@pytest.mark.parametrize("garbage", [b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_file_is_said_to_be_damaged(store, url, garbage):
    store.change(change(document={}))
    store.close()
    file_of(store).write_bytes(garbage)
    with pytest.raises(StoreError, match="is damaged") as refused:
        Store(url)
    assert str(file_of(store).parent) not in str(refused.value)


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be opened: ") as refused:
        Store(f"sqlite:///{tmp_path}/file/state.db")
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("leading", [True, False])
@pytest.mark.parametrize("rest", ["kept", "gone"])
def test_a_deleted_file_is_written_anew_from_memory(store, url, leading, rest):
    if leading:
        assert store.lead("a", 0.0, 5.0)
    store.change(change(document={"n": 1}))
    store.change(change(expected=1, document={"n": 2}))
    store.change(change("iris", document={"n": 3}))
    store.change(change("iris", expected=3, document=None))
    held = store.load()
    for file in file_of(store).parent.iterdir():
        if rest == "gone" or file == file_of(store):
            file.unlink()
    with pytest.raises(Lost, match="is gone"):
        store.change(change(expected=2, document={"n": 4}))
    with pytest.raises(Lost):
        store.load()
    store.restore(held)
    assert store.load() == held
    assert [(row.revision, row.kind) for row in store.history("digits")] == [(2, "restore")]
    assert store.change(change(expected=2, document={"n": 4})) == (5,)
    with pytest.raises(StoreError, match="nothing was restored"):
        store.restore(held)
    other = Store(url)
    assert other.load() == store.load()
    other.close()


def test_a_file_that_another_control_wrote_anew_is_taken_up(store, url):
    store.change(change(document={"n": 1}))
    file_of(store).unlink()
    other = Store(url)
    other.change(change("iris", document={"n": 2}))
    assert store.load() == other.load() == State(1, {"iris": Stored({"n": 2}, 1, {"stage": 1})})
    assert store.change(change("iris", expected=1, document={"n": 3})) == (2,)
    assert other.load() == store.load()
    other.close()


# ------------------------------------------------------------------ leading
def test_one_control_leads_and_the_other_takes_over_once_it_is_silent(store, url):
    other = Store(url)
    assert store.lead("a", 0.0, 5.0)
    assert not other.lead("b", 1000.0, 5.0)
    with pytest.raises(Fenced):
        other.change(change(document={}))
    assert store.lead("a", 3.0, 5.0)
    assert not other.lead("b", 1004.0, 5.0)
    assert not other.lead("b", 1008.9, 5.0)
    store.change(change(document={"by": "a"}))
    assert other.lead("b", 1009.0, 5.0)
    for write in (
        lambda: store.change(change(expected=1, document={"by": "a"})),
        lambda: store.tick("digits", 1, {"stage": 1}),
    ):
        with pytest.raises(Fenced, match="another control leads"):
            write()
    assert not store.lead("a", 10.0, 5.0)
    other.change(change(expected=1, document={"by": "b"}))
    assert store.load().rollouts["digits"].document == {"by": "b"}
    other.close()


def test_who_resigns_is_followed_at_once(store, url):
    other = Store(url)
    assert store.lead("a", 0.0, 5.0)
    assert not other.lead("b", 0.0, 5.0)
    store.resign()
    with pytest.raises(Fenced):
        store.change(change(document={}))
    assert other.lead("b", 0.1, 5.0)
    assert not store.lead("a", 0.2, 5.0)
    other.close()


# ------------------------------------------------------------------ races
@given(
    schedule=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["read", "write", "tick"])), max_size=30)
)
@settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_interleaving_of_editors_and_autopilot_loses_an_update(url, schedule):
    """Each actor reads, and later writes what it read with its own mark behind it."""
    actors = [Store(url) for _ in range(3)]
    model = f"model-{next(NUMBERS)}"
    actors[0].change(change(model, document={"marks": []}))
    seen = [store.load().rollouts[model] for store in actors]
    accepted: list[int] = []
    for number, (actor, action) in enumerate(schedule):
        store, based = actors[actor], seen[actor]
        current = actors[0].load().rollouts[model]
        fresh = based.revision == current.revision
        if action == "read":
            seen[actor] = current
            continue
        marks = [*based.document["marks"], number]
        write = change(model, based.revision, {"marks": marks}, {"stage": number}, actor=str(actor))
        try:
            if action == "tick":
                store.tick(model, based.revision, {"stage": number})
            else:
                store.change(write)
                accepted.append(number)
        except Stale:
            assert not fresh
            assert actors[0].load().rollouts[model] == current
        else:
            assert fresh
            assert actors[0].load().rollouts[model].progress == {"stage": number}
    assert actors[0].load().rollouts[model].document["marks"] == accepted
    assert len(actors[0].history(model)) == len(accepted) + 1
    for store in actors:
        store.close()


def start(url: str, name: str, wins: int) -> Program | subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writer = python("-c", WRITER, url, name, str(wins), cwd=ROOT, **pipes)
    assert writer.stdout.readline() == "ready\n"
    return writer


def finish(writer: Program | subprocess.Popen[str]) -> list[int]:
    # Not communicate(): it would miss the lines that a readline before it has read ahead.
    with writer:
        return [int(line) for line in writer.stdout.read().split()]


def check_history(store: Store) -> None:
    """One audit row a revision, each one further than the one before, and progress of the last one."""
    rows = store.history("digits", limit=100_000)[::-1]
    assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
    assert [row.document["total"] for row in rows] == list(range(len(rows)))
    now = store.load().rollouts["digits"]
    assert (now.revision, now.document) == (len(rows), rows[-1].document)
    assert now.progress["stage"] == now.document["total"]


def test_of_processes_that_race_exactly_one_wins_each_revision(store, url):
    store.change(change(document={"total": 0}, progress={"stage": 0}))
    writers = [start(url, name, 40) for name in ("anna", "bob", "autopilot")]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    won = sorted(revision for writer in writers for revision in finish(writer))
    assert won == list(range(2, 122))
    check_history(store)


def test_a_writer_killed_at_any_point_leaves_one_audit_row_a_revision(store, url):
    store.change(change(document={"total": 0}, progress={"stage": 0}))
    chance = random.Random(20)
    for _ in range(8):
        writer = start(url, "control", 1_000_000)
        os.write(writer.stdin.fileno(), b"go\n")
        reported = 0
        for _ in range(chance.randrange(1, 20)):
            reported = int(writer.stdout.readline())
        select.select([], [], [], chance.uniform(0.0, 0.003))  # somewhere within the next change
        writer.send_signal(signal.SIGKILL)
        reported = max([reported, *finish(writer)])
        check_history(store)
        assert 0 <= store.load().revision - reported <= 1


def test_several_changes_are_made_together_or_not_at_all(store):
    assert store.change(change(document={"n": 1}), change("iris", document={"n": 2})) == (1, 2)
    with pytest.raises(Stale):
        store.change(change("cancer", document={"n": 3}), change("iris", expected=1, document={"n": 4}))
    state = store.load()
    assert state.revision == 2
    assert set(state.rollouts) == {"digits", "iris"}


def test_a_channel_is_told_of_what_happens_from_its_first_day_on_each_once(store):
    store.change(change(event="started"))
    assert store.untold("new", 10) is None
    assert store.told("new") == 1
    assert store.untold("new", 10) == ()
    store.change(change(expected=1, document={}, event="paused"), change("iris"))
    assert [(row.revision, row.event) for row in store.untold("new", 10)] == [(2, "paused"), (3, None)]
    assert store.told("new") == 1  # as every start says
    store.told("other")
    store.told("new", 2)
    assert [row.revision for row in store.untold("new", 10)] == [3]
    assert store.untold("other", 10) == ()
    store.change(change("iris", 3), change("iris2"))
    assert [row.revision for row in store.untold("other", 1)] == [4]


def test_only_the_leader_notes_what_was_told(url, store):
    store.lead("one", 0.0, 0.0)
    with contextlib.closing(Store(url)) as other:
        other.lead("two", 0.0, 0.0)
        other.told("c")
        with pytest.raises(Fenced):
            store.told("c", 1)


def test_keys_for_receipts_are_kept_until_they_are_replaced(url, store):
    keys = tuple(ReceiptKey(id_, bytes([id_ % 256]) * SECRET_BYTES, 1000.25 * id_) for id_ in (7, 300))
    assert store.receipt_keys() == ()
    store.keep_receipt_keys(reversed(keys))
    with contextlib.closing(Store(url)) as other:
        assert other.receipt_keys() == keys, "the oldest first"
        store.keep_receipt_keys(keys[1:])
        assert other.receipt_keys() == keys[1:]
        store.lead("one", 0.0, 0.0)
        other.lead("two", 0.0, 0.0)
        with pytest.raises(Fenced):
            store.keep_receipt_keys(keys)


def test_every_name_that_there_was_is_known(store):
    store.change(change("digits"), change("iris", document={}))
    store.change(change("digits", 1, None))
    assert sorted(store.models()) == ["digits", "iris"]


def test_evidence_is_kept_until_it_is_replaced(url, store):
    assert store.evidence() == {}
    store.keep_evidence("digits", {"stakes": [0.5, -1e300]})
    store.keep_evidence("iris", {})
    store.keep_evidence("digits", {"stakes": [1.5]})
    with contextlib.closing(Store(url)) as other:
        assert other.evidence() == {"digits": {"stakes": [1.5]}, "iris": {}}
        store.lead("one", 0.0, 0.0)
        other.lead("two", 0.0, 0.0)
        with pytest.raises(Fenced):
            store.keep_evidence("digits", {})


def test_a_database_of_the_version_before_is_brought_up_to_date(url, store):
    store.change(change(event="started", digests={"m/1": "a"}))
    store.close()
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as before:
        before.executescript(
            "ALTER TABLE revisions DROP COLUMN event; DROP TABLE channels; DROP TABLE evidence;"
            " DROP TABLE approval_keys; DROP TABLE used_links; DROP TABLE approval_refusals;"
            " DROP TABLE receipt_keys; DROP TABLE stages; DROP TABLE outcomes;"
            " DROP TABLE outcome_sums; DROP TABLE outcome_units; DROP TABLE pairs; DROP TABLE label_sums;"
            " ALTER TABLE revisions DROP COLUMN digests; ALTER TABLE rollouts DROP COLUMN digests;"
            " ALTER TABLE revisions DROP COLUMN lineage; ALTER TABLE leader DROP COLUMN epoch;"
            " UPDATE alembic_version SET version_num = '1'"
        )
    with contextlib.closing(Store(url)) as after:
        [row] = after.history("digits")
        assert (row.revision, row.reason, row.event, row.digests) == (1, "because", None, None)
        assert after.told("c") == 1
        after.change(change(expected=1, document={}, event="paused"))
        assert [row.event for row in after.untold("c", 10)] == ["paused"]
