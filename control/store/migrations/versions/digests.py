"""Which bytes of each local model a revision accepted, by SHA-256."""

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Add a column to both tables; what was accepted before has none, until control pins it."""
    op.add_column("revisions", sa.Column("digests", sa.JSON(none_as_null=True)))
    op.add_column("rollouts", sa.Column("digests", sa.JSON(none_as_null=True)))
