"""Batch jobs: many videos, a durable queue, several workers. DBOS keeps the state; results are named by content."""
