"""Events, their parts and marks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "events",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("camera", sa.String(800), nullable=False),
        sa.Column("video_id", sa.String(16_384), nullable=False),
        sa.Column("start", TIME, nullable=False),
        sa.Column("stop", TIME),
        sa.Column("seen", TIME, nullable=False),
        sa.Column("peak", TIME, nullable=False),
        sa.Column("time_basis", sa.String(16), nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("detector_id", sa.String(64), nullable=False),
        sa.Column("contributions", sa.JSON(), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("source", sa.Text()),
        sa.Column("start_s", sa.Double()),
        sa.Column("description", sa.Text()),
        sa.Column("created", TIME, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("marked_by", sa.String(200)),
        sa.Column("marked", TIME),
        sa.Column("picture", sa.Boolean(), nullable=False),
        sa.Column("clip", sa.String(8)),
        sa.Column("features", sa.Boolean(), nullable=False),
        sa.Column("interrupted", sa.Boolean(), nullable=False),
        sa.Column("media_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_start_id", "events", ["start", "id"])
    op.create_index("ix_events_camera_start", "events", ["camera", "start"])
    op.create_index("ix_events_created", "events", ["created"])
    op.create_table(
        "event_parts",
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_event_parts"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name="fk_event_parts_event_id", ondelete="CASCADE"),
    )
    op.create_index("ix_event_parts_event_id", "event_parts", ["event_id"])
    op.create_table(
        "event_marks",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event_marks"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name="fk_event_marks_event_id", ondelete="CASCADE"),
    )
    op.create_index("ix_event_marks_event_id", "event_marks", ["event_id"])
