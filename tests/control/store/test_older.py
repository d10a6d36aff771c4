"""The way back: a database that an older release reads, and that this one takes up again."""

import contextlib
import os
from itertools import pairwise

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from control.rollouts.progress import begin
from control.rollouts.state import to_json
from control.store.database import NEWEST, _alembic
from control.store.older import OF_26_NOVEMBER, CannotGoBack, rewritten
from control.store.outcomes import Row
from control.store.store import Change, Fenced, Store
from harness.command import told
from router.counting.receipt import SECRET_BYTES, ReceiptKey
from router.rollout.parser import parse_one, to_document

PLAIN = """
stable: digits/1
canary: {model: digits/2, steps: [{setWeight: 5}, {prove: {}}, {setWeight: 50}]}
guards: {errors: {maxRatio: 2}}
"""
ARMS = "{stable: m/1, candidates: [{model: m/2, weight: 9}, {model: m/3, weight: 9}]}"
TO = OF_26_NOVEMBER.format
SERVER = {"model": "m/2", "url": "http://a", "server": {"timeout": "1s"}}


def put(store, model, text, **fields):
    """A document as control accepts it, with the progress that it begins with, or another."""
    rollout = parse_one(model, text, "test")
    progress = to_json(begin(rollout, authors=("anna",))) | fields
    store.change(Change(model, 0, to_document(rollout), progress, "anna", "api", "because"))
    return progress


def tables(connection):
    """The tables of a database, as far as queries see them."""
    seen = sa.inspect(connection)
    return {
        name: (
            {column["name"]: str(column["type"]) for column in seen.get_columns(name)},
            seen.get_pk_constraint(name)["constrained_columns"],
            {index["name"]: index["column_names"] for index in seen.get_indexes(name)},
        )
        for name in seen.get_table_names()
    }


@pytest.fixture
def store(url):
    with contextlib.closing(Store(url)) as opened:
        yield opened


def test_every_migration_after_the_oldest_release_can_be_undone():
    config = _alembic(None)
    numbers = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert numbers[0] == NEWEST
    scripts = ScriptDirectory.from_config(config).iterate_revisions(NEWEST, TO)
    assert [script.revision for script in scripts if not hasattr(script.module, "downgrade")] == []
    assert all(int(newer) == int(older) + 1 for newer, older in pairwise(numbers))


def test_the_tables_are_those_that_the_older_release_made_and_then_those_of_this_one(url, store):
    with store._database.begin(writes=False) as connection:
        newest = tables(connection)
    store.take_back(OF_26_NOVEMBER)
    with store._database.begin(writes=True) as connection:
        found = tables(connection)
        everything = sa.MetaData()
        everything.reflect(connection)
        everything.drop_all(connection)
        command.upgrade(_alembic(connection), TO)
        assert tables(connection) == found
    assert store.format == TO
    with contextlib.closing(Store(url)) as again, again._database.begin(writes=False) as connection:
        assert tables(connection) == newest
    assert store.format == NEWEST


def test_rollouts_evidence_and_the_audit_log_stay_and_what_is_newer_is_forgotten(url, store):
    progress = put(store, "digits", PLAIN, draw=2, used=30.0)
    store.keep_evidence("digits", {"evidence_stage": 1})
    store.keep_receipt_keys([ReceiptKey(1, b"x" * SECRET_BYTES, 1000.0)])
    store.outcomes.take([Row(b"1" * 16, "bought", "digits", 1, 0, True, 5.0, 0, 1.0, None, 9.0, 9.0, 1e9)])
    assert store.take_back(OF_26_NOVEMBER) == ("digits: users are drawn anew",)
    with contextlib.closing(Store(url)) as again:
        [(model, stored)] = again.load().rollouts.items()
        del progress["draw"], progress["used"]
        assert (model, stored.revision, stored.progress) == ("digits", 1, progress)
        assert [row.reason for row in again.history("digits")] == ["because"]
        assert again.evidence() == {"digits": {"evidence_stage": 1}}
        assert again.receipt_keys() == ()
        assert [stage.stage for stage in again.outcomes.stages("digits")] == [1]


@pytest.mark.parametrize(
    ("text", "fields", "reason"),
    [
        (
            PLAIN.replace("{prove: {}}", "{approve: {by: 2, from: [risk]}}"),
            {},
            "does not know `canary.steps.approve`",
        ),
        (PLAIN.replace("2}}", "2}, speed: {min: 1.3}}"), {}, "does not know `guards.speed`"),
        ("stable: {model: m/1, url: 'http://a', server: {timeout: 1s}}", {}, "know `stable.server`; put a"),
        (ARMS, {}, "a test is under way"),
        (PLAIN, {"phase": "aa"}, "`understudy rollouts abort digits`"),
    ],
)
def test_what_an_older_release_would_leave_out_of_a_decision_is_refused_with_the_remedy(
    tmp_path, text, fields, reason
):
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/state.db")) as store:
        put(store, "digits", text, **fields)
        before = store.load()
        with pytest.raises(CannotGoBack, match=reason):
            store.take_back(OF_26_NOVEMBER)
        assert store.format == NEWEST
        assert store.load() == before


def test_what_decides_nothing_any_more_is_left_out_and_told(tmp_path):
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/state.db")) as store:
        ended = {"phase": "ended", "candidate": "m/2", "arms": [{"target": "m/2"}], "cause": None}
        put(store, "test", ARMS, **ended)
        put(store, "told", "{stable: m/1, record: {sample: 10}, shadows: [{model: m/2, sample: 5}]}")
        found = store.take_back(OF_26_NOVEMBER)
        assert set(found) == {"test: `candidates` is left out", "told: `record` is left out"}
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/state.db")) as again:
        progress = again.load().rollouts["test"].progress
    assert (progress["phase"], progress["candidate"]) == ("idle", None)
    assert progress.keys() <= OF_26_NOVEMBER.progress


def test_a_cause_that_is_not_known_is_a_persons_and_a_former_stable_that_cannot_be_asked_goes():
    rollout = parse_one("digits", PLAIN, "test")
    targets = ({"model": "m/1", "url": None}, SERVER)
    warm = [{"target": target, "seconds_left": 1.0} for target in targets]
    progress = to_json(begin(rollout)) | {"phase": "paused", "cause": "rejected", "warm": warm}
    found = rewritten(progress, OF_26_NOVEMBER)
    assert found == progress | {"cause": "person", "warm": warm[:1]}


def test_a_store_that_does_not_lead_takes_nothing_back(url, store):
    assert store.lead("one", 0.0, 0.0)
    with contextlib.closing(Store(url)) as other:
        assert other.lead("two", 0.0, 0.0)
    with pytest.raises(Fenced):
        store.take_back(OF_26_NOVEMBER)


# ------------------------------------------------------------------ the command
def run(folder, *words):
    return told("database", *words, "--state-dir", str(folder), environment={**os.environ})


def test_the_command_takes_a_database_back_once_nobody_leads(tmp_path):
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/state.db")) as store:
        put(store, "digits", PLAIN + "\nrecord: {sample: 10}")
    shown = run(tmp_path, "show").stdout
    assert shown.startswith(f"format {NEWEST}; this release writes {NEWEST}\n")
    assert f"format {TO} is that of {OF_26_NOVEMBER.released}" in shown
    ended = run(tmp_path, "downgrade", TO)
    assert ended.exit_code == 0, ended.output
    assert "digits: `record` is left out" in ended.stdout
    assert f"it is in format {TO} now; start {OF_26_NOVEMBER.released}" in ended.stdout
    assert f'"format": "{TO}"' in run(tmp_path, "show", "--json").stdout
    assert run(tmp_path, "downgrade", TO).stdout == f"it is in format {TO}\n"


def test_the_command_says_in_words_what_is_wrong(tmp_path):
    missing = run(tmp_path / "nowhere", "show")
    assert (missing.exit_code, "No such file" in missing.stderr) == (1, True)
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/state.db")) as store:
        put(store, "digits", PLAIN, phase="aa")
    unknown = run(tmp_path, "downgrade", "9")
    assert (unknown.exit_code, f"there are {TO}" in unknown.stderr) == (1, True)
    refused = run(tmp_path, "downgrade", TO)
    assert (refused.exit_code, "digits: a test is under way" in refused.stderr) == (1, True)
