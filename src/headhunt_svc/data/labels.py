"""Reads labels that people gave to single segments: CSV or JSON lines of segment, label.

    segment,label
    yard/0412.mp4:7,anomalous
    yard/0412.mp4:8,normal

segment: video and the segment's number in it, from 0, as reports count them; label: normal or anomalous.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headhunt_svc.errors import DatasetError


class SegmentLabel(BaseModel):
    """One line of a label file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segment: Annotated[str, Field(pattern=r"^.+:\d+$")]
    label: Literal["normal", "anomalous"]


def _rows(path: Path) -> Iterator[tuple[int, SegmentLabel]]:
    """Lines with their numbers."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as f:
            reader = csv.DictReader(f)
            for row in reader:
                yield reader.line_num, SegmentLabel.model_validate(row)
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            yield number, SegmentLabel.model_validate_json(line)


def read_labels(path: Path) -> dict[str, dict[int, bool]]:
    """Read a label file: video -> number of the segment -> is it anomalous?

    Raises:
        DatasetError: not readable, a malformed line, or two labels for one segment, with file and line.
    """
    labels: dict[str, dict[int, bool]] = {}
    number = 1 if path.suffix == ".csv" else 0
    try:
        for number, row in _rows(path):
            video, index = row.segment.rsplit(":", 1)
            if int(index) in labels.setdefault(video, {}):
                raise DatasetError(f"{path}:{number}: {row.segment} is labelled twice")
            labels[video][int(index)] = row.label == "anomalous"
    except ValidationError as exc:
        first = exc.errors()[0]
        field = ".".join(map(str, first["loc"])) or "line"
        raise DatasetError(f"{path}:{number + 1}: {field}: {first['msg']}") from exc
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise DatasetError(f"{path} cannot be read ({exc}): give a CSV or JSON-lines file of segment, label") from exc
    if not labels:
        raise DatasetError(f"{path} holds no labels")
    return labels
