"""The DVC stages, one a file: each reads files, calls the core, writes files, and is a CLI verb.

Here: what makes and tests a detector. Not here: studies that compare detectors.
"""
