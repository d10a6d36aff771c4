"""What each revision was an event of, and how far each channel of notifications has come."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add a column and a table; of revisions made before, nobody is told."""
    op.add_column("revisions", sa.Column("event", sa.Text))
    op.create_table(
        "channels",
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("told", sa.BigInteger, nullable=False),
    )
