"""A detector: bundle and model in, reports out.

Here: the one way from a video to a report, and the bundle that freezes it.
Not here: who asks, or what becomes of a report.
"""
