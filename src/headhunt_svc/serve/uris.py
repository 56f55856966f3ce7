"""Stand-in until branch sandbox is merged."""

from pathlib import Path

from headhunt_svc.settings import Settings


class UriError(Exception):
    pass


async def fetch(uri: str, folder: Path, settings: Settings) -> Path:
    raise UriError("no URI is allowed here: set HEADHUNT_URI_ROOTS or HEADHUNT_URI_HOSTS")
