"""The service as integrators and operators use it: real server processes, curl, the client, SIGTERM."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from conftest import ROOT, headhunt, until, write_video
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report, coarser
from headhunt_svc.errors import ConfigError, ServerError, VideoError
from headhunt_svc.serve.client import Client
from headhunt_svc.video.reader import VideoReader
from helpers.attacks import Target, attack, expected
from helpers.hostile import HOSTILE_FILES, REFUSED, Trap
from helpers.scrapes import missing, scrape
from helpers.server import Public, Server, serving


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load(ROOT / "artifacts" / "detector")


def curl(*args: str | Path) -> str:
    done = subprocess.run(["curl", "-sS", *map(str, args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_problem(answer: httpx.Response, status: int, says: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert says in body["detail"]
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]


def test_curl_gets_what_the_command_line_prints(server: Server, clip: Path) -> None:
    local = headhunt("detect", clip, "--json")
    assert local.returncode == 0, local.stderr
    assert curl("-F", f"video=@{clip}", f"{server.url}/v1/detect") == local.stdout.strip()
    remote = headhunt("detect", clip, "--json", "--server", server.url)
    assert (remote.returncode, remote.stdout) == (0, local.stdout), remote.stderr


def test_options_and_raw_bodies(server: Server, clip: Path, detector: Detector) -> None:
    options = Options(threshold=0.3, smoothing="causal", contributions=True)
    local = detector.detect(clip, "yard", options)
    with Client(server.url) as client:
        assert client.detect(clip, "yard", options) == local
        *progress, report = client.stream(clip, "yard", options)
    assert report == local
    rows = [row for event in progress for row in event["segments"]]
    assert [row["raw"] for row in rows] == [s.raw for s in local.scores]
    form = {"resolution_s": "4", "threshold": "0.3", "video_id": "yard"}
    with clip.open("rb") as video:
        answer = httpx.post(f"{server.url}/v1/detect", data=form, files={"video": video}, timeout=60)
    assert Report.model_validate_json(answer.content) == coarser(
        detector.detect(clip, "yard", Options(threshold=0.3)), 4
    )
    assert len(answer.json()["scores"]) < len(local.scores)
    assert "model;dur=" in answer.headers["server-timing"]


def test_descriptions(server: Server, clip: Path) -> None:
    local = Detector.load(ROOT / "artifacts" / "detector", whole=True).detect(clip, "yard", Options(describe=True))
    assert local.events
    assert all(event.description for event in local.events)
    with Client(server.url) as client:
        assert client.detect(clip, "yard", Options(describe=True)) == local
        *_, report = client.stream(clip, "yard", Options(describe=True))
        assert report == local
        assert client.detector()["describes"] is True
        plain = client.detect(clip, "yard")
    assert (plain.description_prompt, {event.description for event in plain.events}) == (None, {None})


def test_one_segment_from_an_integrators_own_decoder(server: Server, clip: Path, detector: Detector) -> None:
    cut = detector.bundle.segmentation
    with VideoReader(clip) as video:
        piece = next(video.segments(cut))
    pictures = piece.pictures
    body = {
        "width": pictures.shape[2],
        "height": pictures.shape[1],
        "fps": video.fps,
        "frames": [base64.b64encode(p.tobytes()).decode() for p in pictures],
    }
    answer = httpx.post(f"{server.url}/v1/score", json=body, timeout=60).json()
    # a score's last bits depend on which segments are scored together (detector/scores.py): here, one alone
    alone = Detector(detector.bundle, detector.scorer, detector.extractor, batch_segments=1)
    assert answer["raw"] == alone.detect(clip).scores[0].raw
    assert answer["detector_id"] == detector.detector_id
    wrong = httpx.post(f"{server.url}/v1/score", json=body | {"frames": body["frames"][:3]})
    is_problem(wrong, 422, "this detector samples 8")
    is_problem(httpx.post(f"{server.url}/v1/score", json=body | {"width": 17}), 422, "17 x")
    is_problem(httpx.post(f"{server.url}/v1/score", content=b"x"), 415, "application/json")


def test_the_detector_says_who_it_is(server: Server, detector: Detector) -> None:
    with Client(server.url) as client:
        card = client.detector()
    assert card["detector_id"] == detector.detector_id
    assert card["test_metrics"]["roc_auc"] == json.loads((ROOT / "artifacts" / "metrics.json").read_text())["roc_auc"]
    assert card["data"]["index_sha256"]
    assert set(card["operating_points"]) == set(detector.bundle.operating_points)
    assert tuple(card["cautions"]) == detector.bundle.cautions


def test_bad_input_is_a_problem_that_says_how_to_mend_it(server: Server, clip: Path, tmp_path: Path) -> None:
    detect, video = f"{server.url}/v1/detect", {"content-type": "video/mp4"}

    def post(content: bytes, query: str = "") -> httpx.Response:
        return httpx.post(detect + query, content=content, headers=video, timeout=60)

    real = clip.read_bytes()
    is_problem(post(real, "?threshold=1.5"), 400, "threshold")
    is_problem(post(real, "?loud=1"), 400, "there are: operating_point")
    is_problem(post(real, "?operating_point=loud"), 400, "no operating point 'loud'")
    is_problem(httpx.get(detect), 405, "openapi.json")
    is_problem(httpx.get(f"{server.url}/v1/nothing"), 404, "openapi.json")
    is_problem(httpx.get(f"{server.url}/nothing"), 404, "openapi.json")
    for bad in (b"", b"this is no video", real[:1000]):
        answer = post(bad)
        assert answer.status_code in (400, 415, 422), answer.text
        is_problem(answer, answer.status_code, "")
    (tmp_path / "bad.mp4").write_bytes(real[:1000])
    with Client(server.url) as client, pytest.raises(VideoError, match=r"bad\.mp4"):
        client.detect(tmp_path / "bad.mp4")
    with Client(server.url) as client, pytest.raises(ConfigError, match="no operating point"):
        client.detect(clip, options=Options("loud"))
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServerError, match="is the service running"):
        client.detect(clip)
    assert not [line for line in server.lines if line["level"] == "ERROR"]


def test_a_video_may_be_named_below_a_root_only(
    server: Server, clip: Path, footage: Path, tmp_path: Path, detector: Detector
) -> None:
    shutil.copy(clip, footage / "yard.mp4")
    shutil.copy(clip, tmp_path / "other.mp4")
    (footage / "link.mp4").symlink_to(tmp_path / "other.mp4")

    def post(uri: str, **options: object) -> httpx.Response:
        return httpx.post(f"{server.url}/v1/detect", json={"uri": uri, **options}, timeout=60)

    found = post(f"file://{footage}/yard.mp4", contributions=True)
    assert Report.model_validate_json(found.content) == detector.detect(clip, "yard.mp4", Options(contributions=True))
    for uri in (f"{tmp_path}/other.mp4", f"{footage}/../other.mp4", f"{footage}/link.mp4", "http://127.0.0.1/a.mp4"):
        is_problem(post(uri), 422, "HEADHUNT_URI_")


def test_file_names_of_any_bytes_reach_the_service(server: Server, footage: Path, clip: Path, tmp_path: Path) -> None:
    names = {b"k\xfc\x1b[31m[red]%20.mp4": "k%FC%1B[31m[red]%2520.mp4", b"\xff" * 251 + b".mp4": "%FF" * 251 + ".mp4"}
    for name, video_id in names.items():
        for folder in (tmp_path, footage):
            shutil.copy(clip, folder / os.fsdecode(name))
        path = tmp_path / os.fsdecode(name)
        remote = headhunt("detect", path, "--json", "--server", server.url, "--camera", "yard")
        assert remote.returncode == 0, remote.stderr
        assert json.loads(remote.stdout)["video_id"] == video_id
        uri = f"file://{quote(os.fsencode(footage / path.name))}"
        answer = httpx.post(f"{server.url}/v1/detect", json={"uri": uri}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["video_id"] == video_id
    is_problem(
        httpx.post(f"{server.url}/v1/detect", json={"uri": f"file://{footage}/%FC%1B.mp4"}), 422, "%FC%1B.mp4 is not"
    )
    assert 'camera="yard"' in httpx.get(f"{server.url}/metrics").text
    of_any_name = headhunt("detect", clip, "--server", server.url, "--camera", "[red] yard")
    assert of_any_name.returncode == 0, of_any_name.stderr


def test_many_at_once_get_the_same_bits_and_share_batches(server: Server, clip: Path, detector: Detector) -> None:
    before = _metrics(server)
    local = detector.detect(clip)
    with ThreadPoolExecutor(12) as pool, Client(server.url) as client:
        reports = list(pool.map(lambda _: client.detect(clip), range(12)))
    assert all(report == local for report in reports)
    after = _metrics(server)
    calls, segments = (after[k] - before[k] for k in ("headhunt_batch_segments_count", "headhunt_segments_total"))
    assert segments == 12 * len(local.scores)
    own = -(-len(local.scores) // detector.batch_segments)
    assert calls < 12 * own


def _metrics(server: Server) -> dict[str, float]:
    rows = [r for r in httpx.get(f"{server.url}/metrics").text.splitlines() if r.startswith("headhunt_")]
    return {name: float(value) for name, value in (row.rsplit(" ", 1) for row in rows)}


def test_clients_at_once_with_corrupt_videos_among_them(
    server: Server, clip: Path, tmp_path: Path, detector: Detector
) -> None:
    """What benchmarks/soak.py sends for half an hour, for some seconds: hang-ups, odd names and requests among them."""
    data = clip.read_bytes()
    write_video(tmp_path / "short.mp4", 20)
    for name, content in {"whole": data, "cut": data[: len(data) // 2], "text": b"this is no video"}.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
    (tmp_path / "holes.mp4").write_bytes(data[: len(data) // 2] + bytes(3000) + data[len(data) // 2 + 3000 :])
    target = Target(server.url, {path: expected(detector, path) for path in sorted(tmp_path.iterdir())})
    assert None in target.clips.values()
    attack(target, seconds=5, clients=16)
    assert not target.faults
    assert target.seconds


def test_hostile_uploads_are_refused_or_partial_and_touch_nothing(server: Server, tmp_path: Path) -> None:
    files = {name: make for name, make in HOSTILE_FILES.items() if name != "endless gif"}  # the service takes as many
    with Trap(tmp_path) as trap, httpx.Client(timeout=60) as http:
        for name, make in files.items():
            path = make(tmp_path / "clip.mp4", trap)
            content = path.read_bytes()
            assert trap.sprung in ([], ["file"])  # making it may have
            answer = http.post(f"{server.url}/v1/detect", files={"video": ("clip.mp4", content)})
            assert trap.sprung == [], name
            if answer.status_code == 200:
                report = Report.model_validate_json(answer.content)
                assert name not in REFUSED
                assert report.gaps or "cut at" not in name, name
                assert all(s.stop_frame <= report.n_frames for s in report.scores)
            else:
                assert answer.status_code in (400, 415, 422), (name, answer.text)
                is_problem(answer, answer.status_code, "")
    assert list(missing(scrape(f"{server.url}/metrics"), "service")) == []


def test_a_client_that_hangs_up_stops_its_work(server: Server, tmp_path: Path, detector: Detector) -> None:
    path = write_video(tmp_path / "long.mp4", 16 * 400)
    with Client(server.url) as client:
        events = client.stream(path)
        assert isinstance(next(events), dict)
        events.close()  # type: ignore[attr-defined]
    until(lambda: _metrics(server)["headhunt_videos_active"] == 0, 20)
    scored = _metrics(server)["headhunt_segments_total"]
    with pytest.raises(httpx.ReadTimeout), path.open("rb") as f:
        httpx.post(f"{server.url}/v1/detect", content=f, headers={"content-type": "video/mp4"}, timeout=1)
    until(lambda: _metrics(server)["headhunt_videos_active"] == 0, 20)
    assert _metrics(server)["headhunt_segments_total"] - scored < 350
    until(lambda: not list(server.home.glob("headhunt-*/*")), 20)


def test_log_lines_are_json_with_ids_and_nothing_else_of_the_request(server: Server, clip: Path) -> None:
    headers = {"X-Request-ID": "of-this-test.1", "content-type": "video/mp4"}
    url = f"{server.url}/v1/detect?video_id=a-secret-place"
    assert (
        httpx.post(url, content=clip.read_bytes(), headers=headers, timeout=60).headers["x-request-id"]
        == "of-this-test.1"
    )
    until(lambda: any(x.get("request_id") == "of-this-test.1" for x in server.lines))  # written after the answer
    line = next(x for x in server.lines if x.get("request_id") == "of-this-test.1")
    assert (line["route"], line["status"]) == ("/v1/detect", 200)
    assert "a-secret-place" not in server.log


def test_keys_queue_and_sigterm(clip: Path, tmp_path: Path) -> None:
    long = write_video(tmp_path / "long.mp4", 16 * 900)
    limits = {
        "HEADHUNT_MAX_VIDEOS": "1",
        "HEADHUNT_MAX_WAITING": "1",
        "HEADHUNT_MAX_UPLOAD_BYTES": str(long.stat().st_size + 1000),
        "HEADHUNT_GRACE_S": "1",
        "TMPDIR": str(tmp_path),
        "HEADHUNT_API_KEYS": "yard:0123456789abcdef0123456789abcdef",
    }
    with serving(".", ROOT, tmp_path / "home", **limits) as server:
        detect = f"{server.url}/v1/detect"
        key = {"Authorization": "Bearer 0123456789abcdef0123456789abcdef", "content-type": "video/mp4"}
        is_problem(httpx.post(detect, content=b"x"), 401, "Authorization: Bearer")
        is_problem(httpx.get(f"{server.url}/metrics", headers={"Authorization": "Bearer no"}), 401, "key")
        assert httpx.get(f"{server.url}/livez").status_code == 200
        large = long.stat().st_size + 2000
        is_problem(httpx.post(detect, content=b"\0" * large, headers=key), 413, "")
        chunks = iter([long.read_bytes(), b"\0" * 2000])
        is_problem(httpx.post(detect, content=chunks, headers=key), 413, "")
        with Client(server.url, "0123456789abcdef0123456789abcdef") as client:
            events = client.stream(long)
            next(events)
            stalled = socket.create_connection(("127.0.0.1", server.port))
            head = (
                f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nAuthorization: {key['Authorization']}\r\nContent-Length: 999"
            )
            stalled.sendall(f"{head}\r\nContent-Type: video/mp4\r\n\r\n".encode() + clip.read_bytes()[:99])
            until(lambda: len(list(tmp_path.glob("headhunt-*/*"))) >= 2, 20)  # the stream's and this one's
            busy = httpx.post(detect, content=clip.read_bytes(), headers=key)
            is_problem(busy, 429, "try again later")
            assert int(busy.headers["retry-after"]) > 0
            threading.Timer(0.2, server.process.send_signal, [signal.SIGTERM]).start()
            with pytest.raises(ServerError, match="503: the service stopped"):
                list(events)
        assert b"503 Service Unavailable" in stalled.recv(100)
        stalled.close()
        assert server.process.wait(30) == 0
        assert "0123456789abcdef" not in server.log
        assert next(x for x in server.lines if x.get("status") == 429)["key"] == "yard"


def test_a_bundle_that_does_not_load_ends_the_server_with_one_line(tmp_path: Path) -> None:
    for name in ("demo_mllm", "detector"):
        shutil.copytree(ROOT / "artifacts" / name, tmp_path / name)
    bundle = tmp_path / "detector"
    server = Server(".", ROOT, tmp_path / "a", HEADHUNT_BUNDLE=str(tmp_path / "none"))
    # what only shows when the model runs: the golden vectors of another one
    from safetensors.numpy import load_file, save_file

    golden = load_file(bundle / "golden.safetensors")
    save_file({"features": golden["features"] + 1}, bundle / "golden.safetensors")
    other = Server(".", ROOT, tmp_path / "b", HEADHUNT_BUNDLE=str(bundle))
    public = Public(".", ROOT, tmp_path / "c")
    assert server.process.wait(120) != 0
    assert "error: cannot serve" in server.log
    assert other.process.wait(120) == 1
    assert "cannot serve: " in other.log
    assert public.process.wait(120) == 1
    assert "listening on 0.0.0.0 needs API keys" in public.log
    assert "ready" not in [x["message"] for x in other.lines]
