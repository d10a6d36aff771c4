"""What was claimed of where the models of a revision come from, when it accepted them."""

import sqlalchemy as sa
from alembic import op

revision = "10"
down_revision = "9"


def upgrade() -> None:
    """Add a column; of what was accepted before nothing was kept."""
    op.add_column("revisions", sa.Column("lineage", sa.JSON(none_as_null=True)))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("revisions", "lineage")
