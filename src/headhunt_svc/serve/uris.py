"""Videos that a request names by URI: files below allowed folders, downloads from allowed hosts."""

import asyncio
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from headhunt_svc.errors import UnreachableError
from headhunt_svc.names import unescape
from headhunt_svc.serve.problems import Problem
from headhunt_svc.settings import Settings
from headhunt_svc.storage.addresses import PORTS, Endpoint, parse_endpoint
from headhunt_svc.storage.boundaries import RefusedError, link_to, open_below
from headhunt_svc.storage.download import download


class UriError(Problem):
    """A URI that may not be read, or cannot."""

    def __init__(self, detail: str) -> None:
        super().__init__(422, "uri", detail)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A video as a path in the request's own folder, and the open file that it leads to, which the caller closes."""

    path: Path
    file: BinaryIO | None = None


async def fetch(uri: str, folder: Path, settings: Settings) -> Fetched:
    """Open a file URI or absolute path below one of `uri_roots`, or download from one of `uri_hosts` to `folder`.

    Raises:
        UriError: not allowed, not found, or longer than max_upload_bytes.
    """
    if len(uri) > 4096 or not uri.isprintable():
        raise UriError("the URI is too long or has characters that cannot be printed")
    try:
        parts = urllib.parse.urlsplit(uri)
        _ = parts.port
    except ValueError as exc:
        raise UriError(f"not a URI ({exc})") from exc
    if parts.scheme in ("", "file"):
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise UriError("a file URI has neither host, query nor fragment: write file:///folder/clip.mp4")
        name = unescape(parts.path) if parts.scheme else uri
        return await asyncio.to_thread(_inside, name, settings.uri_roots, folder)
    if parts.scheme in PORTS:
        endpoint = _allowed(uri, settings.uri_hosts)
        path = folder / f"from-host{Path(urllib.parse.unquote(urllib.parse.urlsplit(endpoint.target).path)).suffix[:8]}"
        try:
            await download(uri, path, settings.max_upload_bytes)
        except (RefusedError, UnreachableError) as exc:
            raise UriError(str(exc)) from exc
        return Fetched(path)
    raise UriError(f"{parts.scheme}: is not read here: give file, http or https")


def _inside(name: str, roots: Sequence[Path], folder: Path) -> Fetched:
    """Open the file and check where it really is, after all links; a missing and a hidden file get the same answer."""
    try:
        file, real = open_below(Path(name), roots)
    except RefusedError as exc:
        raise UriError(f"{name} is not a video below a folder that may be read (HEADHUNT_URI_ROOTS)") from exc
    return Fetched(link_to(file, folder, real.name), file)


def _allowed(uri: str, hosts: Sequence[str]) -> Endpoint:
    try:
        endpoint = parse_endpoint(uri)
    except ValueError as exc:
        raise UriError(f"this is not a host that videos may come from ({exc}): see HEADHUNT_URI_HOSTS") from exc
    shown = endpoint.shown
    is_usual_port = endpoint.port == PORTS[endpoint.scheme]
    names = {f"{shown}:{endpoint.port}"} | ({endpoint.host, shown} if is_usual_port else set())
    if not names & {host.lower() for host in hosts}:
        raise UriError(f"{shown} is not a host that videos may come from (HEADHUNT_URI_HOSTS)")
    return endpoint
