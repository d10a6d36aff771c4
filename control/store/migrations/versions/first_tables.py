"""Rollouts, their revisions (the audit log), and the lease of the leading control with the last revision."""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    """Create the tables, and the one row that every writer locks."""
    op.create_table(
        "revisions",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True)),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.JSON(none_as_null=True)),
    )
    op.create_index("revisions_of_model", "revisions", ["model", "revision"])
    op.create_table(
        "rollouts",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("document", sa.JSON(none_as_null=True)),
        sa.Column("revision", sa.BigInteger, sa.ForeignKey("revisions.revision"), nullable=False),
        sa.Column("progress", sa.JSON, nullable=False),
    )
    leader = op.create_table(
        "leader",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.Text),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(leader, [{"id": 1, "holder": None, "token": 0, "beat": 0, "revision": 0}])
