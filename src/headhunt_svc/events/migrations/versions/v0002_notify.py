"""Messages on their way, and alarms."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "notify_deliveries",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("delivery_id", sa.String(140), nullable=False),
        sa.Column("message_id", sa.String(128), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("phase", sa.String(8), nullable=False),
        sa.Column("camera", sa.String(800)),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("due", TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_notify_deliveries"),
        sa.UniqueConstraint("delivery_id", "channel", name="uq_notify_deliveries_delivery_id_channel"),
    )
    op.create_index("ix_notify_deliveries_state_due", "notify_deliveries", ["state", "due"])
    op.create_index("ix_notify_deliveries_message_id_channel", "notify_deliveries", ["message_id", "channel"])
    op.create_index("ix_notify_deliveries_camera_channel", "notify_deliveries", ["camera", "channel"])
    op.create_table(
        "notify_alarms",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("key", sa.String(1000), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("camera", sa.String(800)),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("began", TIME, nullable=False),
        sa.Column("checked", TIME, nullable=False),
        sa.Column("ended", TIME),
        sa.Column("is_open", sa.Boolean()),
        sa.PrimaryKeyConstraint("id", name="pk_notify_alarms"),
        sa.UniqueConstraint("source", "key", "is_open", name="uq_notify_alarms_source_key_is_open"),
    )
