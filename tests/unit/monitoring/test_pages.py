"""Pages of the monitor: hostile names are text, foreign scripts do not run, foreign sites change nothing."""

import asyncio
import re
from collections.abc import MutableMapping
from typing import Any

import pytest

from headhunt_svc.monitoring.pages import Protected, hosts_of, policy, scripts_of, with_policy

PAGE = "<html><head><title>x</title></head><body><script>var a = 1</script><script>b()\r\n</script></body></html>"


def test_a_page_runs_its_own_scripts_and_loads_nothing() -> None:
    page = with_policy(PAGE)
    (rules,) = re.findall(r'<head>\s*<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    # printf 'var a = 1' | openssl dgst -sha256 -binary | base64; likewise 'b()\n', as browsers read it
    hashes = "'sha256-{}' 'sha256-{}'".format(
        "h1HrJPkDwnmmTjhElzuRBLDNtr5UPz5PinuqE+ovmj8=", "coNNbfmqp+okL86S9CsPdmsdHszSHUdBwS8D/cAVSiQ="
    )
    assert f"script-src {hashes};" in rules
    assert "default-src 'none'" in rules
    assert "unsafe-eval" not in rules
    assert "'unsafe-inline'" not in rules.split("script-src")[1].split(";")[0]
    assert policy([]).count("script-src 'none'") == 1
    assert scripts_of(page) == scripts_of(PAGE)


def ask(headers: dict[str, str], method: str = "GET", address: str = "127.0.0.1") -> tuple[int, dict[str, str]]:
    """The answer of a protected application: status and headers."""
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        given = [(b"content-type", b"text/html"), (b"X-Frame-Options", b"ALLOWALL")]
        await send({"type": "http.response.start", "status": 200, "headers": given})
        await send({"type": "http.response.body", "body": b"ok"})

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    scope = {"type": "http", "method": method, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}
    asyncio.run(Protected(app, policy([], "'self'"), hosts_of(address))(scope, receive, send))
    return sent[0]["status"], {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}


def test_every_answer_of_the_dashboard_has_the_policy() -> None:
    for host, status in (("127.0.0.1:8700", 200), ("evil.example", 403)):
        answer, headers = ask({"host": host})
        assert answer == status
        assert "script-src 'self';" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("address", "method", "host", "origin", "status"),
    [
        ("127.0.0.1", "GET", "localhost:8700", None, 200),
        ("::1", "GET", "[::1]:8700", None, 200),
        ("127.0.0.1", "GET", "rebound.example:8700", None, 403),  # a name that was made to lead to loopback
        ("127.0.0.1", "GET", "[::", None, 403),
        ("0.0.0.0", "GET", "monitor.example", None, 200),
        ("127.0.0.1", "POST", "127.0.0.1:8700", "http://127.0.0.1:8700", 200),
        ("127.0.0.1", "POST", "127.0.0.1:8700", None, 200),  # no browser
        ("127.0.0.1", "POST", "127.0.0.1:8700", "https://evil.example", 403),
        ("127.0.0.1", "DELETE", "127.0.0.1:8700", "null", 403),
        ("0.0.0.0", "PUT", "monitor.example", "http://evil.example", 403),
    ],
)
def test_other_sites_read_and_change_nothing(
    address: str, method: str, host: str, origin: str | None, status: int
) -> None:
    assert ask({"host": host} | ({"origin": origin} if origin else {}), method, address)[0] == status
