"""A picture of a segment that people are asked about: of its video file, where that can be read here."""

import logging
from collections.abc import Sequence
from pathlib import Path

import av.error
import numpy as np

from headhunt_svc.errors import VideoError
from headhunt_svc.events.opening import opened
from headhunt_svc.events.pictures import jpeg
from headhunt_svc.feedback.questions import Candidate
from headhunt_svc.names import is_file_uri, is_uri, path_of
from headhunt_svc.types import Polygon
from headhunt_svc.video.masks import blackened, masked_pixels
from headhunt_svc.video.pictures import Orientation

logger = logging.getLogger(__name__)


def picture_of(candidate: Candidate, masks: Sequence[Polygon] | None) -> bytes | None:
    """JPEG of the middle of a candidate, black below the camera's masks; None where its file cannot be read here.

    masks: None: not known, so that nothing is shown.
    """
    if masks is None or candidate.source is None or candidate.start_s is None:
        return None
    path = path_of(candidate.source)
    is_here = is_file_uri(candidate.source) or not is_uri(candidate.source)
    if not (is_here and path.is_absolute() and path.is_file()):
        return None
    half_s = (candidate.stop - candidate.start).total_seconds() / 2
    try:
        return picture_at(path, candidate.start_s + half_s, masks)
    except (VideoError, av.error.FFmpegError) as exc:
        logger.info("%s: no picture of a question (%s)", path, exc)
        return None


def picture_at(path: Path, seconds: float, masks: Sequence[Polygon] = ()) -> bytes | None:
    """JPEG of the picture that is shown so many seconds behind the first one; None behind the last one.

    Raises:
        VideoError, av.error.FFmpegError: it cannot be decoded.
    """
    with opened(path) as (container, stream):
        if stream.time_base is None:
            return None
        place = (stream.start_time or 0) + int(seconds / stream.time_base)
        container.seek(place, stream=stream, backward=True)
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts >= place:
                picture = Orientation().upright(frame)
                if masks:
                    picture = blackened(picture[None], masked_pixels(masks, *picture.shape[:2]))[0]
                return jpeg(np.ascontiguousarray(picture))
    return None
