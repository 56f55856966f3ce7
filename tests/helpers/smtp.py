"""An SMTP server that keeps what it is sent, for tests of mail."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class Sink:
    """port: on loopback. messages: in the order of arrival. refusals: how many of the next are answered with 451."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    refusals: int = 0


async def _talk(sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    def answer(line: str) -> None:
        writer.write(f"{line}\r\n".encode())

    answer("220 sink")
    while line := await reader.readline():
        verb = line.split(b" ")[0].strip().upper()
        if verb == b"QUIT":
            answer("221 bye")
            break
        if verb == b"DATA":
            answer("354 go on")
            body = await reader.readuntil(b"\r\n.\r\n")
            if sink.refusals:
                sink.refusals -= 1
                answer("451 try again later")
                continue
            text = body.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
            sink.messages.append(message_from_bytes(text, _class=EmailMessage, policy=policy.default))
        answer("250 fine")
    writer.close()


@contextmanager
def smtp_sink() -> Iterator[Sink]:
    """Run the server meanwhile, in a thread."""
    sink, loop, ready = Sink(), asyncio.new_event_loop(), threading.Event()

    async def serve(stop: asyncio.Event) -> None:
        server = await asyncio.start_server(lambda r, w: _talk(sink, r, w), "127.0.0.1", 0, limit=2**24)
        sink.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await stop.wait()

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(stop)))
    thread.start()
    assert ready.wait(10)
    try:
        yield sink
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
