import socket

import pytest

from headhunt_svc.storage.addresses import PrivateAddressError, is_public, parse_endpoint, resolve_address


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


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b::a00:1",  # NAT64 of 10.0.0.1
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",  # NAT64 of a local network
        "2002:a00:1::",  # 6to4 of 10.0.0.1
        "2001:0:a00:1::",  # Teredo
        "::10.0.0.1",
        "::ffff:0:10.0.0.1",
        "2001:4860::5efe:10.0.0.1",  # ISATAP
        "fec0::1",
        "ff02::1",
        "224.0.0.1",
        "192.88.99.1",
        "5f00::1",
    ],
)
def test_an_address_that_stands_for_a_private_one_is_private(address: str) -> None:
    with pytest.raises(PrivateAddressError):
        resolve_address(address, 80)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_public_addresses_stay_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://[::",
        "http://a.example:99999/",
        "http://a.example:0/",
        "http://a.example:x/",
        "http://user:pass@a.example/",
        "http://a.example\\@b.example/",
        "http://a.example/a b",
        "http://a.example/a\nb",
        "http://",
        "http:///x",
        "ftp://a.example/",
        "",
    ],
)
def test_a_url_that_is_none_is_refused_with_a_reason(url: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_endpoint(url)
    assert str(raised.value)


def test_the_parts_of_a_url() -> None:
    endpoint = parse_endpoint("https://A.Example?x=1#y")
    assert (endpoint.host, endpoint.port, endpoint.target) == ("a.example", 443, "/?x=1")
    assert parse_endpoint("http://[2001:db8::1]:81/a").shown == "[2001:db8::1]"
