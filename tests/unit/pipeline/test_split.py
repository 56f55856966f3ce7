"""split draws videos for calibration and validation."""

import json
from pathlib import Path

from headhunt_svc.data.datasets import Annotation, read_annotations, write_annotations
from headhunt_svc.params import SplitParams
from headhunt_svc.pipeline.split import split


def test_split_draws_from_what_is_no_test_video_and_records_it(tmp_path: Path) -> None:
    def annotation(i: int) -> Annotation:
        anomalous, part = i % 3 == 0, "test" if i >= 100 else "calibration"
        spans = ((1.0, 2.0),) if anomalous else ()
        return Annotation(
            video=f"{i}.mp4", split=part, label="fall" if anomalous else "normal", spans=spans, unit="seconds"
        )

    write_annotations(tmp_path / "all.jsonl", [annotation(i) for i in range(130)])
    params = SplitParams(calibration=0.1, validation=6, seed=3)
    split(params, tmp_path / "all.jsonl", tmp_path / "few.jsonl")
    drawn = read_annotations(tmp_path / "few.jsonl")
    by_split = {s: [a for a in drawn if a.split == s] for s in ("calibration", "validation", "test")}
    assert {s: len(v) for s, v in by_split.items()} == {"calibration": 10, "validation": 6, "test": 30}
    assert all(int(a.video.split(".")[0]) < 100 for s in ("calibration", "validation") for a in by_split[s])
    record = json.loads((tmp_path / "few.split.json").read_text())
    assert record["params"] == {"calibration": 0.1, "validation": 6, "seed": 3}
    assert record["pool"] == {"fall": 34, "normal": 66}
    assert record["drawn"] == {"calibration": {"fall": 3, "normal": 7}, "validation": {"fall": 2, "normal": 4}}
