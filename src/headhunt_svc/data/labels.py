"""Reads labels that people gave to single segments: CSV or JSON lines of segment, label.

    segment,label
    yard/0412.mp4:7,anomalous
    yard/0412.mp4:8,normal

segment: video and the segment's number in it, from 0, as reports count them; label: normal or anomalous.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from headhunt_svc.errors import DatasetError
from headhunt_svc.storage.rows import RowFile


class SegmentLabel(BaseModel):
    """One line of a label file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segment: Annotated[str, Field(pattern=r"^.+:\d{1,12}$")]
    label: Literal["normal", "anomalous"]


def read_labels(path: Path) -> dict[str, dict[int, bool]]:
    """Read a label file: video -> number of the segment -> is it anomalous?

    Raises:
        DatasetError: not readable; or every malformed line and second label for a segment, with file and line.
    """
    file = RowFile(path, "give a CSV or JSON-lines file of segment, label")
    labels: dict[str, dict[int, bool]] = {}
    for number, row in file.rows(SegmentLabel):
        video, index = row.segment.rsplit(":", 1)
        if int(index) in labels.setdefault(video, {}):
            file.add(number, f"{row.segment} is labelled twice")
        labels[video][int(index)] = row.label == "anomalous"
    file.check()
    if not labels:
        raise DatasetError(f"{path} holds no labels")
    return labels
