from pathlib import Path

import av
import numpy as np
import pytest

from conftest import write_video
from headhunt_svc.errors import VideoDecodeError, VideoError, VideoOpenError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.video import reader as module
from headhunt_svc.video.files import find_videos, read_times
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.source import SegmentPictures

S = SegmentationParams(length_s=1.6, frames_per_segment=4)


def read(path: Path, params: SegmentationParams = S) -> tuple[VideoReader, list[SegmentPictures]]:
    with VideoReader(path) as reader:
        return reader, list(reader.segments(params))


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libx264"), ("a.gif", "gif"), ("a.avi", "mpeg4")],
)
def test_containers_and_codecs(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, 37, codec=codec)
    reader, pieces = read(path)
    assert reader.n_frames == 37
    assert [tuple(p.segment.span) for p in pieces] == [(0, 16), (16, 32), (32, 37)]
    assert reader.gaps == []
    assert len(read_times(path)[0]) == 37


def test_black_pictures_whose_codes_are_zeros_are_read(tmp_path: Path) -> None:
    path = tmp_path / "black.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25, options={"huffman": "optimal"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuvj420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    assert bytes(500) in path.read_bytes()
    assert read(path)[0].gaps == []


def test_the_sampled_pictures_are_the_right_ones(tmp_path: Path) -> None:
    _, pieces = read(write_video(tmp_path / "a.mp4", 32))
    for piece in pieces:
        np.testing.assert_allclose(piece.pictures.mean((1, 2, 3)), [5 * i for i in piece.segment.frame_indices], atol=3)


def test_variable_frame_rate_is_cut_by_true_seconds(tmp_path: Path) -> None:
    times = [*range(0, 1000, 100), *range(1000, 5000, 500)]  # 10 fps for a second, then 2 fps
    reader, pieces = read(write_video(tmp_path / "a.mkv", len(times), times=times))
    assert [round(p.start_s, 2) for p in pieces] == [0.0, 2.0, 3.5]
    assert [len(p.segment.span) for p in pieces] == [12, 3, 3]
    assert reader.n_frames == 18


def test_a_video_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened, really_open = write_video(tmp_path / "a.mp4", 100), [], av.open
    monkeypatch.setattr(module.av, "open", lambda *a, **k: opened.append(a) or really_open(*a, **k))
    read(path)
    assert len(opened) == 1


def test_a_truncated_video_has_a_gap_and_what_is_left_is_read(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.avi", 100, codec="mpeg4")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    reader, pieces = read(cut)
    assert 0 < reader.n_frames < 100
    assert sum(len(p.segment.span) for p in pieces) == reader.n_frames
    assert reader.gaps


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: p, "no such file"),
        (lambda p: p.touch() or p, "is empty"),
        (lambda p: p.write_text("hello " * 100) and p, "not a video"),
        (sound_only, "no picture stream"),
        (
            lambda p: p.write_bytes(write_video(p.with_name("b.mp4"), 20).read_bytes()[:600]) and p,
            "interrupted before its",
        ),
    ],
    ids=["missing", "empty", "text", "sound", "head"],
)
def test_what_is_not_a_video_is_named(tmp_path: Path, make, says: str) -> None:
    with pytest.raises(VideoOpenError, match=says), VideoReader(make(tmp_path / "a.mp4")):
        pass


def test_a_playlist_may_not_pull_in_other_files(tmp_path: Path) -> None:
    secret = write_video(tmp_path / "secret.mp4", 10)
    playlist = tmp_path / "clip.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    with pytest.raises(VideoError):
        read(playlist)


def test_find_videos(tmp_path: Path) -> None:
    a, b = write_video(tmp_path / "x" / "a.mp4", 3), write_video(tmp_path / "x" / "y" / "B.MP4", 3)
    (tmp_path / "x" / "notes.txt").touch()
    assert find_videos([tmp_path / "x", a]) == [a, b]
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="no video in this folder"):
        find_videos([tmp_path / "none"])


@pytest.mark.external_data
@pytest.mark.parametrize(
    ("name", "frames", "segments"),
    [("RoadAccidents012_x264", 468, 10), ("RoadAccidents002_x264", 347, 8), ("Normal_Videos_006_x264", 450, 10)],
)
def test_real_clips_lose_no_frame(clips: Path, name: str, frames: int, segments: int) -> None:
    reader, pieces = read(clips / "ucf_crime" / f"{name}.mp4")
    assert (reader.n_frames, len(pieces), reader.gaps) == (frames, segments, [])


@pytest.mark.external_data
def test_after_a_broken_picture_nothing_is_made_up(clips: Path) -> None:
    reader, pieces = read(clips / "containers" / "corrupted.mp4")
    assert reader.n_frames == 29  # the last is decoded before the broken one, and shown before it
    assert sum(len(p.segment.span) for p in pieces) == 29
    assert [(g.time_s, g.packets, g.stop_s) for g in reader.gaps] == [(2.9, 21, None)]


@pytest.mark.external_data
@pytest.mark.parametrize(
    ("angle", "upright"), [(0, (320, 568)), (90, (568, 320)), (180, (320, 568)), (270, (568, 320))]
)
def test_rotation_metadata_is_applied(clips: Path, angle: int, upright: tuple[int, int]) -> None:
    _, pieces = read(clips / "containers" / f"video_{angle}.mov")
    assert pieces[0].pictures.shape[1:3] == upright


@pytest.mark.external_data
def test_reordered_pictures_of_an_avi_file_are_shown_at_its_steady_rate(clips: Path) -> None:
    reader, pieces = read(clips / "containers" / "ntu_sample.avi")
    assert (reader.n_frames, reader.repaired_times, reader.duration_s) == (72, 0, pytest.approx(72 / 30))
    assert [p.stop_s for p in pieces] == pytest.approx([1.6, 2.4])


def test_decode_error_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    monkeypatch.setattr(VideoReader, "_frames", lambda self: iter(()))
    with pytest.raises(VideoDecodeError, match="no picture could be decoded"):
        read(path)
