import base64
import contextlib
import hashlib
import hmac
import json
import re
import runpy
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from conftest import ROOT
from headhunt_svc.errors import ConfigError
from headhunt_svc.notify import webhooks
from headhunt_svc.notify.webhooks import check_url, post
from headhunt_svc.settings import JobSettings

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def settings(**more: object) -> JobSettings:
    values = {"webhook_hosts": ["127.0.0.1", "localhost"], "webhook_secret": SECRET, **more}
    return JobSettings.model_validate(values)


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]], list[int]]]:
    got: list[tuple[dict[str, str], bytes]] = []
    answers: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((dict(self.headers), body))
            self.send_response(answers.pop(0) if answers else 204)
            self.send_header("Location", "http://localhost:1/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook?x=1", got, answers
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_is_signed_over_its_id_time_and_body(receiver) -> None:
    url, got, _ = receiver
    post(url, {"event": "finished", "video_id": "höf.mp4"}, "job/0/hook", settings(webhook_private=True))
    headers, body = got[0]
    assert json.loads(body) == {"event": "finished", "video_id": "höf.mp4"}
    assert headers["webhook-id"] == "job/0/hook"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    signed = f"job/0/hook.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"


def test_the_receiver_in_the_documentation_accepts_what_is_sent_and_nothing_else(receiver, tmp_path: Path) -> None:
    url, got, _ = receiver
    post(url, {"event": "finished"}, "delivery-1", settings(webhook_private=True))
    headers, body = got[0]
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "jobs.md").read_text(), re.DOTALL)
    (tmp_path / "receiver.py").write_text(snippet)
    received = runpy.run_path(str(tmp_path / "receiver.py"))["received"]
    assert received(body, headers, SECRET) == {"event": "finished"}
    old = str(int(time.time()) - 3600)
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    for changed in (
        (body + b" ", headers, SECRET),
        (body, {**headers, "webhook-id": "delivery-2"}, SECRET),
        (body, {**headers, "webhook-timestamp": old}, SECRET),
        (body, headers, other),
    ):
        with pytest.raises(WebhookVerificationError):
            received(*changed)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_that_is_not_2xx_is_a_failed_attempt_and_redirects_are_not_followed(receiver, status: int) -> None:
    url, got, answers = receiver
    answers.append(status)
    with pytest.raises(OSError, match=f"answered {status}"):
        post(url, {}, "d", settings(webhook_private=True))
    assert len(got) == 1


def test_private_addresses_are_refused_unless_allowed(receiver) -> None:
    url, got, _ = receiver
    for at in (url, url.replace("127.0.0.1", "localhost")):
        with pytest.raises(ConfigError, match="private address"):
            post(at, {}, "d", settings())
    assert got == []


def test_hosts_that_are_not_listed_and_missing_secrets_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"may not go to example\.org"):
        check_url("https://example.org/", settings())
    with pytest.raises(ConfigError, match="set HEADHUNT_JOBS_WEBHOOK_SECRET"):
        check_url("http://localhost/", settings(webhook_secret=None))


@pytest.mark.parametrize(
    "secret", ["key", KEY.hex(), "whsec_", "whsec_" + base64.b64encode(KEY[:23]).decode(), "whsec_" + 40 * "!"]
)
def test_a_secret_that_receivers_could_not_use_is_refused(secret: str) -> None:
    with pytest.raises(ConfigError, match="24 to 64 bytes in base64"):
        check_url("http://localhost/", settings(webhook_secret=secret))


@pytest.mark.parametrize(
    "url",
    [
        "http://[::",
        "https://localhost:99999/",
        "https://localhost:x/",
        "https://user:pass@localhost/",
        "https://localhost/a b",
        "https://localhost/\u00e4",
        "https://localhost/a\r\nX: y",
    ],
)
def test_a_url_that_cannot_be_called_is_refused_when_the_job_is_submitted(url: str) -> None:
    with pytest.raises(ConfigError, match="no URL that can be called"):
        check_url(url, settings())


def test_hosts_are_compared_without_their_case() -> None:
    assert check_url("https://LOCALHOST/x", settings(webhook_hosts=["LocalHost"])).host == "localhost"


def test_a_receiver_that_answers_byte_by_byte_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MOST_S", 0.5)
    is_over = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not is_over.wait(0.1):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,), daemon=True)
        thread.start()
        threading.Timer(5, is_over.set).start()  # the test ends, whatever happens
        url, began = f"http://127.0.0.1:{server.getsockname()[1]}/", time.monotonic()
        with pytest.raises(TimeoutError, match=r"within 0\.5 s"):
            post(url, {}, "id", settings(webhook_private=True))
        assert time.monotonic() - began < 3
        is_over.set()
        thread.join()
