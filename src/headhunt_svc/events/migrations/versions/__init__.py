"""Changes of the tables of events, by Alembic, in order. The store runs them (events/database.py)."""
