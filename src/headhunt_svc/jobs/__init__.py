"""Batch jobs: many videos, a durable queue, several workers; and archives without a queue.

Belongs here: the queue, workers, results by content, inputs that name many videos. Does not: how one video is scored.
"""
