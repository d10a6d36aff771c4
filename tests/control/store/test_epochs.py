"""The epoch of a database: of its own where it is new, and a later one where a person says so."""

import contextlib
import shutil
import sqlite3

import pytest
import sqlalchemy as sa

from control.rollouts.epochs import PASSED_BY, in_new_epoch
from control.rollouts.progress import begin
from control.rollouts.state import from_json, to_json
from control.store.database import LEADER
from control.store.given import FIRST_EPOCH
from control.store.store import Change, Fenced, State, Store, Stored
from router.rollout.parser import parse_one, to_document
from router.wire.report import Held

CANARY = parse_one(
    "digits",
    "{stable: digits/1, sticky: {header: x-user}, canary: {model: digits/2, steps: [{setWeight: 5}]}}",
    "test",
)


def opened(url, **options) -> contextlib.closing[Store]:
    """A store, which is closed afterwards; a busy machine may take long over its tables."""
    return contextlib.closing(Store(url, answer_seconds=60.0, **options))


def change(model="digits", expected=0, rollout=CANARY, stage=1) -> Change:
    document = None if rollout is None else to_document(rollout)
    progress = to_json(begin(CANARY, stage))
    return Change(model, expected, document, progress, "anna", "api", "because", digests={"digits/1": "a"})


def held(store, revision) -> Held:
    return Held(epoch=store.given.epoch, revision=revision, made=store.given.made(revision))


def test_two_databases_are_of_two_epochs_and_one_keeps_its_own(tmp_path, url):
    with (
        opened(url) as one,
        opened(f"sqlite:///{tmp_path}/b.db") as two,
    ):
        one.load()
        two.load()
        assert FIRST_EPOCH < one.given.epoch < two.given.epoch
    with opened(url) as again:
        again.load()
        assert again.given.epoch == one.given.epoch


def test_what_was_given_is_known_at_once_and_after_a_restart(url):
    with opened(url) as store:
        store.load()
        store.change(change(), change("iris"))
        given = [held(store, 1), held(store, 2)]
        assert all(each.made > 0.0 for each in given)
        assert {store.given.standing(each) for each in given} == {"ours"}
    with opened(url) as again:
        again.load()
        assert [held(again, 1), held(again, 2)] == given


def test_a_backup_that_is_put_back_knows_what_it_has_not_given(tmp_path, url):
    if not url.startswith("sqlite"):
        pytest.skip("a file is copied")
    with opened(url) as store:
        store.load()
        store.change(change())
    shutil.copy(tmp_path / "state.db", tmp_path / "yesterday.db")
    with opened(url) as store:
        store.load()
        store.change(change("iris"))
        lost = held(store, 2)
    with opened(f"sqlite:///{tmp_path}/yesterday.db") as restored:
        restored.load()
        assert restored.given.standing(lost) == "foreign"
        restored.change(change("iris"))
        restored.change(change("shoes"))
        assert restored.given.standing(lost) == "foreign", "also when it has given such numbers again"
        restored.new_epoch(in_new_epoch)
        restored.load()
        assert restored.given.standing(lost) == "before"


def test_in_a_new_epoch_rollouts_go_on_with_numbers_that_nobody_has_seen(url):
    with opened(url, clock=lambda: 1000.0) as store:
        store.load()
        before = store.given.epoch
        store.change(change(), change("gone", stage=4))
        store.change(change("gone", 2, None, stage=4))
        assert store.new_epoch(in_new_epoch) == before + 1, "the clock stands before the database was made"
        state = store.load()
        assert (store.given.epoch, state.revision) == (before + 1, 4)
        progress = from_json(state.rollouts["digits"].progress)
        assert progress.stage == progress.evidence_stage == progress.draw == 1 + PASSED_BY
        assert (progress.phase, progress.weight, progress.used) == ("progressing", 5.0, 0.0)
        assert state.rollouts["digits"].digests == {"digits/1": "a"}
        [row, _] = store.history("digits")
        assert (row.revision, row.actor, row.event) == (4, "control", "edited")
        assert "--new-epoch" in row.reason
        assert [stage.stage for stage in store.outcomes.stages("digits")] == [1, 1 + PASSED_BY]
        assert store.next_stage("gone") == 4 + PASSED_BY + 1


def test_only_who_leads_begins_an_epoch(url):
    with opened(url) as store, opened(url) as other:
        store.load()
        store.lead("one", 0.0, 0.0)
        other.lead("two", 0.0, 0.0)
        with pytest.raises(Fenced):
            store.new_epoch(in_new_epoch)
        other.load()
        assert other.given.epoch == store.given.epoch


def test_a_database_that_is_written_anew_from_memory_stays_in_its_epoch(tmp_path, url):
    if not url.startswith("sqlite"):
        pytest.skip("a file is lost")
    with opened(url) as store:
        store.load()
        store.change(change())
        known = held(store, 1)
        stored = Stored(to_document(CANARY), 1, to_json(begin(CANARY)))
        (tmp_path / "state.db").unlink()
        store.restore(State(1, {"digits": stored}))
        assert store.given.standing(known) == "ours"
    with opened(url) as again:
        again.load()
        assert again.given.epoch == known.epoch
        assert again.given.standing(known) == "ours", "when it was accepted is not known any more"


def test_a_database_of_before_epochs_has_the_first_one_from_whichever_backup(tmp_path, url):
    if not url.startswith("sqlite"):
        pytest.skip("once is enough")
    with opened(url) as store:
        store.change(change())
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as raw:
        raw.executescript(
            "ALTER TABLE leader DROP COLUMN epoch; UPDATE alembic_version SET version_num = '10'"
        )
    shutil.copy(tmp_path / "state.db", tmp_path / "copy.db")
    for file in ("state.db", "copy.db"):
        with opened(f"sqlite:///{tmp_path}/{file}") as migrated:
            migrated.load()
            assert migrated.given.epoch == FIRST_EPOCH
            with migrated.outcomes.writing() as connection:
                assert connection.scalar(sa.select(LEADER.c.revision)) == 1
