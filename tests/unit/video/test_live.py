"""Live video from looped files: the segments of a file, in real time."""

import hashlib
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.live import LiveVideo, LoopedFile
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.source import SegmentPictures
from helpers.losses import encode

HALF_SECONDS = SegmentationParams(length_s=0.5, frames_per_segment=4)


def facts_of(piece: SegmentPictures) -> tuple[object, ...]:
    digest = hashlib.md5(piece.pictures.tobytes(), usedforsecurity=False).hexdigest()
    return piece.segment, piece.start_s, piece.stop_s, digest


@pytest.mark.parametrize(
    ("codec", "name"), [("libx264", "a.mp4"), ("libx265", "b.mkv"), ("mpeg4", "c.avi"), ("libx264", "d.ts")]
)
def test_a_looped_file_gives_the_segments_of_the_file(tmp_path: Path, codec: str, name: str) -> None:
    path = encode(tmp_path / name, codec, {}, n=55, b_frames=0 if name == "c.avi" else 2)
    with VideoReader(path) as video:
        expected = [facts_of(piece) for piece in video.segments(HALF_SECONDS)][:4]
    with LiveVideo(LoopedFile(path), name) as live:
        pieces = list(islice(live.segments(HALF_SECONDS), 6))
        facts = live.facts()
    assert [facts_of(piece) for piece in pieces[:4]] == expected
    assert (pieces[-1].segment.index, pieces[-1].segment.span.stop) == (5, 75)  # the second pass follows the first
    assert (facts.taken_s, facts.dropped_s, facts.lost_s, facts.waiting_s) == (pytest.approx(3.0), 0, 0, 0)
    assert facts.last_picture is not None
    assert timedelta(0) <= facts.last_picture - live.utc(pieces[-1].start_s) <= timedelta(seconds=1)
    assert (live.gaps, live.holes, live.discontinuities, live.repaired_times) == ([], [], [], 0)
