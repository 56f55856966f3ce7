"""Streams for tests that come from files, packet by packet, as a script wants them."""

from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import av

from headhunt_svc.video.live import LiveVideo, LoopedFile
from headhunt_svc.video.receiving import Packet, Source, StreamEndedError

Script = Callable[[Iterator[Packet]], Iterable[Packet]]


class ScriptedSource(Source):
    """The packets of a file, as fast as they are taken, as a script changes them."""

    def __init__(self, path: Path, script: Script) -> None:
        self._container = av.open(str(path))
        self.stream, self.format_name = self._container.streams.video[0], self._container.format.name
        self._script = script

    def packets(self) -> Generator[Packet]:
        """See Source."""
        yield from self._script(packet for packet in self._container.demux(self.stream) if packet.size)
        raise StreamEndedError("the file ended")

    def close(self) -> None:
        """See Source."""
        self._container.close()


class ScriptedVideo(LiveVideo):
    """A live video whose packets a script gives. By default everything is kept that comes at once."""

    def __init__(self, path: Path, script: Script = lambda packets: packets, **options: Any) -> None:
        super().__init__(LoopedFile(path), path.name, **{"queue": 10_000, "late_s": 1000.0, **options})
        self._path, self._script = path, script

    def _open(self) -> Source:
        return ScriptedSource(self._path, self._script)
