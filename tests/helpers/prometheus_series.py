"""Which series our Prometheus metrics export, and with which labels."""

from contextlib import suppress
from types import ModuleType

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

MOST_LABELS = 3


def exported(*modules: ModuleType) -> dict[str, set[str]]:
    """The labels of every series that the metrics of these modules export, by the name under which it is scraped."""
    metrics = [m for module in modules for m in vars(module).values() if isinstance(m, (Counter, Gauge, Histogram))]
    return {name: labels for m in metrics for name, labels in _series(m).items()}


def _series(metric: MetricWrapperBase) -> dict[str, set[str]]:
    for count in range(1, MOST_LABELS + 1):
        values = ["example"] * count
        with suppress(ValueError):  # another number of labels
            metric.labels(*values)
            try:
                return _samples(metric)
            finally:
                metric.remove(*values)
    return _samples(metric)


def _samples(metric: MetricWrapperBase) -> dict[str, set[str]]:
    """Samples of one metric; labels that only some samples have (`le` of buckets) belong to those."""
    samples = [s for family in metric.collect() for s in family.samples if not s.name.endswith("_created")]
    return {s.name: set(s.labels) for s in samples}
