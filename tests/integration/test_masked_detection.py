"""What is below a mask changes no score, to the bit; a report says what was masked."""

import shutil
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from conftest import ROOT, headhunt
from headhunt_svc.cli.main import app
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report, load_report
from headhunt_svc.pipeline.detect import detect_videos
from headhunt_svc.pipeline.files import Input, Outputs
from headhunt_svc.types import Polygon
from headhunt_svc.video.masks import masked_pixels

MASK: Polygon = ((0.1, 0.2), (0.7, 0.1), (0.6, 0.9))


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load(ROOT / "artifacts" / "detector")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> tuple[Path, Path]:
    """The clip without loss, and the same with noise below the mask."""
    folder, rng = tmp_path_factory.mktemp("masks"), np.random.default_rng(3)
    with av.open(str(clip)) as container:
        rate = container.streams.video[0].average_rate
        pictures = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), 48)]
    pixels = masked_pixels([MASK], *pictures[0].shape[:2])
    assert 0.1 < pixels.mean() < 0.5
    noisy = [picture.copy() for picture in pictures]
    for picture in noisy:
        picture[pixels] = rng.integers(0, 256, (int(pixels.sum()), 3), np.uint8)
    for name, frames in (("clean", pictures), ("noisy", noisy)):
        with av.open(str(folder / f"{name}.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=rate)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "bgr0"
            for picture in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return folder / "clean.mkv", folder / "noisy.mkv"


def scores(report: Report) -> list[float]:
    return [score.raw for score in report.scores]


def test_pixels_below_the_mask_change_no_score(detector: Detector, pair: tuple[Path, Path]) -> None:
    clean, noisy = pair
    masked = detector.detect(clean, "v", masks=(MASK,))
    assert detector.detect(noisy, "v", masks=(MASK,)) == masked  # to the bit, all of the report
    assert masked.lineage.masks == (MASK,)
    bare = detector.detect(clean, "v")
    assert bare.lineage.masks == ()
    assert "masks" not in bare.model_dump()["lineage"]  # reports without masks are as they were before there were any
    assert scores(detector.detect(noisy, "v")) != scores(bare)
    assert scores(masked) != scores(bare)


def test_detect_takes_masks_and_thresholds_from_a_file_of_cameras(pair: tuple[Path, Path], tmp_path: Path) -> None:
    clean, noisy = pair
    for camera, path in (("yard", noisy), ("street", clean)):
        (tmp_path / camera).mkdir()
        shutil.copy(path, tmp_path / camera / "v.mkv")
    (tmp_path / "cameras.yaml").write_text(
        f"cameras:\n  yard: {{source: /dev/video0, threshold: 0.9, masks: [{[list(corner) for corner in MASK]}]}}\n",
        encoding="utf-8",
    )
    folders = [tmp_path / name for name in ("yard", "street")]
    done = headhunt("detect", *folders, "--cameras", tmp_path / "cameras.yaml", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "has no camera 'street': its videos are scored without masks, at f1" in done.stderr
    yard, street = (load_report(tmp_path / "out" / name / "v.mkv.json") for name in ("yard", "street"))
    assert (yard.threshold, yard.lineage.masks) == (0.9, (MASK,))
    assert street.lineage.masks == ()
    assert yard.detector_id == street.detector_id


def test_a_report_with_other_masks_does_not_stand_for_one(
    detector: Detector, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    outputs = Outputs(tmp_path, resume=True)

    def written(masks: tuple[Polygon, ...]) -> int:
        ((_, report),) = detect_videos(detector, [Input(pair[0], "v", masks=masks)], outputs)
        assert isinstance(report, Report)
        assert report.lineage.masks == masks
        return (tmp_path / "v.json").stat().st_mtime_ns

    first = written((MASK,))
    assert written((MASK,)) == first
    second = written((MASK[::-1],))
    assert second > first
    assert written(()) > second


@pytest.mark.parametrize("option", [["--threshold", "0.5"], ["--operating-point", "recall"], ["--server", "http://x"]])
def test_what_contradicts_a_file_of_cameras_is_refused(tmp_path: Path, option: list[str]) -> None:
    done = CliRunner().invoke(app, ["detect", str(tmp_path), "--cameras", str(tmp_path / "cameras.yaml"), *option])
    assert done.exit_code == 2
    assert "--cameras FILE" in done.output
