"""Reads video files as segments with their pictures: containers, reader, prefetch, sandbox.

Here: decoding and cutting. Not here: what the model does with the pictures.
"""
