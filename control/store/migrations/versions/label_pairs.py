"""Answers of both sides to mirrored requests, until labels are told, and what labels have come to."""

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"


def upgrade() -> None:
    """Add two tables."""
    op.create_table(
        "pairs",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("output", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("stage", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("candidate", sa.Text, nullable=False),
        sa.Column("kept_until", sa.Double, nullable=False),
        sa.Index("pairs_kept", "kept_until"),
    )
    op.create_table(
        "label_sums",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("stage", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("guard", sa.Text, primary_key=True),
        sa.Column("state", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    """Forget them."""
    op.drop_table("label_sums")
    op.drop_table("pairs")
