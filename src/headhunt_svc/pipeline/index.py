"""index: annotations + files -> index.parquet (videos and their splits) and labels.parquet (labels and spans)."""

from collections.abc import Callable
from pathlib import Path

from headhunt_svc.data.datasets import check_files_apart, save_index, save_labels
from headhunt_svc.data.footage import Footage, scan_footage
from headhunt_svc.params import DatasetParams


def index(
    params: DatasetParams, out: Path, labels: Path, on_footage: Callable[[Footage], object] | None = None
) -> Footage:
    """Check every annotated file; write the videos to `out` and their labels to `labels`.

    on_footage: gets the result before anything is refused.

    Raises:
        DatasetError: a file is missing (unless that is allowed) or does not fit its annotation, or is in two splits.
    """
    footage = scan_footage(params)
    if on_footage is not None:
        on_footage(footage)
    footage.check(params.allow_missing)
    check_files_apart(list(footage.records))
    save_index(out, footage.records)
    save_labels(labels, footage.records)
    return footage
