"""The epoch of the database, by which nodes tell it from one that was put back from a backup."""

import time

import sqlalchemy as sa
from alembic import op

revision = "11"
down_revision = "10"


def upgrade() -> None:
    """A database that has given revisions has the first epoch, from whichever backup; a new one its own."""
    op.add_column("leader", sa.Column("epoch", sa.BigInteger, nullable=False, server_default="1"))
    leader = sa.table("leader", sa.column("epoch", sa.BigInteger), sa.column("revision", sa.BigInteger))
    now = int(time.time() * 1000)
    op.execute(sa.update(leader).where(leader.c.revision == 0).values(epoch=now))


def downgrade() -> None:
    """Forget it: nodes are told none, and follow whoever tells none."""
    op.drop_column("leader", "epoch")
