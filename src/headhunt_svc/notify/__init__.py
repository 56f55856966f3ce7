"""Notifications to other systems: webhooks.

Belongs here: signing and sending. Does not: deciding what is sent, and when it is sent again.
"""
