"""Outcomes in a real database: each once, the earliest first; a stage has its row from its first moment."""

import contextlib
import sqlite3

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.store.outcome_tables import OUTCOMES
from control.store.outcomes import Row, Stage
from control.store.store import Change, Fenced, State, Store, Stored
from harness.search import examples


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/state.db"


@pytest.fixture
def store(url):
    opened = Store(url, clock=lambda: 1000.0)
    yield opened
    opened.close()


def row(number: int, at: float = 10.0, value: float = 1.0, name: str = "conversion") -> Row:
    id_ = number.to_bytes(16)
    return Row(id_, name, "digits", 1, number % 2, True, 5.0, 0, value, None, at, 65.0, 86_465.0)


def change(expected, progress, document=None, model="digits") -> Change:
    return Change(model, expected, document, progress, "anna", "api", "because")


def progress(stage, **fields):
    return {"stage": stage, "phase": "progressing", "candidate": "digits/2", **fields}


def test_a_stage_is_written_with_the_change_that_begins_it(store):
    sticky = {"sticky": {"header": "x-user"}}
    store.change(change(0, progress(1, weight=5.0), {}))
    store.change(change(1, progress(1, weight=5.0), {"alpha": 0.1}))
    store.change(change(2, progress(2, weight=20.0, used=5.0, draw=2), sticky))
    store.change(change(3, {**progress(3, weight=20.0), "phase": "rolled_back"}, sticky))
    assert store.outcomes.stages("digits") == (
        Stage("digits", 1, 1000.0, 5.0, 0.0, 0, "digits/2", None),
        Stage("digits", 2, 1000.0, 20.0, 5.0, 2, "digits/2", "x-user"),
        Stage("digits", 3, 1000.0, 0.0, 0.0, 0, None, "x-user"),
    )
    assert store.outcomes.stages("digits")[1].fresh == pytest.approx(15 / 95)
    assert store.outcomes.stages("iris") == ()


def test_a_stale_change_begins_no_stage(store):
    store.change(change(0, progress(1), {}))
    with pytest.raises(Exception, match="is at revision 1"):
        store.change(change(7, progress(2), {}))
    assert [stage.stage for stage in store.outcomes.stages("digits")] == [1]


def test_a_deleted_name_goes_on_with_its_stages(store):
    store.change(change(0, progress(4), {}))
    store.change(change(1, progress(4)))
    store.change(change(0, progress(store.next_stage("digits")), {}))
    assert [stage.stage for stage in store.outcomes.stages("digits")] == [4, 5]


def test_an_outcome_is_taken_once(store):
    assert store.outcomes.take([row(1), row(2), row(1)]) == [True, True, False]
    assert store.outcomes.take([row(2), row(3), row(2, name="revenue")]) == [False, True, True]
    assert store.outcomes.sums() == {
        ("digits", 1, "told conversion"): {"accepted": 3, "first": 65.0, "waiting": {"0": 1, "1": 2}},
        ("digits", 1, "told revenue"): {"accepted": 1, "first": 65.0, "waiting": {"0": 1}},
    }


def kept(store) -> dict[tuple[bytes, str], tuple[float, float]]:
    with store.outcomes.writing() as connection:
        rows = connection.execute(sa.select(OUTCOMES)).all()
    return {(bytes(each.id), each.name): (each.at, each.value) for each in rows}


@settings(max_examples=examples(25), suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=30),
    st.lists(st.integers(1, 7), min_size=1, max_size=10),
    st.randoms(use_true_random=False),
)
def test_the_earliest_counts_in_whatever_order_and_batches_they_come(url, told, cuts, chance):
    store = Store(url)
    try:
        with store.outcomes.writing() as connection:
            connection.execute(OUTCOMES.delete())
        rows = [row(number, float(at), float(at)) for number, at in told]
        chance.shuffle(rows)
        new, rest = 0, rows
        for cut in [*cuts, len(rows)]:
            batch, rest = rest[:cut], rest[cut:]
            new += sum(store.outcomes.take(batch))
        assert new == len({number for number, _ in told})
        first: dict[int, float] = {}
        for number, at in told:
            first[number] = min(float(at), first.get(number, 99.0))
        assert kept(store) == {(number.to_bytes(16), "conversion"): (at, at) for number, at in first.items()}
    finally:
        store.close()


def test_a_control_that_does_not_lead_takes_nothing(url, store):
    other = Store(url)
    assert store.lead("a", 0.0, 3.0)
    assert not other.lead("b", 0.0, 3.0)
    with pytest.raises(Fenced):
        other.outcomes.take([row(1)])
    other.close()
    assert not store.outcomes.any()


def test_a_database_that_is_written_anew_has_the_stages_that_are_under_way(url, store, tmp_path):
    (tmp_path / "state.db").unlink()
    store.restore(State(7, {"digits": Stored({}, 7, progress(3, weight=10.0))}))
    assert store.outcomes.stages("digits") == (Stage("digits", 3, 1000.0, 10.0, candidate="digits/2"),)


BEFORE = """
ALTER TABLE revisions DROP COLUMN lineage; ALTER TABLE leader DROP COLUMN epoch;
DROP TABLE approval_keys; DROP TABLE used_links; DROP TABLE approval_refusals;
DROP TABLE stages; DROP TABLE outcomes; DROP TABLE outcome_sums; DROP TABLE outcome_units;
DROP TABLE pairs; DROP TABLE label_sums; UPDATE alembic_version SET version_num = '5';
"""


def test_of_rollouts_that_were_there_before_the_present_stage_is_known(tmp_path, url):
    sticky = {"sticky": {"header": "x-user"}}
    with contextlib.closing(Store(url, clock=lambda: 1000.0)) as before:
        before.change(change(0, progress(1, weight=5.0), {}))
        before.change(change(1, progress(2, weight=20.0, used=5.0, draw=2), sticky))
        before.change(change(0, {"stage": 3, "phase": "rolled_back", "candidate": "iris/2"}, {}, "iris"))
        before.change(change(0, progress(1), {}, "gone"), change(0, progress(1), {}, "old"))
        before.change(change(4, progress(1), None, "gone"))
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as database:
        database.executescript(BEFORE)
    with contextlib.closing(Store(url)) as after:
        assert after.outcomes.stages("digits") == (
            Stage("digits", 2, 1000.0, 20.0, 5.0, 2, "digits/2", "x-user"),
        )
        assert after.outcomes.stages("iris") == (Stage("iris", 3, 1000.0),)
        assert after.outcomes.stages("gone") == ()
        assert after.outcomes.take([row(1)]) == [True]
