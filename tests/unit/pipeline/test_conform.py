"""conform refuses footage that the detector was made from, by content, where the project is at hand."""

from pathlib import Path
from typing import Any, cast

import pytest

from headhunt_svc.data.datasets import data_digest, save_index, save_labels
from headhunt_svc.errors import ConfigError
from headhunt_svc.pipeline.conform import check_footage_is_new
from headhunt_svc.pipeline.files import inputs_of
from headhunt_svc.types import NORMAL, FrameSpan, VideoRecord


def test_footage_that_the_detector_was_made_from_is_refused(tmp_path: Path) -> None:
    folder, clips = tmp_path / "data", tmp_path / "clips"
    folder.mkdir()
    clips.mkdir()
    records = []
    for i, split in enumerate(("calibration", "validation", "test")):
        path = folder / f"{i}.mp4"
        path.write_bytes(bytes([i]) * 9)
        spans = () if i else (FrameSpan(0, 5),)
        records.append(VideoRecord(f"{i}.mp4", path, 40, 10.0, cast(Any, split), NORMAL if i else "fall", spans))
    index, labels = tmp_path / "index.parquet", tmp_path / "labels.parquet"
    save_index(index, records)
    save_labels(labels, records)
    made_from = data_digest(records[:2])
    for name, byte in (("new.mp4", 7), ("a test video.mp4", 2), ("0.mp4", 9)):  # a name says nothing
        (clips / name).write_bytes(bytes([byte]) * 9)
    check_footage_is_new(inputs_of([clips]), made_from, index, labels)
    (clips / "copy.mp4").write_bytes(bytes([1]) * 9)
    with pytest.raises(ConfigError, match=r"made from 1 of these videos, .*: copy\.mp4 is 1\.mp4: take other normal"):
        check_footage_is_new(inputs_of([clips]), made_from, index, labels)
    check_footage_is_new(inputs_of([clips]), "of another project", index, labels)
    check_footage_is_new(inputs_of([clips]), made_from, tmp_path / "none.parquet", labels)
    records[1].path.unlink()  # gone: nothing to compare with
    check_footage_is_new(inputs_of([clips]), made_from, index, labels)
