"""Prometheus metrics of the prediction log, the probe and the last monitor run, where the client library is there."""

import importlib
from functools import cache
from typing import Any

from headhunt_svc.errors import ConfigError


class _Nothing:
    """Stands for every metric where prometheus-client is not installed."""

    def labels(self, *_: str) -> "_Nothing":
        return self

    def inc(self, _: float = 1) -> None:
        return None

    def set(self, _: float) -> None:
        return None


_ALL = {
    "log_rows": ("Counter", "headhunt_prediction_log_rows", "Rows written to the prediction log", ()),
    "log_lost": ("Counter", "headhunt_prediction_log_lost_rows", "Rows that were not logged", ("reason",)),
    "log_stopped": ("Gauge", "headhunt_prediction_log_stopped", "1 while the prediction log cannot be written", ()),
    "probed": ("Counter", "headhunt_probe_segments", "Segments read under all calibration prompts", ()),
    "probe_failed": ("Counter", "headhunt_probe_failures", "Segments that could not be probed", ()),
    "signal": ("Gauge", "headhunt_monitor_signal", "Size of a drift signal", ("camera", "signal")),
    "limit": ("Gauge", "headhunt_monitor_limit", "The signal's limit for a window of this size", ("camera", "signal")),
    "alarm": ("Gauge", "headhunt_monitor_alarm", "1 for an alarm of the last window", ("camera", "kind")),
    "last_run": ("Gauge", "headhunt_monitor_last_run_seconds", "When the monitor last ran, Unix time", ()),
}


@cache
def metric(name: str) -> Any:
    """One of the metrics above, registered when it is first used."""
    kind, full, text, labels = _ALL[name]
    try:
        library: Any = importlib.import_module("prometheus_client")
    except ImportError:
        return _Nothing()
    # over several processes: the worst is shown, not one a process
    more = {"multiprocess_mode": "max"} if kind == "Gauge" else {}
    return getattr(library, kind)(full, text, labels, **more)


def serve(port: int) -> None:
    """Serve all metrics on a port of loopback.

    Raises:
        ConfigError: prometheus-client is missing, or the port is taken.
    """
    try:
        importlib.import_module("prometheus_client").start_http_server(port, "127.0.0.1")
    except ImportError as exc:
        raise ConfigError("gauges need prometheus-client: pip install 'headhunt-svc[monitoring]'") from exc
    except OSError as exc:
        raise ConfigError(f"port {port} cannot be used ({exc.strerror}): choose another one") from exc
