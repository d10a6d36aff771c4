"""The tables of outcomes: what was told, the stages in which it was drawn, and what it has come to."""

import sqlalchemy as sa

from control.store.database import REVISIONS

_METADATA = REVISIONS.metadata

STAGES = sa.Table(
    "stages",
    _METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("stage", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("began", sa.Double, nullable=False),
    sa.Column("weight", sa.Double, nullable=False),
    sa.Column("used", sa.Double, nullable=False),
    sa.Column("draw", sa.BigInteger, nullable=False),
    sa.Column("candidate", sa.Text),
    sa.Column("sticky", sa.Text),
    sa.Column("arms", sa.JSON(none_as_null=True)),
)
OUTCOMES = sa.Table(
    "outcomes",
    _METADATA,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("stage", sa.BigInteger, nullable=False),
    sa.Column("arm", sa.SmallInteger, nullable=False),
    sa.Column("anew", sa.SmallInteger, nullable=False),
    sa.Column("arrived", sa.Double, nullable=False),
    sa.Column("key", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("label", sa.Text),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("matures", sa.Double, nullable=False),
    sa.Column("kept_until", sa.Double, nullable=False),
    sa.Column("entered", sa.SmallInteger, nullable=False),
    sa.Index("outcomes_kept", "kept_until"),
)
_WAITS, _STICKY = sa.text("entered = 0"), sa.text("key <> 0")
sa.Index("outcomes_waiting", OUTCOMES.c.matures, sqlite_where=_WAITS, postgresql_where=_WAITS)
sa.Index(
    "outcomes_of_user",
    *(OUTCOMES.c[name] for name in ("model", "name", "stage", "key")),
    sqlite_where=_STICKY,
    postgresql_where=_STICKY,
)
OUTCOME_SUMS = sa.Table(
    "outcome_sums",
    _METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("stage", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("guard", sa.Text, primary_key=True),
    sa.Column("state", sa.JSON, nullable=False),
)
OUTCOME_UNITS = sa.Table(
    "outcome_units",
    _METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("outcome", sa.Text, primary_key=True),
    sa.Column("stage", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
)
