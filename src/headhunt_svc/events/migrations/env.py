"""What Alembic runs: the migrations, in the connection that events/database.py passes."""

from alembic import context

import headhunt_svc.events.tables
import headhunt_svc.events.taken
import headhunt_svc.notify.tables  # noqa: F401  (all name their tables to Base)
from headhunt_svc.storage.sql import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
