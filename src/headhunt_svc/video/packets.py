"""Reads the packets of a video stream, and says which of them cannot be trusted.

FFmpeg makes up what is missing, often without a sign: see docs/video.md for what is checked in which container.
"""

import io
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import av

from headhunt_svc.video.clock import MAX_HOLE_S
from headhunt_svc.video.dhav import is_whole
from headhunt_svc.video.ending import missing_end
from headhunt_svc.video.matroska import leads
from headhunt_svc.video.nal import BitstreamCheck, CodedPicture

_MAX_OVERHEAD = 64  # bytes behind the last picture of a Matroska file in which its next element must begin
_FLV_TAG_HEADER = 11  # bytes
_FLV_PICTURE_HEADER = 5  # of H.264
_FLV_VIDEO, _FLV_H264 = 9, 7
_PARSED = ("mpegts", "mpeg")  # containers without pictures' lengths: FFmpeg's parser looks for their ends
# containers where packets' places in the file say whether it is whole
_WITH_PLACES = ("mpegts", "matroska,webm", "flv")
_LAST_MAY_BE_CUT = (*_PARSED, "matroska,webm", "flv")
# what may follow the last block of a Matroska file: Cues, Tags, SeekHead, Attachments, Chapters
_MATROSKA_ENDS = tuple(map(bytes.fromhex, ("1c53bb6b", "1254c367", "114d9b74", "1941a469", "1043a770")))
_BROKEN_BEHIND = "the file is broken behind this picture"
_MISSING = "data is missing in the recording"
_AVI_CHUNK_HEADER = 8  # bytes between a place in the index and its data
_TS_SYNC = b"G"  # the first byte of each packet of a transport stream, which has one of these sizes in a file:
_TS_PACKETS = (188, 192, 204)
_SURELY_TIMED = 25  # pictures in a row, each with its time: so has the next one


class CheckedPacket(NamedTuple):
    """A packet that is not empty; problem: why it cannot be decoded to what was recorded (None: it can).

    lost_before: pictures that it may refer to are missing; a key frame refers to none.
    """

    packet: "av.Packet[av.VideoStream]"
    problem: str | None = None
    lost_before: bool = False
    picture: CodedPicture | None = None
    is_needed: bool = True


class Packets:
    """Iterates over the packets of a stream, in decoding order.

    fd: the open file. unfinished: at the end, what is missing there, if anything.

    Raises:
        av.error.FFmpegError: the file breaks off.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream, fd: int) -> None:
        self._container, self._stream, self._fd = container, stream, fd
        self._format = container.format.name
        self._codec = stream.codec_context.codec.canonical_name
        self._bitstream = self._bitstream_check(stream.codec_context.extradata)
        # An AVI file counts its pictures; after a loss only the index at its end knows their numbers. Without that,
        # FFmpeg's index is of the pictures that it has read to open the file.
        index = stream.index_entries if self._format == "avi" else ()
        self._times = {entry.pos + _AVI_CHUNK_HEADER: entry.timestamp for entry in index}
        self._last_indexed = max(self._times, default=-1)
        self._packets = self._checked()
        self._ts_packet = 0  # bytes; 0: not a transport stream
        self._last_pos: int | None = None  # of a packet whose place in a transport stream is known
        self._n_timed = 0
        self.unfinished: str | None = None

    def __iter__(self) -> Iterator[CheckedPacket]:
        return self

    def __next__(self) -> CheckedPacket:
        """The next packet."""
        return next(self._packets)

    def _checked(self) -> Iterator[CheckedPacket]:
        """The packets, with everything that is wrong with them.

        Zeros at the end of one may be padding. Where the next one is broken, they are where the damage begins.
        """
        held: CheckedPacket | None = None
        for item in self._joined():
            checked = self._check(item.packet, item.problem, item.lost_before)
            if held is not None:
                begins = checked.problem and held.problem is None and not memoryview(held.packet)[-1]
                yield held._replace(problem=_BROKEN_BEHIND) if begins else held
            held = checked
        if held is not None:
            yield held

    def _check(self, packet: "av.Packet[av.VideoStream]", problem: str | None, lost_before: bool) -> CheckedPacket:
        if packet.is_keyframe and packet.has_sidedata("new_extradata"):
            self._bitstream = self._bitstream_check(bytes(packet.get_sidedata("new_extradata")))
        problem, picture = problem or self._problem(packet), None
        if self._bitstream is not None:
            data = memoryview(packet)
            damage = self._bitstream.problem(data)
            if damage and packet.is_keyframe:  # is it the picture itself, or what came before?
                self._bitstream.restart()
                lost_before, damage = True, self._bitstream.problem(data)
            problem, picture = problem or damage, self._bitstream.picture
        return CheckedPacket(packet, problem, lost_before, picture)

    def _bitstream_check(self, extradata: bytes | None) -> BitstreamCheck | None:
        return BitstreamCheck(self._codec, extradata) if self._codec in ("h264", "hevc") else None

    def _problem(self, packet: "av.Packet[av.VideoStream]") -> str | None:
        pos = packet.pos or 0
        if pos <= self._last_indexed and self._times.get(pos) != packet.dts:
            return "the picture is not where the file's index says"
        if self._format == "dhav" and packet.pos is not None and not is_whole(self._fd, packet.pos):
            return _MISSING
        return None

    def _joined(self) -> Iterator[CheckedPacket]:
        """The packets; at the joint of two H.264 recordings in one transport stream, nothing is missing.

        There the count of its packets breaks, as in a loss, but so does the clock, and a key frame follows. Should the
        last picture before be cut off, this decoder says so.
        """
        marked: list[CheckedPacket] = []
        for item in self._in_place():
            if item.problem == _MISSING and self._format == "mpegts" and self._codec == "h264":
                marked.append(item)
                continue
            if marked:
                if item.packet.is_keyframe and self._clock_breaks(marked[-1].packet.dts, item.packet.dts):
                    marked = [one._replace(problem=None) for one in marked[-2:]]
                yield from marked
                marked = []
            yield item
        yield from marked

    def _clock_breaks(self, before: int | None, behind: int | None) -> bool:
        if before is None or behind is None or self._stream.time_base is None:
            return False
        return not 0 <= (behind - before) * self._stream.time_base <= MAX_HOLE_S

    def _in_place(self) -> Iterator[CheckedPacket]:
        """The stream's packets, and whether the file is broken before or behind one.

        A transport or program stream marks the packet in which data is missing; behind FFmpeg's parser it is the one
        before or that packet itself. A Matroska file is read with all its streams, to see what lies between packets.
        """
        held: CheckedPacket | None = None
        last: av.Packet[Any] | None = None  # of any stream that is read
        lost, marked, number = False, False, self._stream.index
        streams = () if self._format == "matroska,webm" else self._stream
        is_checked = self._format in _WITH_PLACES
        for packet in self._container.demux(streams):
            if not packet.size:
                continue
            if is_checked and last is not None and not self._adjacent(last, packet):
                lost = True
                if held is not None and held.packet is last:
                    held = held._replace(problem=_BROKEN_BEHIND)
            last = packet
            if packet.stream_index == number:
                if held is not None:
                    yield held
                video = cast("av.Packet[av.VideoStream]", packet)
                held = CheckedPacket(video, _MISSING if packet.is_corrupt or marked else None, lost)
                lost, marked = False, packet.is_corrupt and self._format in _PARSED
        self.unfinished = missing_end(io.BufferedReader(io.FileIO(self._fd, closefd=False)), self._format)
        if held is not None:
            cut = self.unfinished if self._format in _LAST_MAY_BE_CUT else None
            if held.packet is last and not self._element_follows(last):
                cut = _BROKEN_BEHIND
            yield held._replace(problem=held.problem or cut)

    def _element_follows(self, last: "av.Packet[Any]") -> bool:
        """Does the end of a Matroska file, or another part of it, follow the last block?"""
        if self._format != "matroska,webm" or last.pos is None:
            return True
        following = os.pread(self._fd, _MAX_OVERHEAD, last.pos + last.size)
        return len(following) < _MAX_OVERHEAD or any(part in following for part in _MATROSKA_ENDS)

    def _adjacent(self, last: "av.Packet[Any]", packet: "av.Packet[Any]") -> bool:
        """Is there nothing but headers between two packets? Where a length is wrong, the demuxer looks for the next.

        Matroska and FLV files have packets in one piece, and nothing else between them. In a transport stream, all
        places are a multiple of its packets' size apart, and an HEVC picture whose time is missing lost its beginning.
        """
        if self._format == "mpegts":
            return self._aligned(packet.pos) and self._timed(packet)
        if last.pos is None or packet.pos is None:
            return True
        if self._format == "matroska,webm":
            return leads(self._fd, last.pos, last.size, packet.pos)
        return self._tags_lead(last.pos, packet.pos)

    def _tags_lead(self, first: int, stop: int) -> bool:
        """Do the tags of an FLV file lead from one to another, each with its length before and behind it?

        Between two pictures, there is no tag of a picture that the demuxer could not read.
        """
        start = first
        while start < stop:
            tag = os.pread(self._fd, _FLV_TAG_HEADER + _FLV_PICTURE_HEADER + 1, start)
            size = int.from_bytes(tag[1:4]) + _FLV_TAG_HEADER
            if int.from_bytes(os.pread(self._fd, 4, start + size)) != size or (start > first and _is_broken_tag(tag)):
                return False
            start += size + 4
        return start == stop

    def _aligned(self, pos: int | None) -> bool:
        if pos is None:
            return True
        last, self._last_pos = self._last_pos, pos
        if last is None:
            syncs = ((size, os.pread(self._fd, 2 * size + 1, pos)) for size in _TS_PACKETS)
            self._ts_packet = next((size for size, data in syncs if data[::size] == 3 * _TS_SYNC), 0)
        return last is None or not self._ts_packet or (pos - last) % self._ts_packet == 0

    def _timed(self, packet: "av.Packet[Any]") -> bool:
        if packet.pts is None:
            return self._codec != "hevc" or self._n_timed < _SURELY_TIMED
        self._n_timed += 1
        return True


def _is_broken_tag(tag: bytes) -> bool:
    """Is the video in an FLV tag neither a picture nor H.264's parameters (avcC, which begins with a 1)?"""
    kind, data = tag[0] & 0x1F, tag[_FLV_TAG_HEADER:]
    if kind != _FLV_VIDEO or len(data) <= _FLV_PICTURE_HEADER:
        return False
    parameters = data[0] in (_FLV_H264 | 1 << 4, _FLV_H264 | 2 << 4) and data[1] == 0
    return data[0] == 0 or (parameters and data[_FLV_PICTURE_HEADER] != 1)
