"""When clips begin, and which spans of events people have corrected."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    """Add the columns; of clips that are there, nobody knows when they begin."""
    op.add_column("events", sa.Column("clip_start", sa.DateTime(timezone=True)))
    op.add_column("event_marks", sa.Column("spans", sa.JSON()))
