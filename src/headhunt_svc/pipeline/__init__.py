"""The DVC stages, one a file: each reads files, calls the core, writes files, and is a CLI verb.

`stages` is their table. Here: what makes and tests a detector. Not here: studies that compare detectors.
"""
