"""benchmark: index, detect and evaluate test videos in one command, a public benchmark's or one's own."""

from collections.abc import Callable
from pathlib import Path

from headhunt_svc.core.protocol import Figures
from headhunt_svc.data.footage import Footage
from headhunt_svc.errors import DatasetError
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
    """Index, reports/, metrics.json and plots/ in `out`; reports of the same detector are kept.

    Raises:
        DatasetError: see `index`; or no video is in the split test.
    """
    index_path, labels, reports = out / "index.parquet", out / "labels.parquet", out / "reports"
    footage = index(dataset, index_path, labels, on_footage)
    if not any(record.split == "test" for record in footage.records):
        raise DatasetError("no video is in the split `test`, which is the one that is evaluated")
    detect_split(bundle, index_path, "test", reports, operating_point)
    return evaluate(params, dataset, index_path, labels, bundle, reports, out / "metrics.json", out / "plots")
