"""Notifications: messages, where they go (Apprise's services, signed webhooks), the outbox they wait in, alarms.

Belongs here: sending, trying again, once per thing, cooldown. Does not: what an event or an alarm is.
"""
