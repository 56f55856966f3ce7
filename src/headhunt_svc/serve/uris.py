"""Videos that a request names by URI: files below allowed folders, downloads from allowed hosts."""

import asyncio
import ipaddress
import os
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

import httpx

from headhunt_svc.errors import VideoError
from headhunt_svc.names import unescape
from headhunt_svc.serve.problems import Problem
from headhunt_svc.settings import Settings
from headhunt_svc.storage.addresses import PrivateAddressError, resolve_address
from headhunt_svc.video.container import open_file

_TIMEOUT_S = 30.0
_PORTS = {"http": 80, "https": 443}


class UriError(Problem):
    """A URI that may not be read, or cannot."""

    def __init__(self, detail: str) -> None:
        super().__init__(422, "uri", detail)


async def fetch(uri: str, folder: Path, settings: Settings) -> Path:
    """Resolve a file URI or absolute path below one of `uri_roots`, or download from one of `uri_hosts` to `folder`.

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
        return await asyncio.to_thread(_inside, name, settings.uri_roots)
    if parts.scheme in _PORTS:
        return await _download(parts, settings.uri_hosts, folder, settings.max_upload_bytes)
    raise UriError(f"{parts.scheme}: is not read here: give file, http or https")


def _inside(name: str, roots: Sequence[Path]) -> Path:
    """Open the file and check where it really is, after all links; a missing and a hidden file get the same answer."""
    refused = UriError(f"{name} is not a video below a folder that may be read (HEADHUNT_URI_ROOTS)")
    path = Path(name)
    if not path.is_absolute() or ".." in path.parts or "\0" in name:
        raise refused
    allowed = [root.resolve() for root in roots]
    try:
        if not any(path.resolve().is_relative_to(root) for root in allowed):
            raise refused  # before anything is opened
        fd = open_file(path)
    except (OSError, RuntimeError, VideoError) as exc:
        raise refused from exc
    try:
        opened = Path(f"/proc/self/fd/{fd}").resolve()
    finally:
        os.close(fd)
    if not any(opened.is_relative_to(root) for root in allowed):
        raise refused
    return opened


def _allowed(parts: urllib.parse.SplitResult, hosts: Sequence[str]) -> tuple[str, int]:
    host, port = (parts.hostname or "").lower(), parts.port or _PORTS[parts.scheme]
    shown = f"[{host}]" if ":" in host else host
    named = {f"{shown}:{port}"} | ({host, shown} if port == _PORTS[parts.scheme] else set())
    if parts.username is not None or not host or not named & {h.lower() for h in hosts}:
        raise UriError(f"{shown or 'this host'} is not a host that videos may come from (HEADHUNT_URI_HOSTS)")
    return host, port


async def _address(host: str, port: int) -> str:
    """The address to connect to; a host that is listed as an address may be a private one."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return await asyncio.to_thread(resolve_address, host, port)
    except PrivateAddressError as exc:
        way_out = "list its address in HEADHUNT_URI_HOSTS if that is meant"
        raise UriError(f"{host} is inside this network; {way_out}") from exc
    except OSError as exc:
        raise UriError(f"{host} has no address") from exc


async def _download(parts: urllib.parse.SplitResult, hosts: Sequence[str], folder: Path, limit_bytes: int) -> Path:
    host, port = _allowed(parts, hosts)
    address = await _address(host, port)
    url = httpx.URL(urllib.parse.urlunsplit(parts._replace(fragment=""))).copy_with(host=address)
    headers = {"Host": parts.netloc, "Accept-Encoding": "identity"}
    path = folder / f"from-host{Path(urllib.parse.unquote(parts.path)).suffix[:8]}"
    try:
        async with (
            httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=_TIMEOUT_S) as client,
            client.stream("GET", url, headers=headers, extensions={"sni_hostname": host}) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise UriError(f"{host} answered {response.status_code}; redirects are not followed")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise UriError(f"{host} sends the video compressed; it is read as it is only")
            await _store(response, path, limit_bytes)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        path.unlink(missing_ok=True)
        raise UriError(f"{host} cannot be read ({type(exc).__name__})") from exc
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


async def _store(response: httpx.Response, path: Path, limit_bytes: int) -> None:
    too_large = UriError(f"the video is longer than {limit_bytes} bytes")
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise too_large
    with path.open("xb") as f:
        async for chunk in response.aiter_raw():
            if f.tell() + len(chunk) > limit_bytes:
                raise too_large
            f.write(chunk)
