"""index: annotations + files -> index.parquet (videos, splits, spans)."""

from pathlib import Path

from rich.progress import track

from headhunt_svc.errors import DatasetError
from headhunt_svc.io.datasets import check_files_apart, read_annotations, save_index, to_record
from headhunt_svc.params import DatasetParams
from headhunt_svc.types import VideoRecord


def index(params: DatasetParams, out: Path) -> list[VideoRecord]:
    """Check every annotated file and write the index.

    Raises:
        DatasetError: naming every file that is missing or does not fit its annotation, or a file that is in two splits.
    """
    records: list[VideoRecord] = []
    wrong: list[str] = []
    for annotation in track(read_annotations(params.annotations), description="index"):
        try:
            records.append(to_record(annotation, params.root))
        except DatasetError as exc:
            wrong.append(str(exc))
    if wrong:
        raise DatasetError(f"{len(wrong)} videos do not fit their annotations: " + "; ".join(wrong))
    check_files_apart(records)
    save_index(out, records)
    return records
