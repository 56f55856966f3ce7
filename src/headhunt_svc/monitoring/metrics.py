"""Prometheus metrics of the last monitor run; the files in monitoring/ are built on these names."""

from collections.abc import Mapping

from prometheus_client import Gauge

from headhunt_svc.monitoring.config import ALL_KINDS
from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict

SIGNAL = Gauge("headhunt_monitor_signal", "Value of a drift signal.", ["camera", "signal"])
LIMIT = Gauge("headhunt_monitor_limit", "The signal's limit for a window of this size.", ["camera", "signal"])
ALARM = Gauge("headhunt_monitor_alarm", "1 for an alarm of the last window.", ["camera", "kind"])
SINCE = Gauge(
    "headhunt_monitor_alarm_since_seconds",
    "When the alarm's first bad block began, Unix time.",
    ["camera", "kind"],
)
LAST_RUN = Gauge("headhunt_monitor_last_run_seconds", "When the monitor last ran, Unix time.")
LEFT_OUT = Gauge("headhunt_monitor_cameras_left_out", "Cameras of the last window without gauges: there are too many.")
MOST_CAMERAS = 1000  # with gauges: names of cameras come from outside, and each has up to 30 series
_shown: dict[Gauge, set[tuple[str, str]]] = {SIGNAL: set(), LIMIT: set(), ALARM: set(), SINCE: set()}


def show(cameras: Mapping[str, CameraVerdict]) -> None:
    """Set the gauges to the verdicts of a run, and remove those of cameras that it has no more.

    Of more than MOST_CAMERAS, those with an alarm come first; verdict.json has all of them.
    """
    names = sorted(cameras, key=lambda name: (cameras[name].kind is None, name != FLEET, name))[:MOST_CAMERAS]
    values: dict[Gauge, dict[tuple[str, str], float]] = {SIGNAL: {}, LIMIT: {}, ALARM: {}, SINCE: {}}
    for name in names:
        verdict = cameras[name]
        for signal, result in verdict.signals.items():
            values[SIGNAL][name, signal], values[LIMIT][name, signal] = result.value, result.limit
        for kind in ALL_KINDS:
            values[ALARM][name, kind] = float(verdict.kind == kind)
        if verdict.kind is not None and verdict.since is not None:
            values[SINCE][name, verdict.kind] = verdict.since.timestamp()
    for gauge, current in values.items():
        for labels, value in current.items():
            gauge.labels(*labels).set(value)
        for labels in _shown[gauge] - current.keys():
            gauge.remove(*labels)
        _shown[gauge] = set(current)
    LEFT_OUT.set(len(cameras) - len(names))
