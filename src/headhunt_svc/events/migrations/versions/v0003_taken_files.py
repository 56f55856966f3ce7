"""Files of folders that are watched."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "taken_files",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("camera", sa.String(800), nullable=False),
        sa.Column("path_id", sa.String(64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("content", sa.String(64)),
        sa.Column("taken", TIME, nullable=False),
        sa.Column("problem", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_taken_files"),
        sa.UniqueConstraint("camera", "path_id", name="uq_taken_files_camera_path_id"),
    )
    op.create_index("ix_taken_files_camera_content", "taken_files", ["camera", "content"])
