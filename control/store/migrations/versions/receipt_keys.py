"""What receipts are signed with: one key of the fleet, and those before it while their receipts are taken."""

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"


def upgrade() -> None:
    """Add a table; the control that leads makes the first key."""
    op.create_table(
        "receipt_keys",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("made", sa.Double, nullable=False),
    )


def downgrade() -> None:
    """Forget them: nobody takes what they signed any more."""
    op.drop_table("receipt_keys")
