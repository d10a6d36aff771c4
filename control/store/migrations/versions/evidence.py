"""What the tests of harm have come to, so that it outlives control."""

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Add a table; evidence under way begins again with its first tick."""
    op.create_table(
        "evidence",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("state", sa.JSON, nullable=False),
    )
