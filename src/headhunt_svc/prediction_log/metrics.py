"""Prometheus metrics of the prediction log and the prompt probe; the files in monitoring/ are built on these names."""

from typing import NamedTuple

from prometheus_client import Counter, Gauge

# over several processes of one service: the largest value is shown, not one for each process
ROWS = Counter("headhunt_prediction_log_rows", "Rows written to the prediction log.")
LOST_ROWS = Counter("headhunt_prediction_log_lost_rows", "Rows that were not logged.", ["reason"])
STOPPED = Gauge(
    "headhunt_prediction_log_stopped", "1 while the prediction log cannot be written.", multiprocess_mode="max"
)
SHADOW_ROWS = Counter("headhunt_shadow_log_rows", "Rows of candidates written beside the prediction log.")
SHADOW_LOST_ROWS = Counter("headhunt_shadow_log_lost_rows", "Rows of candidates that were not logged.", ["reason"])
SHADOW_STOPPED = Gauge(
    "headhunt_shadow_log_stopped", "1 while rows of candidates cannot be written.", multiprocess_mode="max"
)
SHADOW_SEGMENTS = Counter("headhunt_shadow_segments", "Segments that a candidate has scored in shadow.")
SHADOW_EVENTS = Counter("headhunt_shadow_events", "Events that a candidate would have had.")
SHADOW_FAILURES = Counter("headhunt_shadow_failures", "Videos whose rest a candidate could not score.")
PROBED = Counter("headhunt_probe_segments", "Segments read under all calibration prompts.")
PROBE_FAILURES = Counter("headhunt_probe_failures", "Segments that could not be probed.")


class LogMetrics(NamedTuple):
    """What a log counts: written and lost rows; stopped: 1 while it cannot be written."""

    rows: Counter
    lost_rows: Counter
    stopped: Gauge


LOG = LogMetrics(ROWS, LOST_ROWS, STOPPED)
SHADOW_LOG = LogMetrics(SHADOW_ROWS, SHADOW_LOST_ROWS, SHADOW_STOPPED)
