"""Where a camera's pictures come from, as cameras.yaml says it; passwords stand in the environment."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field

from headhunt_svc.errors import ConfigError
from headhunt_svc.sections import Section

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEMES = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}
EXAMPLE = (
    "an address such as rtsp://${YARD_USER}:${YARD_PASSWORD}@10.0.0.5/stream1, or a mapping with kind: rtsp, http, "
    "folder, device or loop"
)


def variables(text: str) -> list[str]:
    """The names of the environment variables in `rtsp://${USER}:${PASSWORD}@host/`."""
    return _VARIABLE.findall(text)


def _checked_url(url: str) -> str:
    """The URL, if its parts make sense and its password is not in the file."""
    try:
        parts = urlsplit(_VARIABLE.sub("1", url))  # a variable may stand for any part, the port too
        _ = parts.port
    except ValueError as exc:
        raise ValueError(f"not an address ({exc})") from exc
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError("not an address of the form rtsp://host/path or http://host/path")
    if _VARIABLE.sub("", urlsplit(url).password or ""):
        raise ValueError("a password stands in the file: write ${NAME}, and set NAME in the environment")
    return url


Url = Annotated[str, AfterValidator(_checked_url)]


class _Addressed(Section):
    url: Url

    @property
    def shown(self) -> str:
        """The address for people: with the names of its variables, and without its query, which may hold a key."""
        return urlunsplit((*urlsplit(self.url)[:3], "", ""))

    def missing(self, environment: Mapping[str, str] = os.environ) -> list[str]:
        """The variables that are not set."""
        return [name for name in variables(self.url) if not environment.get(name)]

    def address(self, environment: Mapping[str, str] = os.environ) -> str:
        """The address to open, with what the environment says.

        Raises:
            ConfigError: a variable is not set.
        """
        if missing := self.missing(environment):
            raise ConfigError(f"{self.shown}: {', '.join(missing)} is not set in the environment")
        return _VARIABLE.sub(lambda match: quote(environment[match[1]], safe=""), self.url)


class RtspSource(_Addressed):
    """A camera or recorder that speaks RTSP."""

    kind: Literal["rtsp"]
    transport: Literal["tcp", "udp"] = "tcp"  # UDP loses packets where the network does


class HttpSource(_Addressed):
    """A stream over HTTP: MJPEG, MPEG-TS, FLV."""

    kind: Literal["http"]


class _Stored(Section):
    path: Path

    @property
    def shown(self) -> str:
        """The path as text."""
        return str(self.path)

    def missing(self, environment: Mapping[str, str] = os.environ) -> list[str]:
        """A path needs no variables."""
        return []


class FolderSource(_Stored):
    """A folder that a recorder fills with files. rest_s: a file that has not changed for so long is finished."""

    kind: Literal["folder"]
    rest_s: float = Field(default=10, gt=0)


class DeviceSource(_Stored):
    """A camera at this machine: /dev/video0."""

    kind: Literal["device"]


class LoopSource(_Stored):
    """A file that is shown again and again in real time, to try things out."""

    kind: Literal["loop"]


def _from_text(value: Any) -> Any:
    """An address or a device alone says which kind it is."""
    if not isinstance(value, str):
        return value
    scheme = value.partition("://")[0].lower()
    if scheme in _SCHEMES:
        return {"kind": _SCHEMES[scheme], "url": value}
    if value.startswith("/dev/"):
        return {"kind": "device", "path": value}
    raise ValueError(f"not a source: give {EXAMPLE}")


AnySource = RtspSource | HttpSource | FolderSource | DeviceSource | LoopSource
Source = Annotated[Annotated[AnySource, Field(discriminator="kind")], BeforeValidator(_from_text)]
