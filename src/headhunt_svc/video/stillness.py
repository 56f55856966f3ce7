"""Notices that a live stream shows the same picture again and again."""

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import Int16

_PARTS = 16  # of a picture, along each side
_SAME = 1  # grey levels: an encoder changes the mean of a part of a still picture by less (0.6 with x264)


class Changes:
    """Notices when the pictures of a stream no longer change.

    A camera that hangs goes on encoding, so its pictures differ a little. What counts is how bright the parts of a
    picture are, compared with the picture at which the stillness began. A clock in the picture is a change.
    """

    def __init__(self) -> None:
        self._converter = VideoReformatter()
        self._still: Int16[np.ndarray, "row column"] | None = None
        self.changed_s: float | None = None  # stream time of the last picture that shows something new

    def push(self, frame: av.VideoFrame, time_s: float) -> None:
        """The next picture."""
        small = self._converter.reformat(frame, _PARTS, _PARTS, "gray", interpolation=Interpolation.AREA, threads=1)
        parts = small.to_ndarray().astype(np.int16)
        if self._still is None or np.abs(parts - self._still).max() > _SAME:
            self._still, self.changed_s = parts, time_s
