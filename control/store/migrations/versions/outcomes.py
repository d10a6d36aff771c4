"""What was told of answers, the stages in which they were drawn, and what that has come to."""

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"

_LIVE = ("idle", "progressing", "paused", "promoting", "aa")


def upgrade() -> None:
    """Add the tables; of each rollout its present stage is known, since the revision that is in force."""
    stages = op.create_table(
        "stages",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("stage", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("began", sa.Double, nullable=False),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("used", sa.Double, nullable=False),
        sa.Column("draw", sa.BigInteger, nullable=False),
        sa.Column("candidate", sa.Text),
        sa.Column("sticky", sa.Text),
    )
    op.bulk_insert(stages, _present())
    _create_outcomes()
    op.create_table(
        "outcome_sums",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("stage", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("guard", sa.Text, primary_key=True),
        sa.Column("state", sa.JSON, nullable=False),
    )
    op.create_table(
        "outcome_units",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("outcome", sa.Text, primary_key=True),
        sa.Column("stage", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
    )


def _create_outcomes() -> None:
    op.create_table(
        "outcomes",
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
    )
    op.create_index("outcomes_kept", "outcomes", ["kept_until"])
    waits, sticky = sa.text("entered = 0"), sa.text("key <> 0")
    op.create_index("outcomes_waiting", "outcomes", ["matures"], sqlite_where=waits, postgresql_where=waits)
    op.create_index(
        "outcomes_of_user",
        "outcomes",
        ["model", "name", "stage", "key"],
        sqlite_where=sticky,
        postgresql_where=sticky,
    )


def _present() -> list[dict[str, object]]:
    """The stages that are under way, as progress and document have them."""
    rollouts = sa.table(
        "rollouts",
        sa.column("model", sa.Text),
        sa.column("document", sa.JSON(none_as_null=True)),
        sa.column("revision", sa.BigInteger),
        sa.column("progress", sa.JSON),
    )
    revisions = sa.table("revisions", sa.column("revision", sa.BigInteger), sa.column("at", sa.Double))
    both = rollouts.join(revisions, revisions.c.revision == rollouts.c.revision)
    query = sa.select(rollouts, revisions.c.at).select_from(both)
    found: list[dict[str, object]] = []
    for row in op.get_bind().execute(query):
        if row.document is None:  # deleted
            continue
        progress = row.progress
        live = progress.get("phase") in _LIVE
        found.append(
            {
                "model": row.model,
                "stage": progress["stage"],
                "began": row.at,
                "weight": progress.get("weight", 0.0) if live else 0.0,
                "used": progress.get("used", 0.0),
                "draw": progress.get("draw", 0),
                "candidate": progress.get("candidate") if live else None,
                "sticky": (row.document.get("sticky") or {}).get("header"),
            }
        )
    return found


def downgrade() -> None:
    """Forget them."""
    for table in ("outcome_units", "outcome_sums", "outcomes", "stages"):
        op.drop_table(table)
