"""A real MQTT broker (mosquitto) on loopback, and what it is sent."""

import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

USER, PASSWORD = "headhunt", "s3cret-word"


@dataclass
class Broker:
    """Stop and start it. messages: topic and text, in the order of arrival."""

    folder: Path
    port: int
    messages: list[tuple[str, str]] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["mosquitto", "-c", str(self.folder / "mosquitto.conf")], stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < until, "mosquitto does not start"
                time.sleep(0.02)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(10)

    def url(self, password: str = PASSWORD) -> str:
        """As Apprise writes it: each message is acknowledged."""
        return f"mqtt://{USER}:{password}@127.0.0.1:{self.port}/headhunt/yard?qos=1"

    @contextmanager
    def subscribed(self) -> Iterator[None]:
        """Messages arrive in `messages`."""

        def arrived(client: Client, _: object, message: MQTTMessage) -> None:
            self.messages.append((message.topic, message.payload.decode()))

        client = Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set(USER, PASSWORD)
        client.on_message = arrived
        client.on_connect = lambda *_: client.subscribe("headhunt/#", qos=1)
        subscribed = threading.Event()
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        try:
            assert subscribed.wait(10)  # what is sent before is lost
            yield
        finally:
            client.disconnect()
            client.loop_stop()


@contextmanager
def mqtt_broker() -> Iterator[Broker]:
    """A broker that asks for a password."""
    with tempfile.TemporaryDirectory(prefix="headhunt-mqtt-") as name, socket.socket() as s:
        folder = Path(name)
        s.bind(("127.0.0.1", 0))
        broker = Broker(folder, s.getsockname()[1])
        s.close()
        passwords = folder / "passwords"
        subprocess.run(
            ["mosquitto_passwd", "-b", "-c", str(passwords), USER, PASSWORD], check=True, capture_output=True
        )
        (folder / "mosquitto.conf").write_text(
            f"listener {broker.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
        )
        broker.start()
        try:
            yield broker
        finally:
            broker.stop()
