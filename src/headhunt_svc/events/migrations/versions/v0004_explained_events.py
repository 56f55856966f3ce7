"""Which events are explained, and an index of those that go on."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Add the columns and the indexes."""
    op.add_column("events", sa.Column("places", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("events", sa.Column("described", sa.DateTime(timezone=True)))
    op.add_column("events", sa.Column("described_by", sa.String(200)))
    op.create_index("ix_events_described", "events", ["described"])
    is_open = sa.text("stop IS NULL")
    op.create_index("ix_events_open", "events", ["start", "id"], sqlite_where=is_open, postgresql_where=is_open)
