"""A/B/n tests: the candidates of a stage with their shares, and the answers of each of them."""

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"


def upgrade() -> None:
    """Add a column to stages; pairs are by candidate from now on, those that are there of the canary."""
    op.add_column("stages", sa.Column("arms", sa.JSON))
    op.create_table(
        "pairs_by_candidate",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("output", sa.Text, primary_key=True),
        sa.Column("number", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("stage", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("candidate", sa.Text, nullable=False),
        sa.Column("kept_until", sa.Double, nullable=False),
    )
    columns = "model, stage, reference, candidate, kept_until"
    op.execute(
        f"INSERT INTO pairs_by_candidate (id, output, number, {columns})"  # noqa: S608  (names of our own)
        f" SELECT id, output, 1, {columns} FROM pairs"
    )
    op.drop_table("pairs")  # SQLite cannot change a primary key
    op.rename_table("pairs_by_candidate", "pairs")
    op.create_index("pairs_kept", "pairs", ["kept_until"])
