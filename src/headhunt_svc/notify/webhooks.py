"""Webhooks: signed, sent to stated hosts only, and to the very address that was checked."""

import hashlib
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from headhunt_svc.errors import ConfigError
from headhunt_svc.settings import JobSettings

TIMEOUT_S = 10


def check_host(url: str, settings: JobSettings) -> str:
    """The host of a webhook, if it may be one. Raises ConfigError."""
    host = urlsplit(url).hostname or ""
    if host not in settings.webhook_hosts:
        raise ConfigError(f"webhooks may not go to {host or url}: see HEADHUNT_JOBS_WEBHOOK_HOSTS")
    if settings.webhook_secret is None:
        raise ConfigError("webhooks are signed: set HEADHUNT_JOBS_WEBHOOK_SECRET")
    return host


def signature(body: bytes, secret: str, at: int) -> str:
    """The header X-HeadHunt-Signature: t=SECONDS,v1=HMAC-SHA256 of "SECONDS.BODY"."""
    return f"t={at},v1={hmac.new(secret.encode(), f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"


def _address(host: str, port: int, settings: JobSettings) -> str:
    """An address of the host that may be called. Raises ConfigError, OSError."""
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        if not settings.webhook_private and not ipaddress.ip_address(address.partition("%")[0]).is_global:
            raise ConfigError(f"{host} is the private address {address}: see HEADHUNT_JOBS_WEBHOOK_PRIVATE")
    return found[0]


def post(url: str, body: Mapping[str, object], delivery_id: str, settings: JobSettings) -> None:
    """Send one webhook; redirects are not followed.

    Raises:
        ConfigError: the host may not be called. OSError: it did not answer, or not with 2xx.
    """
    host, parts = check_host(url, settings), urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _address(host, port, settings)
    assert settings.webhook_secret is not None
    data = json.dumps(body).encode()
    headers = {
        "Content-Type": "application/json",
        "X-HeadHunt-Delivery": delivery_id,
        "X-HeadHunt-Signature": signature(data, settings.webhook_secret.get_secret_value(), int(time.time())),
    }
    call = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        call.sock = socket.create_connection((address, port), timeout=TIMEOUT_S)  # not resolved a second time
        if parts.scheme == "https":
            call.sock = ssl.create_default_context().wrap_socket(call.sock, server_hostname=host)
        call.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), data, headers)
        status = call.getresponse().status
    except http.client.HTTPException as exc:
        raise OSError(f"no HTTP answer ({type(exc).__name__})") from exc
    finally:
        call.close()
    if not 200 <= status < 300:
        raise OSError(f"answered {status}")
