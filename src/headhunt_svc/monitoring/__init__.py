"""Drift: compares windows of the prediction log with baselines.

Here: baselines, signals with their limits, verdicts, diagnosis, Evidently's pages and dashboard. Not here: writing and
reading the log (prediction_log), sending notifications (notify).
"""
