"""Prometheus metrics of the prediction log and the prompt probe; the files in monitoring/ are built on these names."""

from prometheus_client import Counter, Gauge

# over several processes of one service: the largest value is shown, not one for each process
ROWS = Counter("headhunt_prediction_log_rows", "Rows written to the prediction log.")
LOST_ROWS = Counter("headhunt_prediction_log_lost_rows", "Rows that were not logged.", ["reason"])
STOPPED = Gauge(
    "headhunt_prediction_log_stopped", "1 while the prediction log cannot be written.", multiprocess_mode="max"
)
PROBED = Counter("headhunt_probe_segments", "Segments read under all calibration prompts.")
PROBE_FAILURES = Counter("headhunt_probe_failures", "Segments that could not be probed.")
