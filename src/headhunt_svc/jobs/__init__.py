"""Batch jobs: many videos, a durable queue, several workers. DBOS keeps the state; results are files named by content."""
