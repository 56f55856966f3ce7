"""Feedback: from what people say about events to a new bundle, and the proof of what it changes.

Belongs here: marks and their features, recalibration by marks, the proof. Does not: storing events (events), the
arithmetic of a correction (core), running a model.
"""
