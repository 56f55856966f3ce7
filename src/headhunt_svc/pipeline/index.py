"""index: annotations + files -> index.parquet (videos, splits, spans)."""

from collections.abc import Callable
from pathlib import Path

from headhunt_svc.data.datasets import check_files_apart, save_index
from headhunt_svc.data.footage import Footage, scan_footage
from headhunt_svc.params import DatasetParams


def index(params: DatasetParams, out: Path, on_footage: Callable[[Footage], object] | None = None) -> Footage:
    """Check every annotated file and write the index; `on_footage` gets the result before anything is refused.

    Raises:
        DatasetError: a file is missing (unless that is allowed) or does not fit its annotation, or is in two splits.
    """
    footage = scan_footage(params)
    if on_footage is not None:
        on_footage(footage)
    footage.check(params.allow_missing)
    check_files_apart(list(footage.records))
    save_index(out, list(footage.records))
    return footage
