"""Prometheus metrics of notifications; monitoring/alerts-notify.yml uses these names."""

from prometheus_client import Counter, Gauge

SENT = Counter("headhunt_notify_sent", "Messages that a channel took.", ["channel"])
FAILURES = Counter("headhunt_notify_failures", "Attempts that failed; the message is tried again.", ["channel"])
GIVEN_UP = Counter("headhunt_notify_given_up", "Messages that no attempt could deliver.", ["channel"])
OLDEST_SECONDS = Gauge(
    "headhunt_notify_oldest_seconds", "How long the oldest message has waited to be sent.", multiprocess_mode="max"
)
