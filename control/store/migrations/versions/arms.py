"""A/B/n tests: the candidates of a stage with their shares, and the answers of each of them."""

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"


def upgrade() -> None:
    """Add a column to stages; pairs are by candidate from now on, those that are there of the canary."""
    op.add_column("stages", sa.Column("arms", sa.JSON))
    number = sa.Column("number", sa.SmallInteger, primary_key=True, autoincrement=False)
    _make_pairs_anew("id, output, number", "id, output, 1", number)


def downgrade() -> None:
    """Keep the pairs of the canary."""
    _make_pairs_anew("id, output", "id, output", where=" WHERE number = 1")
    op.drop_column("stages", "arms")


def _make_pairs_anew(key: str, values: str, *further: sa.Column[int], where: str = "") -> None:
    """With another primary key, which SQLite cannot change."""
    op.create_table(
        "pairs_anew",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("output", sa.Text, primary_key=True),
        *further,
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("stage", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("candidate", sa.Text, nullable=False),
        sa.Column("kept_until", sa.Double, nullable=False),
    )
    rest = "model, stage, reference, candidate, kept_until"
    op.execute(
        f"INSERT INTO pairs_anew ({key}, {rest})"  # noqa: S608  (names of our own)
        f" SELECT {values}, {rest} FROM pairs{where}"
    )
    op.drop_table("pairs")
    op.rename_table("pairs_anew", "pairs")
    op.create_index("pairs_kept", "pairs", ["kept_until"])
