"""Stand-in until branch sandbox is merged."""

import hmac
import os

from headhunt_svc.errors import ConfigError
from headhunt_svc.settings import Settings


class Keys:
    def __init__(self, keys: dict[str, str]) -> None:
        self.keys = keys

    def name_of(self, header: str | None) -> str | None:
        found = None
        for name, key in self.keys.items():
            if header and hmac.compare_digest(header.removeprefix("Bearer ").encode(), key.encode()):
                found = name
        return found


def keys_for(settings: Settings, addresses: list[str]) -> Keys | None:
    raw = os.environ.get("HEADHUNT_API_KEYS", "")
    keys = dict(part.split(":", 1) for part in raw.split(",") if part)
    if not keys and any(not a.startswith("127.") and a != "::1" for a in addresses):
        raise ConfigError("no keys: set HEADHUNT_API_KEYS")
    return Keys(keys) if keys else None
