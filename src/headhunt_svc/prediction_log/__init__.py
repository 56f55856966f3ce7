"""The prediction log: one row for every scored segment.

Here: schema, writer, recording, probe, reading of windows. Not here: what the rows say about drift.
"""
