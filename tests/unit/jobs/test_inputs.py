import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from fsspec.exceptions import FSTimeoutError
from fsspec.implementations.memory import MemoryFileSystem

from headhunt_svc.errors import ConfigError, UnreachableError, VideoLimitError, VideoOpenError
from headhunt_svc.jobs.inputs import StoppedError, expand, local, within
from headhunt_svc.jobs.models import JobVideo


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    for name in ("a/one.mp4", "b/one.mp4", "b/two.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(*inputs: object) -> list[str]:
    return [v.video_id for v in expand([str(i) for i in inputs])]


def test_a_folder_names_videos_by_their_path_below_it(footage: Path) -> None:
    assert names(footage) == ["a/one.mp4", "b/one.mp4", "b/two.mp4"]


def test_a_glob_names_videos_by_file_and_the_same_names_with_their_folders(footage: Path) -> None:
    assert names(footage / "*" / "*.mp4") == ["a/one.mp4", "b/one.mp4", "two.mp4"]


def test_manifests_are_csv_or_json_lines_with_paths_beside_them(footage: Path) -> None:
    (footage / "m.csv").write_text("path,video_id\na/one.mp4,gate\nb/two.mp4,\n")
    lines = [{"uri": "a/one.mp4", "video_id": "gate"}, {"uri": "b/two.mp4"}]
    (footage / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert expand([str(footage / "m.csv")]) == expand([str(footage / "m.jsonl")])
    assert names(footage / "m.csv") == ["gate", "two.mp4"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("M.CSV", "\ufeffPath;Video_ID;Notes\na/one.mp4;7;1,5 h\nb/two.mp4;;\n"),
        (
            "M.Jsonl",
            '\ufeff{"path": "a/one.mp4", "video_id": 7}\n\n{"uri": null, "path": "b/two.mp4", "camera": [1]}\n',
        ),
    ],
)
def test_manifests_as_spreadsheets_and_programs_write_them(footage: Path, name: str, text: str) -> None:
    (footage / name).write_text(text)
    assert names(footage / name) == ["7", "two.mp4"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("m.csv", "video\nx\n", "m.csv:1: the header must be uri,path,video_id"),
        ("m.jsonl", '{"path": ""}\n["a.mp4"]\n', "m.jsonl:1: uri and path are both empty; .*m.jsonl:2: Input should"),
        ("m.csv", "video_id,path\na,\nb,x.mp4\nc,\n", "m.csv:2: uri and path are both empty; .*m.csv:4: uri and"),
    ],
)
def test_a_manifest_that_is_none_is_named(footage: Path, name: str, text: str, says: str) -> None:
    (footage / name).write_text(text)
    with pytest.raises(ConfigError, match=f"{name} is no manifest .*{says}"):
        expand([str(footage / name)])


def test_nothing_found_and_the_same_video_twice_are_errors(footage: Path) -> None:
    with pytest.raises(ConfigError, match="matches no video"):
        expand([str(footage / "*.avi")])
    with pytest.raises(ConfigError, match="listed 2 times"):
        expand([str(footage / "a/one.mp4"), str(footage / "a" / "*.mp4")])


def test_over_http_only_what_lies_below_the_roots_is_read(footage: Path) -> None:
    (footage / "a" / "link.mp4").symlink_to(footage / "b" / "two.mp4")
    allowed = within([footage / "a"], ["s3://bucket/archive/"])
    assert [v.video_id for v in expand([str(footage / "a" / "one.mp4")], allowed)] == ["one.mp4"]
    assert allowed("s3://bucket/archive/1.mp4")
    assert allowed("upload:" + 64 * "0")
    for refused in ("a/link.mp4", "b/two.mp4", "a/../b/two.mp4"):
        with pytest.raises(ConfigError, match="may read"):
            expand([str(footage / refused)], allowed)
    for uri in ("s3://bucket/other/1.mp4", "s3://bucket/archive/../secret.mp4", "file:///etc/passwd", "/etc/passwd"):
        assert not allowed(uri)


def test_names_that_cannot_be_printed_are_file_uris(footage: Path) -> None:
    odd = footage / "a" / os.fsdecode(b"k\xfc\x1b[31m\n%20.mp4")
    odd.write_bytes(b"x")
    uri = f"file://{footage}/a/k%FC%1B%5B31m%0A%2520.mp4"
    video = JobVideo(uri=uri, video_id="k%FC%1B[31m%0A%2520.mp4")
    assert video in expand([str(footage / "a")])
    for text in (str(odd), uri, str(footage / "a" / "k*.mp4"), f"file://{footage}/a/k%2A.mp4"):
        assert expand([text]) == (video,)
    (footage / "m.csv").write_text(f"uri,video_id\n{uri},\n")
    assert expand([str(footage / "m.csv")]) == (video,)
    with local(uri, footage / "uploads") as path:
        assert path == odd
    assert JobVideo.model_validate_json(video.model_dump_json()) == video


def test_a_file_uri_is_read_below_the_roots_only(footage: Path) -> None:
    odd = footage / "a" / os.fsdecode(b"\xfc.mp4")
    odd.write_bytes(b"x")
    allowed = within([footage / "a"], ["file:///", "s3://bucket/"])
    assert [v.video_id for v in expand([str(footage / "a")], allowed)] == ["one.mp4", "%FC.mp4"]
    for path in ("b/two.mp4", "a/../b/two.mp4", "a/%2E%2E/b/two.mp4", "a%2F..%2Fb/two.mp4"):
        assert not allowed(f"file://{footage}/{path}")
        with pytest.raises(ConfigError, match="may read"):
            expand([f"file://{footage}/{path}"], allowed)


def test_a_name_that_is_too_long_for_any_file_is_one_bad_video(footage: Path) -> None:
    text = str(footage / ("v" * 300))
    assert [v.uri for v in expand([text])] == [text]


def test_a_manifest_cannot_lead_out_of_the_roots(footage: Path) -> None:
    (footage / "a" / "m.csv").write_text("path\n../b/two.mp4\n")
    with pytest.raises(ConfigError, match="may read"):
        expand([str(footage / "a" / "m.csv")], within([footage / "a"], []))


def test_what_a_manifest_names_above_it_is_read_within_the_roots(footage: Path) -> None:
    (footage / "a" / "m.csv").write_text("path\n../b/two.mp4\n")
    (video,) = expand([str(footage / "a" / "m.csv")], within([footage], []))
    with local(video.uri, footage, below=video.below) as path:
        assert path.read_bytes() == b"x"


def test_a_video_of_an_object_store_is_a_local_file_for_as_long_as_it_is_read(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/archive/x.mp4", b"pictures")
    assert names("memory://archive/*.mp4") == ["x.mp4"]
    with local("memory://archive/x.mp4", tmp_path) as path:
        assert path.read_bytes() == b"pictures"
    assert not path.exists()
    with pytest.raises(VideoOpenError, match="no such video"), local("memory://archive/y.mp4", tmp_path):
        pass


class LibraryError(Exception):
    """What the library of some store raises: no OSError."""


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (TimeoutError(), UnreachableError),
        (FSTimeoutError(), UnreachableError),
        (ConnectionResetError("gone"), UnreachableError),
        (LibraryError("503"), UnreachableError),
        (OSError(28, "No space left on device"), UnreachableError),
        (FileNotFoundError(), VideoOpenError),
        (PermissionError("no"), VideoOpenError),
        (ValueError("no such region"), VideoOpenError),
    ],
)
def test_what_may_pass_is_told_from_what_will_not(tmp_path: Path, error: Exception, meaning: type[Exception]) -> None:
    class Failing(MemoryFileSystem):
        def get_file(self, *_: object, **__: object) -> None:
            raise error

    fsspec.register_implementation("failing", Failing, clobber=True)
    with pytest.raises(meaning, match=r"failing://archive/x\.mp4"), local("failing://archive/x.mp4", tmp_path):
        pass


def test_a_download_is_ended_by_what_check_raises(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/archive/long.mp4", b"pictures")
    told = iter([None, StoppedError("cancelled")])

    def check() -> None:
        if error := next(told):
            raise error

    with pytest.raises(StoppedError, match="cancelled"), local("memory://archive/long.mp4", tmp_path, check):
        pass


# what comes over HTTP

PREFIXES = (
    "s3://bucket/day",
    "http://cameras.example/archive/",
    "https://other.example",
    "file:///srv/",
    "local:///srv/",
)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/day2/1.mp4",
        "s3://bucket/day/../secret.mp4",
        "s3://bucket/day/%2e%2e/secret.mp4",
        "s3://bucket/day/%252e%252e/secret.mp4",
        "s3://bucket/day/..%2fsecret.mp4",
        "s3://bucket/day/..\\secret.mp4",
        "s3://bucket/day/..;x/secret.mp4",
        "s3://bucket/day/a.zip::file:///etc/passwd",
        "s3://user@bucket/day/1.mp4",
        "s3://buck*/day/1.mp4",
        "http://cameras.example/archive/%2e%2e/secret.mp4",
        "http://cameras.example:81/archive/1.mp4",
        "http://cameras.example.evil.example/archive/1.mp4",
        "http://user:pass@cameras.example/archive/1.mp4",
        "https://cameras.example/archive/1.mp4",
        "https://other.example.evil.example/1.mp4",
        "https://other.example@evil.example/1.mp4",
        "https://other.example\\@evil.example/1.mp4",
        "http://[::/archive/1.mp4",
        "file:///srv/1.mp4",
        "local:///srv/1.mp4",
        "FILE:///srv/1.mp4",
        "upload:../../etc/passwd",
        "upload:",
    ],
)
def test_no_uri_leaves_its_prefix(uri: str) -> None:
    allowed = within([], PREFIXES)
    assert allowed(uri) is None
    with pytest.raises(ConfigError, match="may read"):
        expand([uri], allowed)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/day/1.mp4",
        "s3://bucket/day/a b..c/50%.mp4",
        "http://CAMERAS.example:80/archive/1.mp4?token=1",
        "https://other.example/x/1.mp4",
        f"upload:{64 * 'a'}",
    ],
)
def test_what_is_below_a_prefix_is_allowed(uri: str) -> None:
    (video,) = expand([uri], within([], PREFIXES))
    assert video.uri == uri
    assert video.below in (*PREFIXES, "upload:")


@pytest.mark.parametrize(
    "text",
    [
        "{}/a/loop.mp4",
        "{}/a/loop/*.mp4",
        "file://{}/a/x%00.mp4",
        "{}/a/*/" + 1000 * "y/" + "*",
        "{}/a/" + 300 * "x" + "*",
        "{}/a/**/**/*.mp4",
        "{}/a/fifo.csv",
        "{}/a/nothing.csv",
        "{}/a/folder.csv",
        "{}/a/one.mp4/*",
    ],
)
def test_an_input_that_cannot_be_read_is_a_named_error(footage: Path, text: str) -> None:
    (footage / "a" / "loop.mp4").symlink_to("loop.mp4")
    (footage / "a" / "loop").symlink_to("loop")
    (footage / "a" / "folder.csv").mkdir()
    os.mkfifo(footage / "a" / "fifo.csv")
    with pytest.raises(ConfigError):
        expand([text.format(footage)], within([footage / "a"], []))


def test_a_refusal_does_not_tell_what_lies_elsewhere_or_in_a_file(footage: Path) -> None:
    (footage / "a" / "link").symlink_to(footage / "b")
    (footage / "a" / "m.csv").write_text("path\n../b/a-secret\n")
    refusals = set()
    for text in ("link/two.mp4", "link/nothing.mp4", "li*k/tw*", "li*k/noth*", "m.csv"):
        with pytest.raises(ConfigError, match="that jobs may read") as raised:
            expand([f"{footage}/a/{text}"], within([footage / "a"], []))
        refusals.add(str(raised.value).replace(text, "x").replace("matches no video", "is not"))
    assert len(refusals) == 1
    assert "secret" not in refusals.pop()


def test_a_manifest_row_that_no_job_can_name_is_an_error_of_the_input(footage: Path) -> None:
    for uri in ("s3://x/" + 20_000 * "y", "s3://x/a\nb.mp4"):
        (footage / "m.jsonl").write_text(json.dumps({"uri": uri}))
        with pytest.raises(ConfigError, match="the path, URI or name of a video"):
            expand([str(footage / "m.jsonl")])


def test_a_path_that_is_none_is_an_error_on_the_command_line_too() -> None:
    assert expand(["file:///a%00b.mp4"])[0].video_id == "a%00b.mp4"


def test_a_file_that_was_exchanged_for_a_link_is_not_read_from_elsewhere(footage: Path) -> None:
    (video,) = expand([f"{footage}/a/one.mp4"], within([footage / "a"], []))
    assert video.below == str(footage / "a")
    with local(video.uri, footage, below=video.below) as path:
        (footage / "a" / "one.mp4").unlink()
        (footage / "a" / "one.mp4").symlink_to(footage / "b" / "two.mp4")
        (footage / "b" / "two.mp4").write_bytes(b"secret")
        assert path.read_bytes() == b"x"
        with pytest.raises(VideoOpenError, match=f"^{footage}/a/one.mp4: broken"), local(video.uri, footage) as path:
            raise VideoOpenError(f"{path}: broken")
    (footage / "a" / "two.mp4").write_bytes(b"y")
    for name in ("one.mp4", "nothing.mp4"):
        with pytest.raises(VideoOpenError, match="no such video"):
            with local(f"{footage}/a/{name}", footage, below=video.below):
                pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.requests.append(self.path)
            moved = self.path == "/archive/moved.mp4"
            status = 302 if moved else 503 if self.path == "/archive/busy.mp4" else 200
            self.send_response(status)
            if moved:
                self.send_header("Location", "/secret.mp4")
            self.send_header("Content-Length", "8")
            self.end_headers()
            self.wfile.write(b"pictures")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_host_of_a_job_over_http_cannot_lead_elsewhere(tmp_path: Path, server: ThreadingHTTPServer) -> None:
    below = f"http://127.0.0.1:{server.server_port}/archive/"

    def read(name: str, limit: int = 100, host: str = "127.0.0.1") -> bytes:
        limits = {"below": below.replace("127.0.0.1", host), "limit_bytes": limit}
        with local(f"{below}{name}".replace("127.0.0.1", host), tmp_path, **limits) as path:
            return path.read_bytes()

    assert read("1.mp4") == b"pictures"
    for name, limit, host, error, says in (
        ("moved.mp4", 100, "127.0.0.1", VideoOpenError, "redirects are not followed"),
        ("busy.mp4", 100, "127.0.0.1", UnreachableError, "answered 503"),
        ("1.mp4", 7, "127.0.0.1", VideoOpenError, "longer than 7 bytes"),
        ("1.mp4", 100, "localhost", VideoOpenError, "inside this network"),
        ("%2e%2e/1.mp4", 100, "127.0.0.1", VideoOpenError, "allowed to read"),
    ):
        with pytest.raises(error, match=says):
            read(name, limit, host)
    assert server.requests == ["/archive/1.mp4", "/archive/moved.mp4", "/archive/busy.mp4", "/archive/1.mp4"]


def test_a_video_of_a_store_has_a_limit_in_jobs_over_http(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/limited/x.mp4", b"pictures")
    with local("memory://limited/x.mp4", tmp_path, below="memory://limited", limit_bytes=8) as path:
        assert path.read_bytes() == b"pictures"
    with (
        pytest.raises(VideoLimitError, match="longer than 7 bytes"),
        local("memory://limited/x.mp4", tmp_path, below="memory://limited", limit_bytes=7),
    ):
        pass
    with local("memory://limited/x.mp4", tmp_path, limit_bytes=7) as path:  # the user's own
        assert path.read_bytes() == b"pictures"
