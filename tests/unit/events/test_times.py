"""When footage was taken: from the file's name, its container, or when it was written."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import numpy as np
import pytest

from conftest import write_video
from headhunt_svc.errors import ConfigError
from headhunt_svc.events.records import TimeBasis
from headhunt_svc.events.times import Started, started, time_in_name

PATTERN = "%Y%m%d_%H%M%S"


@pytest.mark.parametrize(
    ("name", "pattern", "zone", "time"),
    [
        ("yard_20260301_120000.mp4", PATTERN, "UTC", datetime(2026, 3, 1, 12)),
        ("yard_20260301_120000.mp4", PATTERN, "Europe/Berlin", datetime(2026, 3, 1, 11)),
        ("yard_20260701_120000.mp4", PATTERN, "Europe/Berlin", datetime(2026, 7, 1, 10)),  # summer time
        ("D07_2026-03-01T12.00.05.250.mkv", "%Y-%m-%dT%H.%M.%S.%f", "UTC", datetime(2026, 3, 1, 12, 0, 5, 250_000)),
        ("1_Mar_01_2026_0130PM.avi", "%b_%d_%Y_%I%M%p", "UTC", datetime(2026, 3, 1, 13, 30)),
        ("c-2026060-0000.ts", "c-%Y%j-%H%M", "UTC", datetime(2026, 3, 1)),
        ("a_20260301120000+0100.mp4", "%Y%m%d%H%M%S%z", "Asia/Tokyo", datetime(2026, 3, 1, 11)),
        ("100%_20260301_120000.mp4", "%%_" + PATTERN, "UTC", datetime(2026, 3, 1, 12)),
        ("yard_20260231_120000.mp4", PATTERN, "UTC", None),
        ("yard.mp4", PATTERN, "UTC", None),
        ("a.b_20260301_120000.mp4", "aXb_" + PATTERN, "UTC", None),
        ("aXb_20260301_120000.mp4", "a.b_" + PATTERN, "UTC", None),  # a dot is a dot
    ],
)
def test_the_time_in_a_name(name: str, pattern: str, zone: str, time: datetime | None) -> None:
    assert time_in_name(name, pattern, zone) == (None if time is None else time.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("%Y%m%d_%Q", "%Q is none of %Y"),
        ("%Y%m%d%d_%H", "%d is there twice"),
        ("%Y%m%d", "%H is missing"),
        ("%H%M%S", "%Y, %d is missing"),
        ("%Y%d%H", "%m is missing"),
        ("%Y%m%d%H%", "% is none of"),
    ],
)
def test_a_wrong_pattern(pattern: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        time_in_name("x", pattern, "UTC")


def stamped(path: Path, creation_time: str) -> Path:
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata["creation_time"] = creation_time
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def begun(path: Path, *, pattern: str | None = None, is_own: bool = True) -> Started:
    return started(path, 10.0, name=path.name, pattern=pattern, time_zone="UTC", is_own=is_own)


def test_the_best_time_that_is_known_counts(tmp_path: Path) -> None:
    path = stamped(tmp_path / "yard_20260301_120000.mp4", "2026-02-02T10:00:00.000000Z")
    assert begun(path, pattern=PATTERN) == Started(datetime(2026, 3, 1, 12, tzinfo=UTC), TimeBasis.FILE_NAME)
    assert begun(path) == Started(datetime(2026, 2, 2, 10, tzinfo=UTC), TimeBasis.CONTAINER)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    written = datetime.fromtimestamp(1_000_000_000, UTC)
    assert begun(path, is_own=False) == Started(written - timedelta(seconds=10), TimeBasis.MODIFIED)


def test_a_clock_that_was_never_set_is_not_believed(tmp_path: Path) -> None:
    assert begun(stamped(tmp_path / "a.mp4", "1970-01-01T00:00:00Z")).basis is TimeBasis.MODIFIED
    assert begun(write_video(tmp_path / "b.mp4", 3)).basis is TimeBasis.MODIFIED
