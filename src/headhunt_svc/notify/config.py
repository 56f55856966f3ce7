"""notify.yaml: the channels by name, as typed values; passwords and tokens come from the environment."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from headhunt_svc.errors import ConfigError, list_problems
from headhunt_svc.sections import MOST_PROBLEMS, Section, read_parameters

_VARIABLE = re.compile(r"\$\{(\w+)\}")
ChannelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class ChannelSection(Section):
    """One place that messages go to: a URL of Apprise, or a signed webhook. pictures: send the event's picture, too."""

    apprise: str | None = None
    webhook: str | None = None
    secret: str | None = None
    pictures: bool = True

    @model_validator(mode="after")
    def _one_kind(self) -> "ChannelSection":
        if (self.apprise is None) == (self.webhook is None):
            raise ValueError("give one of `apprise` and `webhook`")
        if (self.webhook is None) != (self.secret is None):
            raise ValueError("a webhook needs `secret` (whsec_...), and nothing else has one")
        return self


class NotifySection(Section):
    """The contents of notify.yaml. link: the address of the service, for links to events."""

    link: str | None = Field(default=None, pattern=r"^https?://\S+$")
    channels: dict[ChannelName, ChannelSection] = Field(min_length=1)


def load_notify(path: Path, environment: Mapping[str, str] = os.environ) -> tuple[NotifySection, frozenset[str]]:
    """Read notify.yaml, with `${NAME}` replaced from the environment; also returns what these names stand for.

    Raises:
        ConfigError: the file is missing or wrong, or variables are not set (each named).
    """
    section = read_parameters(path, NotifySection, "in HEADHUNT_NOTIFY_FILE the")
    texts = {
        f"channels.{name}.{field}": value
        for name, channel in section.channels.items()
        for field in ("apprise", "webhook", "secret")
        if (value := getattr(channel, field)) is not None
    }
    names = {place: _VARIABLE.findall(text) for place, text in texts.items()}
    missing = [f"{place}: {n} is not set" for place, all_n in names.items() for n in all_n if n not in environment]
    if missing:
        raise ConfigError(f"{path}: {list_problems(missing, MOST_PROBLEMS)}")
    channels = {
        name: channel.model_copy(
            update={
                field: _VARIABLE.sub(lambda match: environment[match[1]], value)
                for field in ("apprise", "webhook", "secret")
                if (value := getattr(channel, field)) is not None
            }
        )
        for name, channel in section.channels.items()
    }
    secrets = frozenset(environment[n] for all_n in names.values() for n in all_n if environment[n])
    return section.model_copy(update={"channels": channels}), secrets
