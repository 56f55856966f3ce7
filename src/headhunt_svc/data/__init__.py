"""Labelled footage: annotations, data sets, benchmarks, score files, labels, the feature store.

Here: what training and evaluation read. Not here: running a detector on it.
"""
