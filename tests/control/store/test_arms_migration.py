"""A database of before A/B/n tests: what its stages, pairs and labels say stays as it was."""

import asyncio
import contextlib

import pytest
import sqlalchemy as sa

from control.outcomes.desk import InForce
from control.outcomes.pairs import PairBook
from control.store.outcomes import Arm, Row, Stage
from control.store.store import Change, Store
from router.mirror.label_pairs import LabelPair
from router.rollout.parser import parse_one
from router.wire.pairs_report import PairsReport

DOCUMENT = """
stable: digits/1
canary: {model: digits/2, weight: 10, mirror: 100}
outcomes:
  truth: {output: label, within: 7d}
guards:
  accuracy: {outcome: truth, margin: 1%}
"""
IN_FORCE = InForce(parse_one("digits", DOCUMENT, "test"), 1, 1)
OLDER = """
ALTER TABLE revisions DROP COLUMN lineage;
ALTER TABLE leader DROP COLUMN epoch;
DROP TABLE approval_keys;
DROP TABLE used_links;
DROP TABLE approval_refusals;
ALTER TABLE stages DROP COLUMN arms;
DROP TABLE pairs;
CREATE TABLE pairs (
    id {bytes} NOT NULL, output TEXT NOT NULL, model TEXT NOT NULL, stage BIGINT NOT NULL,
    reference TEXT NOT NULL, candidate TEXT NOT NULL, kept_until {double} NOT NULL, PRIMARY KEY (id, output)
);
CREATE INDEX pairs_kept ON pairs (kept_until);
UPDATE alembic_version SET version_num = '7'
"""


def label(number, value="1.0") -> Row:
    return Row(bytes([number]) * 16, "truth", "digits", 1, 0, True, 5.0, 0, 0.0, value, 9.0, 9.0, 1e9)


def book_of(store) -> PairBook:
    return PairBook(store.pairs, lambda: {"digits": IN_FORCE}, lambda _: (), lambda: True, lambda: 1000.0)


def turn(book, *pairs) -> tuple[int, ...]:
    """Gained, same and lost."""
    if pairs:
        told = tuple(
            LabelPair(bytes([n]).hex() * 16, "label", 1, "digits/1", *pair, 9.0) for n, *pair in pairs
        )
        book.hear("n1/s", PairsReport(model="digits", target="digits/2", seen=1, left_out={}, kept=told))
    asyncio.run(book.take_turn())
    [found] = book.outcomes(IN_FORCE)["accuracy"]
    return tuple(map(int, found.labels.to_json()))


def test_a_canary_goes_on_where_it_was(url):
    """One label was held against its pair, one waits for it, and of one pair the label is still to come."""
    progress = {"stage": 1, "phase": "idle", "candidate": "digits/2", "weight": 10.0}
    with contextlib.closing(Store(url)) as before:
        before.change(Change("digits", 0, {}, progress, "anna", "api", "because"))
        before.outcomes.take([label(1), label(2)])
        assert turn(book_of(before), (1, 1, 2), (3, 2, 1)) == (0, 0, 1)
        made_older(before)
    with contextlib.closing(Store(url)) as after:
        assert [(stage.weight, stage.arms) for stage in after.outcomes.stages("digits")] == [(10.0, ())]
        assert after.pairs.known()[0] == {"digits": 2}
        after.outcomes.take([label(3)])
        assert turn(book_of(after), (1, 1, 2), (2, 2, 1)) == (2, 0, 1)
        assert turn(book_of(after), (1, 1, 2), (2, 2, 1), (3, 2, 1)) == (2, 0, 1)


def made_older(store) -> None:
    """As the release before had left it."""
    postgres = store._database._url.get_backend_name() == "postgresql"
    types = (
        {"bytes": "BYTEA", "double": "DOUBLE PRECISION"}
        if postgres
        else {"bytes": "BLOB", "double": "DOUBLE"}
    )
    with store.outcomes.writing() as connection:
        kept = connection.execute(
            sa.text("SELECT id, output, model, stage, reference, candidate, kept_until FROM pairs")
        ).all()
        for statement in OLDER.format(**types).split(";"):
            connection.execute(sa.text(statement))
        insert = (
            "INSERT INTO pairs VALUES (:id, :output, :model, :stage, :reference, :candidate, :kept_until)"
        )
        connection.execute(sa.text(insert), [dict(row._mapping) for row in kept])


def test_a_stage_says_who_had_which_share(url):
    document = {"candidates": [{"model": "digits/2", "weight": 20}, {"model": "digits/3", "weight": 30.5}]}
    arms = [{"target": "digits/2", "off_reason": ""}, {"target": "digits/3", "off_reason": "errors"}]
    comparing = {"stage": 1, "phase": "comparing", "candidate": None, "weight": 0.0}
    with contextlib.closing(Store(url, clock=lambda: 1000.0)) as store:
        for revision, progress in enumerate(
            (
                {**comparing, "arms": [{"target": arm["target"]} for arm in arms]},
                {**comparing, "stage": 2, "arms": arms},
                {**comparing, "stage": 3, "phase": "promoting", "candidate": "digits/2", "arms": arms},
                {**comparing, "stage": 4, "phase": "promoted", "candidate": "digits/2", "arms": arms},
            )
        ):
            store.change(Change("digits", revision, document, progress, "anna", "api", "because"))
        two, three, off = Arm("digits/2", 20.0), Arm("digits/3", 30.5), Arm("digits/3", 0.0)
        assert store.outcomes.stages("digits") == (
            Stage("digits", 1, 1000.0, arms=(two, three)),
            Stage("digits", 2, 1000.0, arms=(two, off)),
            Stage("digits", 3, 1000.0, arms=(two, off)),
            Stage("digits", 4, 1000.0),
        )
        stage = store.outcomes.stages("digits")[0]
        assert stage.weights == pytest.approx((0.495, 0.2, 0.305))
        shares = [stage.share(number) for number in (0, 1, 2, 3)]
        assert shares == pytest.approx([0.0, 0.2 / 0.695, 0.305 / 0.8, 0.0])
