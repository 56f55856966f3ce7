"""Checks of addresses that somebody else names: URLs as they are meant, hosts resolved once, no private networks."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from headhunt_svc.errors import HeadHuntError

PORTS = {"http": 80, "https": 443}
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # a public IPv4 address behind a translator, as DNS64 gives it
_ISATAP = (0x00005EFE, 0x02005EFE)  # the IPv4 address of a tunnel's end follows
# set aside or given up (RFC 7526, 6052, 4380, 9637, 9602), which not every version of `ipaddress` knows
_NOT_PUBLIC = tuple(
    map(ipaddress.ip_network, ("192.88.99.0/24", "2001::/32", "2002::/16", "3ffe::/16", "3fff::/20", "5f00::/16"))
)


class PrivateAddressError(HeadHuntError):
    """A host resolves to an address that is not public; the message is `HOST is the private address ADDRESS`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What an http or https URL names: the host in small letters, its port, and the path with the query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def shown(self) -> str:
        """The host as a URL has it: an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_endpoint(url: str) -> Endpoint:
    """The parts of an http or https URL. Raises ValueError with the reason, which does not repeat the URL."""
    if not url.isprintable() or any(character in url for character in " \\"):
        raise ValueError("it has spaces, backslashes or characters that cannot be printed")
    parts = urlsplit(url)
    scheme, port = parts.scheme, parts.port  # raises for a port that is no number up to 65535
    if scheme not in PORTS:
        raise ValueError("it is neither http nor https")
    if parts.username is not None:
        raise ValueError("it holds a user name")
    if not parts.hostname:
        raise ValueError("it names no host")
    if port == 0:
        raise ValueError("port 0 is none")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(scheme, parts.hostname, port or PORTS[scheme], target)


def is_public(address: str) -> bool:
    """Whether an address is one host of the public internet, also where an IPv6 address stands for an IPv4 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        number = int(ip)
        if ip.ipv4_mapped is not None or ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(number & 0xFFFFFFFF)))
        if ip not in _UNICAST or (number >> 32) & 0xFFFFFFFF in _ISATAP:
            return False
    is_set_aside = any(ip in network for network in _NOT_PUBLIC if network.version == ip.version)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not is_set_aside


def resolve_address(host: str, port: int, *, allow_private: bool = False) -> str:
    """Resolve a host name or IP literal to one address, checked; connect to it and do not resolve again.

    A name that is resolved twice may lead elsewhere the second time (DNS rebinding). All of its addresses are checked.

    Raises:
        PrivateAddressError: one of the addresses is not public (private, loopback, link-local, reserved, multicast).
        OSError: the host has no address.
    """
    try:
        addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (UnicodeError, OverflowError, ValueError) as exc:
        raise OSError(f"{host} is not a host name") from exc
    for address in addresses:
        if not allow_private and not is_public(address):
            raise PrivateAddressError(f"{host} is the private address {address}")
    return addresses[0]
