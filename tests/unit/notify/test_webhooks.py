import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from headhunt_svc.errors import ConfigError
from headhunt_svc.notify.webhooks import check_host, post
from headhunt_svc.settings import JobSettings


def settings(**more: object) -> JobSettings:
    about = {"webhook_hosts": ["127.0.0.1", "localhost"], "webhook_secret": "key", **more}
    return JobSettings.model_validate(about)


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


def test_a_webhook_is_signed_over_its_time_and_body(receiver) -> None:
    url, got, _ = receiver
    post(url, {"event": "finished"}, "delivery-1", settings(webhook_private=True))
    headers, body = got[0]
    assert json.loads(body) == {"event": "finished"}
    assert headers["X-HeadHunt-Delivery"] == "delivery-1"
    at, given = (part.split("=")[1] for part in headers["X-HeadHunt-Signature"].split(","))
    assert given == hmac.new(b"key", at.encode() + b"." + body, hashlib.sha256).hexdigest()


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
        check_host("https://example.org/", settings())
    with pytest.raises(ConfigError, match="set HEADHUNT_JOBS_WEBHOOK_SECRET"):
        check_host("http://localhost/", settings(webhook_secret=None))
