import socket

import pytest

from headhunt_svc.storage.addresses import PrivateAddressError, resolve_address


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%lo", "::ffff:10.0.0.1", "0.0.0.0", "localhost"]
)
def test_private_addresses_are_refused_unless_allowed(host: str) -> None:
    with pytest.raises(PrivateAddressError, match=f"{host} is the private address"):
        resolve_address(host, 80)
    assert resolve_address(host, 80, allow_private=True)


def test_a_public_address_is_returned() -> None:
    assert resolve_address("8.8.8.8", 443) == "8.8.8.8"


def test_one_private_address_among_several_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("8.8.8.8", "192.168.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)
    with pytest.raises(PrivateAddressError, match=r"cameras\.example is the private address 192\.168\.0\.1"):
        resolve_address("cameras.example", 80)


@pytest.mark.parametrize("host", ["nobody.invalid", "a..b", "x" * 70])
def test_a_host_without_an_address_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError):
        resolve_address(host, 80)
