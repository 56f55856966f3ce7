"""Prometheus metrics of the service beside those of the model (detector/metrics.py); the rules and dashboards in
monitoring/ use these names."""

import os
from pathlib import Path

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from headhunt_svc.detector.metrics import SECONDS

SCORES = tuple(i / 20 for i in range(1, 21))
MAX_CAMERAS = 200  # a label costs memory: further cameras share the label "other"

REQUESTS = Counter("headhunt_requests", "Requests by route and status.", ["route", "status"])
REQUEST_SECONDS = Histogram("headhunt_request_seconds", "From first to last byte.", ["route"], buckets=SECONDS)
STAGE_SECONDS = Histogram(
    "headhunt_stage_seconds", "Of a video: waiting for pictures, for the model, locating.", ["stage"], buckets=SECONDS
)
QUEUE_DEPTH = Gauge("headhunt_queue_depth", "Videos that wait to be scored.", multiprocess_mode="livesum")
QUEUE_WAIT_SECONDS = Histogram("headhunt_queue_wait_seconds", "How long a video waited.", buckets=SECONDS)
VIDEOS_ACTIVE = Gauge("headhunt_videos_active", "Videos being scored.", multiprocess_mode="livesum")
MEMORY_RESERVED_BYTES = Gauge(
    "headhunt_memory_reserved_bytes", "Reserved for the videos being scored.", multiprocess_mode="livesum"
)
READY = Gauge("headhunt_ready", "1 once the model reproduced its golden vectors.", multiprocess_mode="livemin")
DECODE_FAILURES = Counter("headhunt_decode_failures", "Videos refused, or with gaps, by cause.", ["cause"])
SCORE = Histogram("headhunt_score", "Smoothed scores of segments.", ["camera"], buckets=SCORES)
EVENTS = Counter("headhunt_events", "Events reported.", ["camera"])
FOOTAGE_SECONDS = Counter("headhunt_footage_seconds", "Footage scored.", ["camera"])

_cameras: set[str] = set()


def camera(name: str) -> str:
    """The label of a camera."""
    if name in _cameras or len(_cameras) < MAX_CAMERAS:
        _cameras.add(name)
        return name
    return "other"


def exposition() -> bytes:
    """All metrics in the text format of Prometheus, of all processes where BentoML has set that up."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def forget_dead_processes() -> None:
    """Drop what processes that have ended say about now; a worker that was killed cannot do it itself."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    for path in Path(folder).glob("gauge_live*_*.db"):  # mark_process_dead fails at one that another process removes
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            path.unlink(missing_ok=True)
