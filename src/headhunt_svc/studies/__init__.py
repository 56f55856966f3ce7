"""Comparisons that no detector needs: ablation, sweeps, seeds.

Here: what the documents' tables come from. Not here: stages that make a detector.
"""
