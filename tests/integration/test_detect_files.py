"""`headhunt detect` of every kind of file: long, bad, replaced, faulty, of several streams."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from conftest import BENCHMARKS, ROOT, headhunt, write_video
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import load_report

MEMORY = """
import sys
from pathlib import Path
from headhunt_svc.detector.pipeline import Detector
sys.path.append(sys.argv[1])
from peak import peak_bytes
detector = Detector.load(Path(sys.argv[2]))
for video in sys.argv[3:]:
    report = detector.detect(Path(video))
    print(len(report.scores), peak_bytes())
"""


def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    """The frames of the longer video are 400 MB, half of the process; what the model gets of them is 170 MB."""
    short, long = (write_video(tmp_path / f"{n}.mp4", n, size=(320, 240)) for n in (300, 1800))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, BENCHMARKS, ROOT / "artifacts" / "detector", short, short, long],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    _, (n, before), (n_longer, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (n, n_longer) == (19, 113)
    assert after < 1.15 * before


def test_a_video_is_opened_once_and_its_tail_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 16 * 9 + 3)  # nine segments and a tail of three frames
    detector = Detector.load(ROOT / "artifacts" / "detector")
    opened: list[str] = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda file, *a, **k: opened.append(str(file)) or real(file, *a, **k))
    report = detector.detect(path)
    assert opened == ["fd:"]  # FFmpeg gets the open file, see docs/security.md
    assert len(report.scores) == 10
    assert (report.scores[-1].start_frame, report.scores[-1].stop_frame) == (144, 147)


def test_one_bad_video_does_not_stop_the_others(tmp_path: Path) -> None:
    footage = tmp_path / "footage"
    write_video(footage / "a" / "good.mp4", 40)
    write_video(footage / "z.gif", 20, codec="gif")
    (footage / "m.mp4").write_text("this is no video")
    (footage / "empty.mkv").touch()
    done = headhunt("detect", footage, tmp_path / "gone.mp4", "--out", tmp_path / "out", "--json")
    assert done.returncode == 3
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(r["video_id"], r["n_frames"]) for r in reports] == [("a/good.mp4", 40), ("z.gif", 20)]
    assert "m.mp4: not a video" in done.stderr
    assert "empty.mkv: the file is empty" in done.stderr
    assert "gone.mp4: no such file" in done.stderr
    assert "3 of 5 videos failed" in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.json")) == ["good.mp4.json", "z.gif.json"]
    again = headhunt("detect", footage / "z.gif", "--out", tmp_path / "out", "--resume", "--json")
    assert json.loads(again.stdout) == reports[1]


def test_a_kept_report_is_of_the_file_that_is_there_now(tmp_path: Path) -> None:
    video = write_video(tmp_path / "yard.mp4", 40)
    old = write_video(tmp_path / "old.mp4", 20)
    os.utime(old, (0, 0))  # a file's own times say nothing about when it came here
    write_video(tmp_path / "d.mp4", 60)

    def frames() -> int:
        done = headhunt("detect", video, "--out", tmp_path / "out", "--resume", "--json")
        return int(json.loads(done.stdout)["n_frames"])

    assert frames() == 40
    old.replace(video)
    assert frames() == 20
    written = (tmp_path / "out" / "yard.mp4.json").stat().st_mtime_ns
    assert frames() == 20
    assert (tmp_path / "out" / "yard.mp4.json").stat().st_mtime_ns == written
    video.unlink()
    video.symlink_to(tmp_path / "d.mp4")
    assert frames() == 60


@pytest.mark.external_data
def test_every_real_clip_scores(clips: Path, tmp_path: Path) -> None:
    done = headhunt("detect", clips, "--json")
    reports = {r["video_id"]: r for r in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 3  # corrupted.mp4
    assert len(reports) == len(
        [p for p in clips.rglob("*") if p.suffix in (".mp4", ".avi", ".mkv", ".mov", ".gif", ".webm")]
    )
    assert [name for name, r in reports.items() if r["gaps"]] == ["containers/corrupted.mp4"]
    corrupted = reports["containers/corrupted.mp4"]
    assert (corrupted["n_frames"], corrupted["gaps"][0]["time_s"]) == (29, 2.9)
    accident = reports["ucf_crime/RoadAccidents012_x264.mp4"]
    assert (accident["n_frames"], len(accident["scores"])) == (468, 10)
    vfr = reports["derived/RoadAccidents017.vfr.mp4"]
    assert vfr["scores"][-1]["stop_s"] == pytest.approx(8.05, abs=0.1)  # 161 frames over 8 s


@pytest.mark.external_data
def test_faulty_files_are_told_in_words_and_in_the_report(external: Path, tmp_path: Path) -> None:
    names = ("hole_600s.mp4", "clock_set_back.ts", "ts_packets_lost.ts", "cover_first.mp4")
    field = [external / "field" / name for name in names]
    done = headhunt("detect", *field, "--out", tmp_path, "--plot", "--threshold", "0")
    assert done.returncode == 3
    reports = {name: load_report(tmp_path / f"{name}.json") for name in names}
    said = {name: text for name, text in zip(names, re.split(r"^(?=\S)", done.stdout, flags=re.M)[1:], strict=True)}

    hole = reports["hole_600s.mp4"]
    assert [(h.start_s, h.stop_s) for h in hole.holes] == [(pytest.approx(2), pytest.approx(602))]
    assert (hole.gaps, hole.duration_s) == ((), pytest.approx(604))
    assert [(e.start_s, e.stop_s) for e in hole.events] == [
        (0, pytest.approx(2)),
        (pytest.approx(602), pytest.approx(604)),
    ]
    assert sum(s.stop_s - s.start_s for s in hole.scores) == pytest.approx(4)
    assert "hole 0:02.0 to 10:02.0: the file has no pictures" in said["hole_600s.mp4"]
    assert (hole.fps, hole.stated_fps) == (pytest.approx(25), pytest.approx(0.1656, abs=1e-4))

    (jump,) = reports["clock_set_back.ts"].discontinuities
    assert jump.time_s == pytest.approx(4, abs=0.1)
    assert jump.jump_s == pytest.approx(1.4 - 5000, abs=10)
    assert "clock at 0:04.0: the file's clock jumps" in said["clock_set_back.ts"]
    assert (reports["clock_set_back.ts"].duration_s, reports["clock_set_back.ts"].gaps) == (pytest.approx(8), ())

    lost = reports["ts_packets_lost.ts"]
    (gap,) = lost.gaps
    assert gap.time_s is not None
    assert gap.stop_s is not None
    assert [(e.start_s, e.stop_s) for e in lost.events] == [
        (0, pytest.approx(gap.time_s, abs=0.1)),
        (gap.stop_s, lost.duration_s),
    ]
    assert not [s for s in lost.scores if s.start_s < gap.stop_s and s.stop_s > gap.time_s + 0.1]

    cover = reports["cover_first.mp4"]
    assert (cover.n_frames, cover.gaps, cover.stream) == (100, (), None)
    n_bad = sum(bool(report.gaps) for report in reports.values())
    assert f"{n_bad} of 4 videos failed or have gaps" in done.stderr


def write_two_streams(path: Path) -> Path:
    """A video of 30 dark and one of 50 bright pictures in one file; the first is the default."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for stream, n, brightness in zip(streams, (30, 50), (20, 220), strict=True):
            for _ in range(n):
                picture = np.full((48, 64, 3), brightness, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return path


def test_the_stream_of_several_is_named_and_can_be_chosen(tmp_path: Path) -> None:
    video, out = write_two_streams(tmp_path / "two.mkv"), tmp_path / "out"
    saved = out / "two.mkv.json"

    def detect(*options: object) -> subprocess.CompletedProcess[str]:
        return headhunt("detect", video, "--out", out, *options)

    done = detect()
    default = load_report(saved)
    assert done.returncode == 0, done.stderr
    assert default.stream is not None
    assert (default.stream.number, default.stream.of) == (0, (0, 1))
    assert default.n_frames == 30
    assert "stream 0 was scored; the file has the video streams 0, 1 (--stream)" in done.stdout
    written = saved.stat().st_mtime_ns
    for same in ([], ["--stream", "0"]):
        assert detect("--resume", *same).returncode == 0
        assert saved.stat().st_mtime_ns == written
    # a report of another stream is no report of this one; the plot shows the same stream as the scores
    assert detect("--resume", "--stream", "1", "--plot", "--threshold", "0").returncode == 0
    second = load_report(saved)
    assert second.stream is not None
    assert (second.stream.number, second.n_frames) == (1, 50)
    with Image.open(saved.with_suffix(".png")) as plot:
        shown = np.asarray(plot.convert("RGB")).reshape(-1, 3).astype(int)
    bright, dark = ((abs(shown - level) < 8).all(1).sum() for level in (220, 20))
    assert bright > 1000 > dark
    refused = detect("--stream", "2")
    assert refused.returncode == 3
    assert "stream 2 is not one of its video streams (0, 1)" in refused.stderr
    assert load_report(saved) == second
