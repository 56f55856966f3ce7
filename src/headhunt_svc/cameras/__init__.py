"""Cameras that are watched: what cameras.yaml says of each, whether its source answers, and how it is.

Here: configuration, hours, the check, the status.
Not here: decoding (video), scoring (detector), what an event is (events).
"""
