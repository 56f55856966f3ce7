"""Downloads from hosts that somebody else names: one checked address, no redirects, a limit of bytes."""

import asyncio
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urldefrag

from headhunt_svc.errors import UnreachableError
from headhunt_svc.storage.addresses import PrivateAddressError, parse_endpoint, resolve_address
from headhunt_svc.storage.boundaries import RefusedError

if TYPE_CHECKING:
    import httpx

_TIMEOUT_S = 30.0
_MAY_PASS = frozenset({408, 425, 429})  # and 5xx: the host may answer later


async def download(url: str, path: Path, limit_bytes: int, check: Callable[[], object] = lambda: None) -> None:
    """Save what an http or https URL leads to; the caller has checked that its host may be asked.

    A host that is named as an address may be a private one: listing it says so. check: called for each part that
    arrives, and ends the download by raising.

    Raises:
        RefusedError: not a URL, a private host, another answer than the file, or more than limit_bytes.
        UnreachableError: the host has no address, or does not answer; may work later.
    """
    import httpx  # takes a while to import

    try:
        endpoint = parse_endpoint(url)
    except ValueError as exc:
        raise RefusedError(f"not a URL ({exc})") from exc
    host = endpoint.shown
    address = await _address(endpoint.host, endpoint.port)
    try:
        named = httpx.URL(urldefrag(url).url)  # a host of other letters than ASCII's is written as xn--...
        headers = {"Host": named.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        names = {"sni_hostname": named.raw_host.decode("ascii")}
        async with (
            httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=_TIMEOUT_S) as client,
            client.stream("GET", named.copy_with(host=address), headers=headers, extensions=names) as response,
        ):
            _check_answer(response, host)
            await _store(response, path, limit_bytes, check)
    except httpx.InvalidURL as exc:
        path.unlink(missing_ok=True)
        raise RefusedError("not a URL") from exc
    except httpx.HTTPError as exc:
        path.unlink(missing_ok=True)
        raise UnreachableError(f"{host} cannot be read ({type(exc).__name__}): try again later") from exc
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def _address(host: str, port: int) -> str:
    """The address to connect to; a host that is listed as an address may be a private one."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return await asyncio.to_thread(resolve_address, host, port)
    except PrivateAddressError as exc:
        raise RefusedError(f"{host} is inside this network: list its address, not its name, if that is meant") from exc
    except OSError as exc:
        raise UnreachableError(f"{host} has no address: try again later") from exc


def _check_answer(response: "httpx.Response", host: str) -> None:
    status = response.status_code
    if status in _MAY_PASS or status >= 500:
        raise UnreachableError(f"{host} answered {status}: try again later")
    if status != 200:
        raise RefusedError(f"{host} answered {status}; redirects are not followed")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise RefusedError(f"{host} sends the video compressed; it is read as it is only")


async def _store(response: "httpx.Response", path: Path, limit_bytes: int, check: Callable[[], object]) -> None:
    too_large = RefusedError(f"the video is longer than {limit_bytes} bytes")
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise too_large
    with path.open("xb") as f:
        async for chunk in response.aiter_raw():
            check()
            if f.tell() + len(chunk) > limit_bytes:
                raise too_large
            f.write(chunk)
