"""Where messages go: Apprise's services by URL, and signed webhooks."""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import SecretStr
from standardwebhooks import Webhook

from headhunt_svc.errors import ConfigError, HeadHuntError, list_problems
from headhunt_svc.notify.config import ChannelSection, load_notify
from headhunt_svc.notify.messages import Message, MessageKind
from headhunt_svc.notify.webhooks import endpoint_of, send_signed, signer
from headhunt_svc.sections import MOST_PROBLEMS
from headhunt_svc.storage.addresses import Endpoint

TIMEOUT_S = 30.0  # of one message to a service of Apprise
MOST_PICTURE_BYTES = 2 * 1024**2  # in the JSON of a webhook


class DeliveryError(HeadHuntError):
    """A channel did not take a message; it may later."""


@runtime_checkable
class Channel(Protocol):
    """One place that messages go to."""

    def send(self, message: Message) -> None:
        """Send a message. Raises DeliveryError."""
        ...


def _picture(message: Message) -> Path | None:
    """The message's picture, if it is still there: it may have been purged while the message waited."""
    return message.picture if message.picture is not None and message.picture.is_file() else None


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """JSON, signed as in Standard Webhooks; whoever wrote notify.yaml may name private addresses."""

    endpoint: Endpoint
    key: Webhook
    pictures: bool
    link: str | None

    def send(self, message: Message) -> None:
        """See Channel."""
        body = message.as_json(self.link)
        path = _picture(message) if self.pictures else None
        if path is not None and path.stat().st_size <= MOST_PICTURE_BYTES:
            body["picture"] = {"type": "image/jpeg", "base64": base64.b64encode(path.read_bytes()).decode()}
        try:
            send_signed(self.endpoint, body, message.delivery_id, self.key, allow_private=True)
        except OSError as exc:
            raise DeliveryError(str(exc) or type(exc).__name__) from exc


class AppriseChannel:
    """Mail, chat, MQTT and others, as Apprise knows them. secrets: what never stands in an error."""

    def __init__(self, url: str, pictures: bool, link: str | None, secrets: frozenset[str]) -> None:
        """Raises ConfigError: no URL of Apprise, or Apprise is not installed."""
        try:
            import apprise
            from apprise.attachment.file import AttachFile
        except ImportError as exc:
            raise ConfigError("channels of Apprise need it: pip install 'headhunt-svc[notify]'") from exc
        self._apprise = apprise
        self._attach: Any = AttachFile  # untyped
        self._pictures, self._link, self._secrets = pictures, link, secrets
        self._service: Any = apprise.Apprise.instantiate(url)
        if self._service is None:
            raise ConfigError("this is no URL that Apprise can use: see https://appriseit.com/services/")
        if self._service.request_rate_per_sec == apprise.NotifyBase.request_rate_per_sec:
            # 5.5 s between two messages, which Apprise waits where it knows no limit of the service: mail needs none,
            # and what a service refuses for now is tried again
            self._service.request_rate_per_sec = 0

    def send(self, message: Message) -> None:
        """See Channel."""
        apprise = self._apprise
        kinds = apprise.NotifyType
        if message.phase == "begin" and message.kind is not MessageKind.TEST:
            kind = kinds.WARNING
        else:
            kind = kinds.INFO if message.kind in (MessageKind.EVENT, MessageKind.TEST) else kinds.SUCCESS
        path = _picture(message) if self._pictures else None
        attached = None if path is None else self._attach(str(path))
        sender = apprise.Apprise(self._service)
        result = sender.notify(
            body=message.body(self._link),
            title=message.title,
            notify_type=kind,
            body_format=apprise.NotifyFormat.TEXT,
            attach=attached,
            timeout=TIMEOUT_S,
        )
        if not result:
            raise DeliveryError(self._reason(result))

    def _reason(self, result: Any) -> str:
        lines = [entry.message for entry in result.logs() if entry.level in ("ERROR", "WARNING")]
        reason = " ".join(lines[0].split()) if lines else f"no answer ({result.status.name})"
        for secret in sorted(self._secrets, key=len, reverse=True):
            reason = reason.replace(secret, "***")
        return reason


def load_channels(path: Path, environment: Mapping[str, str] = os.environ) -> dict[str, Channel]:
    """The channels of notify.yaml by name.

    Raises:
        ConfigError: the file or a channel cannot be used (each named).
    """
    section, secrets = load_notify(path, environment)
    channels: dict[str, Channel] = {}
    problems: list[str] = []
    for name, channel in section.channels.items():
        try:
            channels[name] = _channel(channel, section.link, secrets)
        except ConfigError as exc:
            problems.append(f"channels.{name}: {exc}")
    if problems:
        raise ConfigError(f"{path}: {list_problems(problems, MOST_PROBLEMS)}")
    return channels


def _channel(channel: ChannelSection, link: str | None, secrets: frozenset[str]) -> Channel:
    if channel.apprise is not None:
        return AppriseChannel(channel.apprise, channel.pictures, link, secrets)
    assert channel.webhook is not None  # see ChannelSection
    assert channel.secret is not None
    key = signer(SecretStr(channel.secret), "its secret")
    return WebhookChannel(endpoint_of(channel.webhook), key, channel.pictures, link)


def check_names(channels: Mapping[str, Channel], names: Sequence[str], path: Path) -> None:
    """Raises ConfigError: one of the names is that of no channel of the file."""
    if unknown := [name for name in names if name not in channels]:
        raise ConfigError(f"{path} has no channel {unknown[0]}; there are: {', '.join(channels)}")
