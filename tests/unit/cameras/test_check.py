"""The check of cameras with real sources: an RTSP server, an MJPEG stream over HTTP, files, folders, devices."""

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from conftest import ROOT, write_video
from headhunt_svc.cameras.check import CheckedCamera, check_camera, draw_masks
from headhunt_svc.cameras.config import Camera
from headhunt_svc.cli.main import app
from headhunt_svc.errors import VideoAccessError, VideoOpenError
from headhunt_svc.video.streams import StreamAddress, first_picture
from helpers.tools import NEEDS_RTSP, SYSTEM_PYTHON, has_gstreamer
from helpers.vanishing import removed_when_listed

RTSP_SERVER = ROOT / "tests" / "helpers" / "rtsp_server.py"
RED = [238, 14, 13]  # GStreamer's red, as JPEG
MASK = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))


@pytest.fixture(scope="module")
def rtsp() -> Iterator[tuple[str, str]]:
    """The ports of an open server and of one with a password."""
    if not has_gstreamer():
        pytest.skip(NEEDS_RTSP)
    with subprocess.Popen([SYSTEM_PYTHON, RTSP_SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        opened, closed = process.stdout.readline().split()
        yield opened, closed
        process.kill()


class _Mjpeg(BaseHTTPRequestHandler):
    """Sends the same picture again and again."""

    def do_GET(self) -> None:
        picture = BytesIO()
        Image.new("RGB", (64, 48), (0, 0, 250)).save(picture, "JPEG")
        part = b"--end\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture.getvalue())
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=end")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(part + picture.getvalue() + b"\r\n")

    def log_message(self, *args: object) -> None:
        """Nothing."""


def checked(source: Any, timeout_s: float = 5) -> CheckedCamera:
    return check_camera(Camera.model_validate({"name": "yard", "source": source}), timeout_s)


def problem(source: Any, timeout_s: float = 5) -> str:
    result = checked(source, timeout_s)
    assert result.picture is None
    assert result.problem is not None
    return result.problem


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_picture_of_rtsp(rtsp: tuple[str, str], transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YARD_PASSWORD", "a:b@c")
    url = f"rtsp://me:${{YARD_PASSWORD}}@127.0.0.1:{rtsp[1]}/red"
    result = checked({"kind": "rtsp", "url": url, "transport": transport})
    assert (result.problem, result.says) == (None, "160 x 120, mjpeg, 10 pictures per second")
    assert result.picture is not None
    np.testing.assert_allclose(result.picture.mean((0, 1)), RED, atol=3)


def test_what_rtsp_refuses_is_named_without_the_password(
    rtsp: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YARD_PASSWORD", "topsecret")
    host = f"me:${{YARD_PASSWORD}}@127.0.0.1:{rtsp[1]}"
    wrong = problem(f"rtsp://{host}/red")
    assert wrong == f"rtsp://{host}/red: user name or password is missing or wrong (401)"
    with pytest.raises(VideoAccessError):  # which is tried again less often than others
        first_picture(StreamAddress(f"rtsp://127.0.0.1:{rtsp[1]}/red", "the yard", "rtsp"), 5)
    with pytest.raises(VideoOpenError) as missing:
        first_picture(StreamAddress(f"rtsp://127.0.0.1:{rtsp[0]}/blue", "the yard", "rtsp"), 5)
    assert not isinstance(missing.value, VideoAccessError)
    assert "no such stream (404)" in problem(f"rtsp://127.0.0.1:{rtsp[0]}/blue")
    with pytest.MonkeyPatch.context() as unset:
        unset.delenv("YARD_PASSWORD")
        assert "YARD_PASSWORD is not set" in problem(f"rtsp://{host}/red")


def test_who_does_not_answer_is_named_in_time() -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        for scheme in ("rtsp", "http"):
            assert problem(f"{scheme}://127.0.0.1:{port}/x", 0.3).endswith("no answer within 0.3 s")
    assert "connection refused" in problem(f"rtsp://127.0.0.1:{port}/x")
    assert problem("rtsp://nowhere.invalid/x").startswith("rtsp://nowhere.invalid/x: cannot be opened")


def test_a_picture_over_http() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Mjpeg) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = checked(f"http://127.0.0.1:{server.server_address[1]}/video.mjpg")
        server.shutdown()
    assert result.problem is None
    assert result.picture is not None
    np.testing.assert_allclose(result.picture.mean((0, 1)), [0, 0, 250], atol=4)


def test_files_and_folders(tmp_path: Path) -> None:
    write_video(tmp_path / "in" / "a.mp4", 20)
    (tmp_path / "in" / "b.mp4").write_bytes(b"still written")
    result = checked({"kind": "folder", "path": str(tmp_path / "in")})
    assert result.says == "64 x 48, 10 pictures per second, 2 videos"
    assert checked({"kind": "loop", "path": str(tmp_path / "in" / "a.mp4")}).picture is not None
    (tmp_path / "in" / "a.mp4").unlink()
    assert "none of its newest videos can be read" in problem({"kind": "folder", "path": str(tmp_path / "in")})
    (tmp_path / "in" / "b.mp4").unlink()
    empty = checked({"kind": "folder", "path": str(tmp_path / "in")})
    assert (empty.picture, empty.says, empty.problem) == (None, "no video yet", None)
    assert "no such folder" in problem({"kind": "folder", "path": str(tmp_path / "out")})
    assert "no such file" in problem({"kind": "loop", "path": str(tmp_path / "c.mp4")})
    assert "there is no such device" in problem("/dev/video99")


def test_masks_are_drawn_and_the_rest_is_seen() -> None:
    picture = np.full((40, 80, 3), 200, np.uint8)
    shown = draw_masks(picture, [MASK])
    assert (picture == 200).all()
    np.testing.assert_array_equal(shown[20, 20], [114, 50, 50])
    np.testing.assert_array_equal(shown[20, 60], [200, 200, 200])
    np.testing.assert_array_equal(shown[0, 20], [255, 40, 40])


def test_the_command_names_every_problem_and_then_every_source(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "a.mp4", 20)
    file, out = tmp_path / "cameras.yaml", tmp_path / "out"

    def run(text: str) -> tuple[int, str]:
        file.write_text(text, encoding="utf-8")
        bundle = str(ROOT / "artifacts" / "detector")
        command = ["cameras", "check", "--cameras", str(file), "--out", str(out), "--bundle", bundle]
        done = CliRunner().invoke(app, command, env={"NOT_SET": None, "COLUMNS": "400"})
        return done.exit_code, " ".join(done.output.split())

    code, output = run(
        "cameras:\n  yard: {source: 'rtsp://me:${NOT_SET}@host/1'}\n"
        f"  clip: {{source: {{kind: loop, path: '{clip}'}}, operating_point: none}}\n"
    )
    assert code == 2
    assert "cameras.yard.source: NOT_SET is not set in the environment" in output
    assert "cameras.clip.operating_point: " in output
    code, output = run("cameras: {a: {source: x, masks: 3}, b: {}}")
    assert code == 2
    assert output.count("error: ") == 3
    good = f"  yard/1: {{source: {{kind: loop, path: '{clip}'}}, masks: [[[0, 0], [1, 0], [1, 1]]]}}\n"
    code, output = run(f"cameras:\n{good}")
    assert code == 0
    assert "good yard/1" in output
    with Image.open(out / "yard%2F1.png") as picture:
        assert picture.size == (64, 48)
    code, output = run(f"cameras:\n{good}  gone: {{source: /dev/video99}}\n")
    assert code == 3
    assert "fails gone" in output
    assert "1 of 2 cameras have problems" in output


def test_a_folder_whose_recorder_removes_days_and_files_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "in" / "day3" / "a.mp4", 20)
    for day in ("day1", "day2"):
        write_video(tmp_path / "in" / day / "a.mp4", 20)
    removed_when_listed(monkeypatch, tmp_path / "in" / "day1")
    is_file = Path.is_file

    def gone_then(path: Path) -> bool:
        result = is_file(path)
        if path.parent.name == "day2":
            path.unlink(missing_ok=True)
        return result

    monkeypatch.setattr(Path, "is_file", gone_then)
    result = checked({"kind": "folder", "path": str(tmp_path / "in")})
    assert (result.problem, result.says) == (None, "64 x 48, 10 pictures per second, 1 videos")
