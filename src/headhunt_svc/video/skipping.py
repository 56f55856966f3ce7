"""Says which pictures of a file need not be decoded: those that the model is not shown and no other picture refers to.

Only in H.264, whose headers tell both. docs/video.md says what that means for damaged files.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

import av.error

from headhunt_svc.core.segmentation import Segmenter
from headhunt_svc.types import Segment
from headhunt_svc.video.clock import Clock
from headhunt_svc.video.nal import CodedPicture
from headhunt_svc.video.packets import CheckedPacket

_MAX_AHEAD_BYTES = 32 * 2**20  # of packets that are read before their segment is complete


class UnplannedPictureError(Exception):
    """The decoder did not give what the packets promised, after pictures were skipped: the file is damaged."""


@dataclass(slots=True)
class _Picture:
    """A picture in the order of showing. number: in the video; -1: not shown. is_needed: must be decoded."""

    ticks: int
    is_droppable: bool
    number: float = math.inf
    is_needed: bool = True


class SkipPlan:
    """Reads packets ahead until their segments are complete, and says of each whether its picture is needed.

    The order of showing is that of H.264's own numbers; times and segments are made as the reader makes them. At the
    first sign of damage, and where the headers do not say enough, planning ends: all later pictures are decoded.

    next_packet: the next one in decoding order; None at the end. seconds: of a timestamp. clock, new_segmenter (of its
    first frame and segment): as new as the reader's. given: segments of an earlier reading, which met damage behind
    them: their pictures are not shown again, and all later ones are decoded.
    """

    def __init__(
        self,
        next_packet: Callable[[], CheckedPacket | None],
        seconds: Callable[[int], float | None],
        clock: Clock,
        new_segmenter: Callable[[int, int], Segmenter],
        given: int | None = None,
    ) -> None:
        self._next_packet, self._seconds, self._given = next_packet, seconds, given
        self._clock, self._new_segmenter, self._segmenter = clock, new_segmenter, new_segmenter(0, 0)
        self._ahead: deque[tuple[CheckedPacket, _Picture]] = deque()  # in decoding order
        self._ahead_bytes = 0
        self._unordered: list[tuple[int, int, int, _Picture]] = []  # a heap; others may be shown before them
        self._open: deque[_Picture] = deque()  # in the order of showing, of segments that are not complete
        self._planned: deque[_Picture] = deque()  # of complete segments, not shown yet
        self._sampled: set[int] = set()
        self._n_read = self._n_idr = self._n = 0
        self._last_order = (0, 0)
        self._first_ticks: int | None = None
        self._error: av.error.FFmpegError | None = None
        self._is_planning = given != 0

    def next_packet(self) -> CheckedPacket | None:
        """The next packet in decoding order; is_needed is False where its picture is not.

        Raises:
            av.error.FFmpegError: the file breaks off.
        """
        while self._is_planning and not (self._ahead and self._ahead[0][1].number < self._segmenter.first_needed):
            self._read_ahead()
        if self._ahead:
            item, picture = self._ahead.popleft()
            self._ahead_bytes -= item.packet.size
            return item if picture.is_needed else item._replace(is_needed=False)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self._next_packet()

    def before(self, ticks: int | None) -> tuple[list[int], bool]:
        """Timestamps of pictures that are shown before one that the decoder gave, and were not decoded.

        True: they end with that picture, which was given by the earlier reading.

        Raises:
            UnplannedPictureError: another picture was to come.
        """
        planned = self._planned
        skipped = []
        if self._given is None:
            while planned and not planned[0].is_needed:
                skipped.append(planned.popleft().ticks)
            if planned and planned.popleft().ticks != ticks:
                raise UnplannedPictureError
            return skipped, False
        was_given = any(picture.is_needed and picture.ticks == ticks for picture in planned)
        while planned and not (was_given and skipped and skipped[-1] == ticks):
            skipped.append(planned.popleft().ticks)
        return skipped, was_given

    def rest(self, is_damaged: bool) -> list[int]:
        """Timestamps of planned pictures that were not decoded, where the decoder holds no more.

        Raises:
            UnplannedPictureError: it should have; or it met damage, behind which other pictures may be sampled.
        """
        if self._given is None and self._planned and (is_damaged or any(p.is_needed for p in self._planned)):
            raise UnplannedPictureError
        if is_damaged:
            self._stop()
        skipped = [picture.ticks for picture in self._planned]
        self._planned.clear()
        return skipped

    def _read_ahead(self) -> None:
        try:
            item = self._next_packet()
        except av.error.FFmpegError as exc:
            self._error = exc
            self._stop()
            return
        if item is None:
            if self._order(0):
                self._plan(self._segmenter.finish())
            self._stop()
            return
        coded, ticks = item.picture, item.packet.pts
        if coded is None or ticks is None or not self._can_plan(item, coded, ticks):
            self._ahead.append((item, _Picture(0, is_droppable=False)))
            self._ahead_bytes += item.packet.size
            self._stop()
            return
        picture = _Picture(ticks, coded.is_droppable)
        self._ahead.append((item, picture))
        self._ahead_bytes += item.packet.size
        if item.packet.is_discard:  # decoded, as others may refer to it, but not shown
            picture.number = -1
            return
        self._n_read += 1
        self._n_idr += coded.is_idr
        heappush(self._unordered, (self._n_idr, coded.order, self._n_read, picture))
        self._order(coded.reordered)

    def _can_plan(self, item: CheckedPacket, coded: CodedPicture, ticks: int) -> bool:
        """Is the packet intact, and does it go on with what was read?"""
        if self._first_ticks is None and coded.is_idr and item.packet.is_keyframe:
            self._first_ticks = ticks
        return not (
            item.problem
            or item.lost_before
            or self._first_ticks is None
            or ticks < self._first_ticks  # the reader takes it for one that refers to lost pictures
            or item.packet.has_sidedata("new_extradata")
            or self._ahead_bytes > _MAX_AHEAD_BYTES
        )

    def _order(self, most: int) -> bool:
        """Number pictures in the order of showing, until at most so many are left; False if they are in another."""
        while self._is_planning and len(self._unordered) > most:
            n_idr, number, _, picture = heappop(self._unordered)
            if (n_idr, number) <= self._last_order:
                self._stop()
                break
            self._last_order = n_idr, number
            self._show(picture)
        return self._is_planning

    def _show(self, picture: _Picture) -> None:
        if self._clock.push(self._seconds(picture.ticks)):
            self._plan(self._segmenter.finish())
            self._segmenter = self._new_segmenter(self._n, self._segmenter.n_segments)
        picture.number = self._n
        self._open.append(picture)
        self._n += 1
        self._plan(self._segmenter.push(self._clock.last_s))

    def _plan(self, complete: list[Segment]) -> None:
        """Decide about the pictures that are in no later segment than these."""
        if not self._is_planning:
            return
        for segment in complete:
            self._sampled.update(segment.frame_indices)
        while self._open and self._open[0].number < self._segmenter.first_needed:
            picture = self._open.popleft()
            picture.is_needed = not picture.is_droppable or picture.number in self._sampled
            self._sampled.discard(int(picture.number))
            self._planned.append(picture)
        if self._given is not None and self._segmenter.n_segments >= self._given:
            self._stop()

    def _stop(self) -> None:
        """Decode all pictures from here on."""
        self._is_planning = False
        self._open.clear()
        self._unordered.clear()
        self._sampled.clear()
