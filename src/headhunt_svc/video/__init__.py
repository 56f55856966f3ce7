"""A video file -> segments with their pictures: reader, prefetch, sandbox.

Here: decoding and cutting. Not here: what a model makes of the pictures.
"""
