"""Prometheus metrics of the model, in whatever process runs it for several videos."""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

SEGMENTS = Counter("headhunt_segments", "Segments scored.")
BATCH_SEGMENTS = Histogram(
    "headhunt_batch_segments", "Segments in one model call.", buckets=(1, 2, 4, 8, 12, 16, 24, 32, 64, 128)
)
MODEL_SECONDS = Histogram("headhunt_model_seconds", "One model call.", buckets=SECONDS)
GPU_MEMORY_BYTES = Gauge("headhunt_gpu_memory_bytes", "Allocated on the GPU.", multiprocess_mode="livesum")

DETECTOR = Gauge(
    "headhunt_detector_info",
    "1 for the detector in use (role active) and for the candidate beside it, 0 for earlier ones.",
    ["role", "detector_id"],
    multiprocess_mode="livemax",
)
REFUSED = Gauge(
    "headhunt_detector_refused",
    "1 while deployed/current (role active) or deployed/candidate names a bundle that is refused.",
    ["role"],
    multiprocess_mode="livemax",
)
EXCHANGES = Counter("headhunt_detector_exchanges", "Bundles that were taken over without a restart.")
