"""What a connection may take before and after a request: time and bytes for a head, time to read an answer.

uvicorn has no time limit for the head of a request, none for a client that does not read, and no number of
connections beyond which it closes idle ones. `Connection` adds them to the protocol that it would choose itself.
"""

import asyncio
import resource
from dataclasses import dataclass
from typing import Any

import uvicorn.config
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_HEAD_BYTES = 2**16
_OTHER_FILES = 0.5  # share of the open files that videos, decoders and databases may need
_Protocol: Any = AutoHTTPProtocol


@dataclass(slots=True)
class Limits:
    """Of one process; HEADHUNT_MAX_CONNECTIONS sets both numbers."""

    connections: int = 512  # beyond: those that are idle for the longest time are closed
    requests: int = 256  # at once, beyond: 503; fewer than connections, so that some are always idle
    head_s: float = 10.0  # for the whole head of a request
    write_s: float = 30.0  # without the client reading anything of its answer

    def set(self, connections: int) -> None:
        """At most this many connections, and no more than the open files that the system allows."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.connections = max(4, min(connections, int(files * _OTHER_FILES)))
        self.requests = self.connections // 2


LIMITS = Limits()


class Connection(_Protocol):  # type: ignore[misc]  # uvicorn chooses it by what is installed
    """One connection of a client."""

    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _in_head, _head_bytes, _idle_since = False, 0, 0.0

    @property
    def busy(self) -> bool:
        """Is a request being answered?"""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: Any) -> None:  # uvloop's are no asyncio.Transport
        """See asyncio.Protocol; makes room where there are too many."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > LIMITS.connections:
            others = [c for c in self.connections if isinstance(c, Connection) and c is not self]
            idle = [c for c in others if not c.busy and not c.transport.is_closing()]
            if idle:
                min(idle, key=lambda c: c._idle_since).transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        self._watch()
        if self._in_head and not self.busy:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins (httptools; h11 has a limit of its own)."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """A head is complete (httptools)."""
        super().on_headers_complete()
        self._in_head = False

    def on_response_complete(self) -> None:
        """An answer was sent."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """Start the time for a head where no request is being answered, otherwise stop it."""
        if self.busy:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
        elif self._head_timer is None and not self.transport.is_closing():
            self._idle_since = self.loop.time()
            self._head_timer = self.loop.call_later(LIMITS.head_s, self.transport.close)

    def pause_writing(self) -> None:
        """The client does not read as fast as the answer is made."""
        super().pause_writing()
        self._expect_reading()

    def _expect_reading(self) -> None:
        """Give up once nothing of what waits was read for write_s; a slow client may take longer for all of it."""
        unread = self.transport.get_write_buffer_size()

        def check() -> None:
            if self.transport.get_write_buffer_size() < unread:
                self._expect_reading()
            else:
                self.transport.abort()

        self._write_timer = self.loop.call_later(LIMITS.write_s, check)

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def install() -> None:
    """Let uvicorn, which BentoML starts without such options, use this protocol."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
