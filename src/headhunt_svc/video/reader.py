"""Reads a video as segments with their pictures; memory holds one window of it."""

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from jaxtyping import Float64

from headhunt_svc.core.segmentation import Segmenter
from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import Segment
from headhunt_svc.video.decoder import VideoDecoder
from headhunt_svc.video.skipping import SkipPlan, UnplannedPictureError
from headhunt_svc.video.source import SegmentPictures


@dataclass(slots=True)
class VideoReader(VideoDecoder):
    """Reads one video in this process; `gaps` lists what could not be decoded.

        with VideoReader(path) as video:
            for piece in video.segments(params.segmentation):
                ...

    video_id: its name in segments; the file's name by default.
    fd: an open file to read instead of opening the path, which then only names the video.
    number: of the stream to read; by default the one that players show.

    Raises:
        VideoOpenError: not a video in an allowed container, empty, or without a picture stream.
        VideoLimitError: beyond one of the limits, at opening or, where the file does not say so, while reading.
        VideoDecodeError: no picture at all could be decoded.
    """

    def __enter__(self) -> "VideoReader":
        self._open()
        return self

    def segments(self, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """The video's segments in order, the tail included; every frame is in exactly one.

        A hole ends a segment: no window reaches across it. H.264 pictures that are neither sampled nor referred to by
        others are not decoded, as long as no damage is met. Where the decoder meets some, another reader takes over:
        it gives the segments from here on, and decodes all of their pictures.
        """
        given = 0
        is_planned = not (self._is_raw or self._counts_pictures)  # else packets do not say when pictures are shown
        with contextlib.suppress(UnplannedPictureError):
            for piece in self._segments(params, None if is_planned else 0):
                given = piece.segment.index + 1
                yield piece
                del piece  # else its pictures stay while the next segment is decoded
            return
        again = self._reopened()
        if again is not None:
            for piece in again._segments(params, given):
                self.update(again.state())
                yield piece
                del piece
            self.update(again.state())

    def _reopened(self) -> "VideoReader | None":
        """A reader of the same file from its beginning; None where this one was closed."""
        with self._decoding:
            if self._closed:
                return None
            self._container.close()
            os.lseek(self._fd, 0, os.SEEK_SET)
            again = VideoReader(self.path, self.limits, self._fd, self.number, video_id=self.video_id)
            return self._closing.enter_context(again)

    def _segments(self, params: SegmentationParams, given: int | None) -> Iterator[SegmentPictures]:
        """The segments, without the first ones that were given; None: it is the first reading, see SkipPlan."""

        def new_segmenter(first_frame: int, first_index: int) -> Segmenter:
            return Segmenter(self.video_id, params, first_frame, first_index)

        segmenter, clock, base = new_segmenter(0, 0), self._clock, 0
        self._plan = SkipPlan(self._read_packet, self._seconds, self._new_clock(), new_segmenter, given)
        buffer: deque[tuple[float, av.VideoFrame | None]] = deque()  # times and frames, the first of them number `base`

        def with_pictures(complete: list[Segment]) -> Iterator[SegmentPictures]:
            for segment in complete:
                if given is not None and segment.index < given:
                    continue
                frames = [frame for i in segment.frame_indices if (frame := buffer[i - base][1]) is not None]
                if len(frames) < len(segment.frame_indices):
                    raise UnplannedPictureError
                start, stop = (i - base for i in segment.span)
                stop_s = buffer[stop][0] if stop < len(buffer) else buffer[-1][0] + clock.step_s
                yield SegmentPictures(segment, self._orientation.all_upright(frames), buffer[start][0], stop_s)

        for timestamp, frame in self._frames():
            if clock.push(timestamp):
                yield from with_pictures(segmenter.finish())
                buffer.clear()
                base = self.n_frames
                segmenter = new_segmenter(base, segmenter.n_segments)
            self._count_frame()
            buffer.append((clock.last_s, frame))
            yield from with_pictures(segmenter.push(clock.last_s))
            while base < segmenter.first_needed:
                buffer.popleft()
                base += 1
        self._finish()
        yield from with_pictures(segmenter.finish())

    def frame_times(self) -> Float64[np.ndarray, " frame"]:
        """The times of all pictures, in seconds from the first, without decoding them: as `segments` gives them.

        Raises:
            VideoDecodeError: the file holds no picture.
        """
        times: list[float] = []
        run: list[float | None] = []  # timestamps until the clock jumps back, in decoding order

        def end_run() -> None:
            timestamps = [timestamp for timestamp in run if timestamp is not None]
            for timestamp in sorted(timestamps) if len(timestamps) == len(run) else run:
                self._clock.push(timestamp)
                self._count_frame()
                times.append(self._clock.last_s)
            run.clear()

        last_s = None
        for item in self._intact():
            if item is None:
                end_run()  # a gap is placed by the pictures before it
            if item is None or item.packet.is_discard:
                continue
            packet = item.packet
            dts_s = self._seconds(packet.dts)
            if dts_s is not None and last_s is not None and dts_s < last_s:
                end_run()
            last_s = dts_s
            counts = self._counts_pictures
            number = self.n_frames + len(run)
            run.append(number / self.fps if self._is_raw else self._seconds(packet.dts if counts else packet.pts))
        end_run()
        self._finish()
        return np.array(times)
