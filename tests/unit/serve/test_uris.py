import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headhunt_svc.serve.uris import UriError, fetch
from headhunt_svc.settings import Settings
from headhunt_svc.storage import download

VIDEO = bytes(range(256)) * 40


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "sub" / "a b.mp4").write_bytes(VIDEO)
    (tmp_path / "secret.mp4").write_bytes(VIDEO)
    (tmp_path / "root-of-others").mkdir()
    (tmp_path / "root-of-others" / "a.mp4").write_bytes(VIDEO)
    (tmp_path / "root" / "file-link.mp4").symlink_to(tmp_path / "secret.mp4")
    (tmp_path / "root" / "folder-link").symlink_to(tmp_path)
    (tmp_path / "root" / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "root" / "fine.mp4").symlink_to(tmp_path / "root" / "sub" / "a b.mp4")
    os.mkfifo(tmp_path / "root" / "fifo.mp4")
    return tmp_path / "root"


def resolve(uri: str, root: Path, hosts: tuple[str, ...] = (), limit: int = 2**20) -> Path:
    folder = root.parent / "downloads"
    folder.mkdir(exist_ok=True)
    settings = Settings(uri_roots=(root,), uri_hosts=hosts, max_upload_bytes=limit)
    fetched = asyncio.run(fetch(uri, folder, settings))
    path = fetched.path.resolve()
    if fetched.file is not None:
        fetched.file.close()
    return path


@pytest.mark.parametrize(
    "form", ["file://{}/sub/a%20b.mp4", "file://localhost{}/sub/a%20b.mp4", "{}/sub/a b.mp4", "{}/fine.mp4"]
)
def test_a_file_below_a_root_is_found(root: Path, form: str) -> None:
    assert resolve(form.format(root), root) == root / "sub" / "a b.mp4"


@pytest.mark.parametrize(
    "form",
    [
        "{}/../secret.mp4",
        "file://{}/../secret.mp4",
        "file://{}/%2e%2e/secret.mp4",
        "file://{}/sub/..%2f..%2fsecret.mp4",
        "{}/file-link.mp4",
        "{}/folder-link/secret.mp4",
        "{}/loop.mp4",
        "{}/fifo.mp4",
        "{}/sub",
        "{}",
        "{}-of-others/a.mp4",
        "{}/nothing.mp4",
        "file://{}/sub/a%00b.mp4",
        "/etc/passwd",
        "file:///etc/passwd",
        "file:///proc/self/environ",
        "sub/a b.mp4",
        "file:sub/a.mp4",
        "",
        "file://other.example{}/sub/a%20b.mp4",
        "file://{}/sub/a%20b.mp4?x=1",
        "concat:{}/fine.mp4",
        "ftp://x/y.mp4",
        "data:video/mp4;base64,AAAA",
        "http://[::1",
        "x" * 5000,
        "file:///a\nb",
    ],
)
def test_anything_else_is_refused(root: Path, form: str) -> None:
    with pytest.raises(UriError):
        resolve(form.format(root), root)


def test_a_file_that_is_exchanged_after_it_was_checked_is_not_read(root: Path) -> None:
    (root.parent / "downloads").mkdir()
    fetched = asyncio.run(fetch(f"{root}/fine.mp4", root.parent / "downloads", Settings(uri_roots=(root,))))
    (root.parent / "secret.mp4").write_bytes(b"secret")
    for path in (root / "fine.mp4", root / "sub" / "a b.mp4"):
        path.unlink()
        path.symlink_to(root.parent / "secret.mp4")
    assert fetched.path.read_bytes() == VIDEO
    fetched.file.close()


def test_what_is_hidden_and_what_is_missing_look_the_same(root: Path) -> None:
    said = []
    for name in ("secret.mp4", "nothing.mp4"):
        with pytest.raises(UriError) as raised:
            resolve(f"{root.parent}/{name}", root)
        said.append(str(raised.value).replace(name, "x"))
    assert said[0] == said[1]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Host"], self.headers.get("Authorization")))
        if self.path == "/moved.mp4":
            self.send_response(302)
            self.send_header("Location", "/a.mp4")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none.mp4" else 200)
        if self.path == "/zip.mp4":
            self.send_header("Content-Encoding", "gzip")
        if self.path != "/unsaid.mp4":
            self.send_header("Content-Length", str(len(VIDEO)))
        self.end_headers()
        self.wfile.write(VIDEO)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_listed_host_is_downloaded_from(root: Path, server: ThreadingHTTPServer) -> None:
    host = f"127.0.0.1:{server.server_port}"
    got = resolve(f"http://{host}/a.mp4?token=1#x", root, (host,))
    assert got.read_bytes() == VIDEO
    assert server.asked == [("/a.mp4?token=1", host, None)]


@pytest.mark.parametrize(
    ("path", "limit", "says"),
    [
        ("/moved.mp4", 2**20, "answered 302; redirects"),
        ("/none.mp4", 2**20, "answered 404"),
        ("/zip.mp4", 2**20, "compressed"),
        ("/a.mp4", 1000, "longer than 1000 bytes"),
        ("/unsaid.mp4", 1000, "longer than 1000 bytes"),
    ],
)
def test_what_a_host_may_not_answer(root: Path, server: ThreadingHTTPServer, path: str, limit: int, says: str) -> None:
    host = f"127.0.0.1:{server.server_port}"
    with pytest.raises(UriError, match=says):
        resolve(f"http://{host}{path}", root, (host,), limit)
    assert list((root.parent / "downloads").iterdir()) == []


@pytest.mark.parametrize(
    "form",
    [
        "http://127.0.0.1:{}/a.mp4",
        "http://user:pass@127.0.0.1:{}/a.mp4",
        "http://localhost:{}/a.mp4",
        "http://0x7f000001:{}/a.mp4",
        "http://127.1:{}/a",
    ],
)
def test_other_hosts_are_not_asked(root: Path, server: ThreadingHTTPServer, form: str) -> None:
    with pytest.raises(UriError, match="not a host that videos may come from"):
        resolve(form.format(server.server_port), root, ("127.0.0.1", "cameras.example", "127.0.0.2:80"))
    assert server.asked == []


def test_a_listed_name_may_not_lead_inside(root: Path, server: ThreadingHTTPServer) -> None:
    host = f"localhost:{server.server_port}"
    with pytest.raises(UriError, match="is inside this network"):
        resolve(f"http://{host}/a.mp4", root, (host,))
    assert server.asked == []


def test_a_name_is_looked_up_once(root: Path, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a name means later cannot lead elsewhere: the address is in the request, the name in its Host line."""

    monkeypatch.setattr(download, "resolve_address", lambda host, port: "127.0.0.1")
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, _real=socket.getaddrinfo, **k: _real(numeric(host), *a, **k)
    )
    host = f"cameras.example:{server.server_port}"
    assert resolve(f"http://{host}/a.mp4", root, (host,)).read_bytes() == VIDEO
    assert server.asked[0][1] == host


def test_a_host_of_other_letters_than_those_of_ascii_is_asked(
    root: Path, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "resolve_address", lambda host, port: "127.0.0.1")
    host = f"höfe.example:{server.server_port}"
    assert resolve(f"http://{host}/a.mp4", root, (host,)).read_bytes() == VIDEO
    assert server.asked[0][1] == f"xn--hfe-sna.example:{server.server_port}"


def numeric(host: str | bytes) -> str | bytes:
    assert host in ("127.0.0.1", b"127.0.0.1")
    return host


def test_without_settings_nothing_is_fetched(root: Path) -> None:
    for uri in (f"file://{root}/fine.mp4", "http://127.0.0.1/a.mp4"):
        with pytest.raises(UriError):
            asyncio.run(fetch(uri, root.parent, Settings()))
    settings = Settings.model_validate({"uri_roots": f"/nowhere,{root}"})
    fetched = asyncio.run(fetch(f"file://{root}/fine.mp4", root.parent, settings))
    assert fetched.path.name == "a b.mp4"
    assert fetched.path.read_bytes() == VIDEO
    assert fetched.file is not None
    fetched.file.close()
