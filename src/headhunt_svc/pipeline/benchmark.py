"""benchmark: index, detect and evaluate the videos of a public benchmark in one command (docs/evaluation.md)."""

from collections.abc import Callable
from pathlib import Path

from headhunt_svc.core.protocol import Figures
from headhunt_svc.data.footage import Footage
from headhunt_svc.params import DatasetParams, EvaluateParams
from headhunt_svc.pipeline.detect import detect_split
from headhunt_svc.pipeline.evaluate import evaluate
from headhunt_svc.pipeline.index import index


def benchmark(
    dataset: DatasetParams,
    params: EvaluateParams,
    bundle: Path,
    operating_point: str,
    out: Path,
    on_footage: Callable[[Footage], object] | None = None,
) -> Figures:
    """Index, reports/, metrics.json and plots/ in `out`; reports of the same detector are kept."""
    index_path, labels, reports = out / "index.parquet", out / "labels.parquet", out / "reports"
    index(dataset, index_path, labels, on_footage)
    detect_split(bundle, index_path, "test", reports, operating_point)
    return evaluate(params, dataset, index_path, labels, bundle, reports, out / "metrics.json", out / "plots")
