"""Opens a video file to read what its container says and to copy its packets; nothing is decoded.

Only for files of one's own: what somebody has sent is opened in a process of its own (video/sandbox).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from headhunt_svc.video.container import VideoLimits, open_container, open_file


@contextmanager
def opened(path: Path, stream: int | None = None) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """A video and its picture stream for as long as the `with` lasts. stream: its number; by default the one shown.

    Raises:
        VideoOpenError: not a video, or not an ordinary file.
    """
    fd = open_file(path)
    try:
        container, pictures = open_container(path, VideoLimits(), fd, stream)
        with container:
            yield container, pictures
    finally:
        os.close(fd)
