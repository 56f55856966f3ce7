"""The one address check for hosts that a request names: resolve once, refuse private networks."""

import ipaddress
import socket

from headhunt_svc.errors import HeadHuntError


class PrivateAddressError(HeadHuntError):
    """A host resolves to an address that is not public; the message is `HOST is the private address ADDRESS`."""


def resolve_address(host: str, port: int, *, allow_private: bool = False) -> str:
    """Resolve a host name or IP literal to one address, checked; connect to it and do not resolve again.

    A name that is resolved twice may lead elsewhere the second time (DNS rebinding). All of its addresses are checked.

    Raises:
        PrivateAddressError: one of the addresses is not public (private, loopback, link-local, reserved).
        OSError: the host has no address.
    """
    try:
        addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except UnicodeError as exc:
        raise OSError(f"{host} is not a host name") from exc
    for address in addresses:
        if not allow_private and not ipaddress.ip_address(address.partition("%")[0]).is_global:
            raise PrivateAddressError(f"{host} is the private address {address}")
    return addresses[0]
