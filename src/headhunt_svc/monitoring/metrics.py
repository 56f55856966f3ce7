"""Prometheus metrics of the last monitor run; the files in monitoring/ are built on these names."""

from prometheus_client import Gauge, start_http_server

from headhunt_svc.errors import ConfigError

SIGNAL = Gauge("headhunt_monitor_signal", "Value of a drift signal.", ["camera", "signal"])
LIMIT = Gauge("headhunt_monitor_limit", "The signal's limit for a window of this size.", ["camera", "signal"])
ALARM = Gauge("headhunt_monitor_alarm", "1 for an alarm of the last window.", ["camera", "kind"])
LAST_RUN = Gauge("headhunt_monitor_last_run_seconds", "When the monitor last ran, Unix time.")


def serve(port: int) -> None:
    """Serve all metrics of this process on a port of loopback.

    Raises:
        ConfigError: the port is taken.
    """
    try:
        start_http_server(port, "127.0.0.1")
    except OSError as exc:
        raise ConfigError(f"port {port} cannot be used ({exc.strerror}): choose another one") from exc
