"""Telling somebody else: webhooks.

Here: signing and sending. Not here: what is worth telling.
"""
