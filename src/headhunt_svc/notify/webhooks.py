"""Signed webhooks, sent only to listed hosts, and only to the address that was checked.

The format is Standard Webhooks (https://www.standardwebhooks.com): receivers verify it with any library of that name.
"""

import base64
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from pydantic import SecretStr
from standardwebhooks import Webhook

from headhunt_svc.errors import ConfigError
from headhunt_svc.settings import JobSettings
from headhunt_svc.storage.addresses import Endpoint, PrivateAddressError, parse_endpoint, resolve_address

TIMEOUT_S = 10
MOST_S = 20.0  # of one call: a receiver that sends a byte now and then must not hold up other channels
KEY_BYTES = range(24, 65)  # as Standard Webhooks has it


def check_url(url: str, settings: JobSettings) -> Endpoint:
    """The parts of a URL, if webhooks of jobs may go there and can be signed. Raises ConfigError."""
    endpoint = endpoint_of(url)
    if endpoint.host not in {host.lower() for host in settings.webhook_hosts}:
        raise ConfigError(f"webhooks may not go to {endpoint.host}: see HEADHUNT_JOBS_WEBHOOK_HOSTS")
    signer(settings.webhook_secret, "HEADHUNT_JOBS_WEBHOOK_SECRET")
    return endpoint


def endpoint_of(url: str) -> Endpoint:
    """The parts of a URL, if a webhook can call it. Raises ConfigError."""
    try:
        if not url.isascii():
            raise ValueError("it has characters that are not ASCII: write them as %XX")
        return parse_endpoint(url)
    except ValueError as exc:
        raise ConfigError(f"the webhook is no URL that can be called ({exc}): write https://host/path") from exc


def signer(secret: SecretStr | None, setting: str) -> Webhook:
    """What signs webhooks. setting: where the secret comes from, for messages. Raises ConfigError."""
    if secret is None:
        raise ConfigError(f"webhooks are signed: set {setting}")
    prefix, _, encoded = secret.get_secret_value().partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if prefix != "whsec" or len(key) not in KEY_BYTES:
        raise ConfigError(f"{setting} is not whsec_ and 24 to 64 bytes in base64: see docs/jobs.md")
    return Webhook(key)


def post(url: str, body: Mapping[str, object], delivery_id: str, settings: JobSettings) -> None:
    """Send one webhook of a job, without following redirects.

    delivery_id: the same for every attempt at a delivery, so that the receiver can drop a second copy.

    Raises:
        ConfigError: the URL may not be called. OSError: it did not answer, or not with 2xx.
    """
    endpoint = check_url(url, settings)
    key = signer(settings.webhook_secret, "HEADHUNT_JOBS_WEBHOOK_SECRET")
    try:
        send_signed(endpoint, body, delivery_id, key, allow_private=settings.webhook_private)
    except PrivateAddressError as exc:
        raise ConfigError(f"{exc}: see HEADHUNT_JOBS_WEBHOOK_PRIVATE") from exc


def send_signed(
    endpoint: Endpoint, body: Mapping[str, object], delivery_id: str, key: Webhook, *, allow_private: bool
) -> None:
    """Send one webhook, without following redirects, to the address that is checked here.

    Raises:
        PrivateAddressError: its address is private, and that is not allowed.
        OSError: it did not answer, or not with 2xx.
    """
    host, port = endpoint.host, endpoint.port
    address = resolve_address(host, port, allow_private=allow_private)
    text, now = json.dumps(body), datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": key.sign(delivery_id, now, text),
    }
    call = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        call.sock = socket.create_connection((address, port), timeout=TIMEOUT_S)  # not resolved a second time
        if endpoint.scheme == "https":
            call.sock = ssl.create_default_context().wrap_socket(call.sock, server_hostname=host)
        with _at_most(call.sock, MOST_S):
            call.request("POST", endpoint.target, text.encode(), headers)
            status = call.getresponse().status
    except http.client.HTTPException as exc:
        raise OSError(f"no HTTP answer ({type(exc).__name__})") from exc
    finally:
        call.close()
    if not 200 <= status < 300:
        raise OSError(f"answered {status}")


@contextmanager
def _at_most(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Breaks a connection off if it is used for longer. Raises TimeoutError."""
    is_late = threading.Event()

    def break_off() -> None:
        is_late.set()
        with suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, break_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if not is_late.is_set():
            raise
    finally:
        timer.cancel()
    if is_late.is_set():
        raise TimeoutError(f"no whole answer within {seconds:g} s")
