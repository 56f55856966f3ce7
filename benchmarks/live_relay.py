"""A relay between a camera and who watches it, which does to a stream what networks and cameras do.

It stands in for an RTSP server on a port of its own, passes requests on, and looks into what comes back: RTP packets
over TCP, or over UDP where the client asks for that.
"""

import asyncio
import random
import re
import struct
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

RTP_HZ = 90_000  # of video
_TRANSPORT = re.compile(rb"client_port=(\d+)-(\d+)")
_LENGTH = re.compile(rb"Content-Length: *(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Arrivals:
    """When the pictures of one connection came: wall clock of the first, and RTP times. lost: packets left out."""

    first: float | None = None
    first_rtp: int = 0
    last: float = 0.0
    last_rtp: int = 0
    packets: int = 0
    lost: int = 0

    @property
    def sent_s(self) -> float:
        """Footage that has come."""
        return ((self.last_rtp - self.first_rtp) % 2**32) / RTP_HZ


@dataclass(slots=True)
class Network:
    """What happens to packets. loss: the share that is left out. jump_s: added to the stream's clock. stalled: nothing
    passes, and nobody hangs up."""

    loss: float = 0.0
    jump_s: float = 0.0
    stalled: bool = False


class _UdpSide(asyncio.DatagramProtocol):
    """Takes RTP from the server, and passes it on to the client's port."""

    def __init__(self, relay: "Relay", arrivals: Arrivals, target: tuple[str, int], is_rtp: bool) -> None:
        self._relay, self._arrivals, self._target, self._is_rtp = relay, arrivals, target, is_rtp
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, _: object) -> None:
        packet = self._relay.changed(data, self._arrivals) if self._is_rtp else data
        if packet is not None and self._transport is not None and not self._relay.network.stalled:
            self._transport.sendto(packet, self._target)


@dataclass(slots=True, eq=False)
class Relay:
    """One camera's way through the network; `port` stays the same when it is closed and opened again."""

    server_port: int
    seed: int = 0
    port: int = 0
    network: Network = field(default_factory=Network)
    connections: list[Arrivals] = field(default_factory=list)
    _random: random.Random = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _thread: threading.Thread = field(init=False)
    _server: asyncio.Server | None = field(init=False, default=None)
    _tasks: set["asyncio.Task[None]"] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self._random, self._loop = random.Random(self.seed), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.open()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def open(self) -> None:
        """Take connections."""
        self._run(self._open())

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        """Break off all connections, and refuse new ones."""
        self._run(self._shut())

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Shut, for good."""
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        arrivals, udp = Arrivals(), list[asyncio.BaseTransport]()
        self.connections.append(arrivals)
        to_server: asyncio.StreamWriter | None = None
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self.server_port)
            ways = [
                asyncio.ensure_future(self._requests(client, to_server, arrivals, udp)),
                asyncio.ensure_future(self._answers(server, to_client, arrivals)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the server is away, or the relay is shut: the client is hung up on
        finally:
            self._tasks.discard(task)
            for transport in udp:
                transport.close()
            for writer in (to_client, to_server):
                if writer is not None:
                    writer.close()

    async def _passes(self) -> None:
        while self.network.stalled:
            await asyncio.sleep(0.1)

    async def _requests(
        self,
        client: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
        arrivals: Arrivals,
        udp: list[asyncio.BaseTransport],
    ) -> None:
        while True:
            if (first := await client.read(1)) == b"":
                return
            await self._passes()
            if first == b"$":  # reports about the reception
                head = await client.readexactly(3)
                to_server.write(first + head + await client.readexactly(struct.unpack(">xH", head)[0]))
            else:
                to_server.write(await self._through_udp(first + await _message(client), arrivals, udp))
            await to_server.drain()

    async def _through_udp(self, request: bytes, arrivals: Arrivals, udp: list[asyncio.BaseTransport]) -> bytes:
        """The request, with ports of the relay instead of the client's."""
        if (match := _TRANSPORT.search(request)) is None:
            return request
        for low in range(20_000 + 2 * self._random.randrange(20_000), 65_000, 2):
            try:
                for i, client_port in enumerate(match.groups()):
                    target = ("127.0.0.1", int(client_port))
                    make = partial(_UdpSide, self, arrivals, target, is_rtp=i == 0)
                    transport, _ = await self._loop.create_datagram_endpoint(make, ("127.0.0.1", low + i))
                    udp.append(transport)
            except OSError:
                continue
            return _TRANSPORT.sub(b"client_port=%d-%d" % (low, low + 1), request)
        raise OSError("no free ports")

    async def _answers(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, arrivals: Arrivals) -> None:
        while True:
            if (first := await server.read(1)) == b"":
                return
            await self._passes()
            if first != b"$":
                to_client.write(first + await _message(server))
            else:
                head = await server.readexactly(3)
                channel, length = struct.unpack(">BH", head)
                packet: bytes | None = await server.readexactly(length)
                if channel == 0 and packet is not None:
                    packet = self.changed(packet, arrivals)
                if packet is not None:
                    to_client.write(first + head + packet)
            await to_client.drain()

    def changed(self, packet: bytes, arrivals: Arrivals) -> bytes | None:
        """An RTP packet after the network; None: it is lost."""
        rtp = struct.unpack(">I", packet[4:8])[0]
        if arrivals.first is None:
            arrivals.first, arrivals.first_rtp = time.time(), rtp
        arrivals.last, arrivals.last_rtp = time.time(), rtp
        arrivals.packets += 1
        if self.network.loss and self._random.random() < self.network.loss:
            arrivals.lost += 1
            return None
        later = (rtp + round(self.network.jump_s * RTP_HZ)) % 2**32
        return packet[:4] + struct.pack(">I", later) + packet[8:]


async def _message(stream: asyncio.StreamReader) -> bytes:
    """An RTSP request or answer, with its body."""
    head = await stream.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + (await stream.readexactly(int(length[1])) if length else b"")
