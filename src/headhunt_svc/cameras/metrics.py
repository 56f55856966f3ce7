"""Prometheus metrics of `headhunt watch`; monitoring/alerts-watch.yml uses these names.

Those of a camera are read from the cameras' states when somebody asks, so that they go with their cameras.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headhunt_svc.cameras.status import CameraState

MOST_CAMERAS = 1000  # that have metrics
CRASHES = Counter("headhunt_watch_crashes", "Failures of a camera's thread that were not expected.")
REFUSED = Gauge("headhunt_watch_cameras_refused", "1 while cameras.yaml is broken and its last good version counts.")
HEARTBEAT = Gauge("headhunt_watch_heartbeat_timestamp_seconds", "When the process last looked after its cameras.")
TROUBLES = Counter("headhunt_watch_troubles", "Times that states, alarms or events could not be written.")
LATENCY = Histogram(
    "headhunt_watch_latency_seconds",
    "From the end of a live segment until its score is known and its event stored.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30),
)
_GAUGES: dict[str, tuple[str, Callable[[CameraState], float | None]]] = {
    "up": ("1 while pictures come.", lambda s: float(s.phase == "receiving" and not s.frozen)),
    "active": ("1 within its active hours.", lambda s: float(s.phase != "off")),
    "last_picture_timestamp_seconds": (
        "When its last picture came.",
        lambda s: None if s.last_picture is None else s.last_picture.timestamp(),
    ),
    "lag_seconds": ("How far scoring is behind its last picture.", lambda s: s.lag_s),
    "open_event": ("1 while an event goes on.", lambda s: float(s.last_event is not None and s.last_event.is_open)),
}
_COUNTERS: dict[str, tuple[str, Callable[[CameraState], float]]] = {
    "offered_seconds": ("Footage that came.", lambda s: s.offered_s),
    "scored_seconds": ("Footage that was scored.", lambda s: s.scored_s),
    "dropped_seconds": ("Footage that was skipped, as the device was behind.", lambda s: s.dropped_s),
    "dropped_segments": ("Whole segments that were skipped.", lambda s: s.dropped_segments),
    "lost_packets": ("Packets that did not arrive whole.", lambda s: s.lost_packets),
    "reconnects": ("Connections after the first.", lambda s: s.reconnects),
}


class CameraCollector(Collector):
    """The metrics of all cameras that are watched now, with the camera as the only label."""

    def __init__(self, states: Callable[[], Iterable[CameraState]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        states = list(self._states())[:MOST_CAMERAS]
        for name, (text, read) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"headhunt_camera_{name}", text, labels=["camera"])
            for state in states:
                if (value := read(state)) is not None:
                    gauge.add_metric([state.camera], value)
            yield gauge
        for name, (text, count) in _COUNTERS.items():
            counter = CounterMetricFamily(f"headhunt_camera_{name}", text, labels=["camera"])
            for state in states:
                counter.add_metric([state.camera], count(state))
            yield counter
