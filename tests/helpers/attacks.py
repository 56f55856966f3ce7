"""What honest and hostile clients send to the service in benchmarks/soak.py, and which answers are right."""

import base64
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np

from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.errors import VideoError
from headhunt_svc.jobs.rows import row

BUSY = (429, 504, 507)  # documented: too many wait, too late, the disk is full
OUTAGE_S = 15  # so long after an outage of the database jobs may still be answered with 503
MAX_OPEN_JOBS = 6
NAMES = (
    "yard/0412.mp4", "大" * 28 + "/夜.mp4", "../../etc/passwd", "active.json/x", "./..", "<script>alert(1)</script>/a",
    "=1+1/a.mp4", "a\u202egpj.mp4", "all cameras/x.mp4", "%2e%2e/%2e%2e/x", "x" * 3000, "a\nb\x1b[2J.mp4", "nul\0.mp4",
)  # fmt: skip
URIS = (
    "file:///etc/passwd", "/proc/self/environ", "file:///%2e%2e/%2e%2e/etc/passwd", "file:///tmp/*.mp4",
    "http://[::", "http://127.0.0.1:1/a.mp4", "http://169.254.169.254/latest", "http://[64:ff9b::7f00:1]/a.mp4",
    "/" + "a" * 5000, "ftp://x/y", "s3://b/c.mp4", "{root}/../../etc/passwd", "{root}/%2e%2e/%2e%2e/etc/passwd",
    "{root}/missing.mp4", "{root}/[a-", "{root}/" + "b" * 300 + ".mp4",
)  # fmt: skip


def expected(detector: Detector, clip: Path) -> Report | None:
    """The report of the detector without a service; None if it refuses the clip."""
    try:
        return detector.detect(clip)
    except VideoError:
        return None


@dataclass
class Target:
    """A service, what may be sent to it, and the answers so far."""

    url: str
    clips: dict[Path, Report | None]
    key: str | None = None
    root: Path | None = None  # clips below it may be named by URI
    hostile: dict[str, bytes] = field(default_factory=dict)  # files that may be refused or scored
    jobs: bool = False
    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of honest requests
    submitted: dict[str, list[Path]] = field(default_factory=dict)  # clips of each job
    outages: list[list[float]] = field(default_factory=list)  # begin and end of each, monotonic
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def headers(self) -> dict[str, str]:
        """The key, where there is one."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def count(self, action: str, outcome: object) -> None:
        """Count an answer."""
        with self.lock:
            self.answers[f"{action}: {outcome}"] += 1

    def fault(self, text: str) -> None:
        """Count an answer that is wrong."""
        with self.lock:
            self.faults[text] += 1

    def check(self, action: str, answer: httpx.Response, *expected_statuses: int, started: float = 0) -> bool:
        """Count an answer; is it one that brings a result? Other 5xx than the documented ones are faults."""
        status = answer.status_code
        self.count(action, status)
        if status in BUSY or (status == 503 and self._away(started)):
            return False
        if status not in expected_statuses:
            self.fault(f"{action}: {status} {answer.text[:200]}")
        return 200 <= status < 300

    def _away(self, started: float) -> bool:
        """Was the database away at some time since then?"""
        return any(end + OUTAGE_S > started for _, end in self.outages)


@dataclass
class Visitor:
    """One client, with random numbers of its own."""

    target: Target
    random: random.Random
    http: httpx.Client

    def post(self, path: str, **more: object) -> httpx.Response:
        """POST with the key."""
        return self.http.post(f"{self.target.url}{path}", headers=self.target.headers, **more)  # type: ignore[arg-type]

    def get(self, path: str) -> httpx.Response:
        """GET with the key."""
        return self.http.get(f"{self.target.url}{path}", headers=self.target.headers)

    def clip(self, whole: bool = True) -> Path:
        """A clip; whole: one that can be scored."""
        return self.random.choice([c for c, report in self.target.clips.items() if report is not None or not whole])

    def compare(self, action: str, content: bytes | str, clip: Path) -> None:
        """Is this the report of the clip?"""
        report, right = Report.model_validate_json(content), self.target.clips[clip]
        if right is None or report != right.model_copy(update={"video_id": report.video_id}):
            self.target.fault(f"{action}: another report of {clip.name} than the detector's own")

    def detect(self) -> None:
        """Upload a clip, broken ones among them, and compare the report."""
        clip = self.clip(whole=False)
        right = self.target.clips[clip]
        started = time.monotonic()
        answer = self.post("/v1/detect", files={"video": (clip.name, clip.read_bytes())})
        if self.target.check("detect", answer, *((200,) if right else (400, 415, 422))):
            self.target.seconds.append(time.monotonic() - started)
            self.compare("detect", answer.content, clip)

    def raw(self) -> None:
        """The same as a raw body."""
        clip = self.clip()
        answer = self.http.post(
            f"{self.target.url}/v1/detect",
            content=clip.read_bytes(),
            headers=self.target.headers | {"Content-Type": "video/mp4"},
        )
        if self.target.check("detect, raw body", answer, 200):
            self.compare("detect, raw body", answer.content, clip)

    def stream(self) -> None:
        """Read a stream to its end."""
        clip = self.clip()
        with self._streaming(clip) as answer:
            if answer.status_code != 200:
                answer.read()
            if self.target.check("stream", answer, 200):
                self.compare("stream", [x for x in answer.iter_lines() if x.startswith("data:")][-1][5:], clip)

    def _streaming(self, clip: Path):  # type: ignore[no-untyped-def]  # a context manager of httpx
        files = {"video": (clip.name, clip.read_bytes())}
        return self.http.stream("POST", f"{self.target.url}/v1/detect/stream", headers=self.target.headers, files=files)

    def hang_up_stream(self) -> None:
        """Close a stream after its first lines."""
        with self._streaming(self.clip()) as answer:
            if answer.status_code == 200:
                with suppress(StopIteration):
                    next(answer.iter_lines())
            self.target.count("stream, hung up", answer.status_code)

    def hang_up(self) -> None:
        """Close the connection while the video is scored."""
        try:
            answer = self.http.post(
                f"{self.target.url}/v1/detect",
                headers=self.target.headers,
                files={"video": self.clip().read_bytes()},
                timeout=self.random.uniform(0.01, 1.5),
            )
            self.target.check("detect, hung up", answer, 200)
        except httpx.TransportError:
            self.target.count("detect, hung up", "gone")

    def hang_up_upload(self) -> None:
        """Close the connection in the middle of an upload, to the jobs, too."""
        path = self.random.choice(
            ["/v1/detect", "/v1/detect/stream", *(["/v1/jobs/uploads"] if self.target.jobs else [])]
        )
        data = self.clip().read_bytes()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: {len(data)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.target.headers.items())
        with self._connection() as connection, suppress(OSError):
            connection.sendall(head.encode() + b"\r\n" + data[: self.random.randrange(len(data))])
            time.sleep(self.random.choice([0, 0.1, 0.5, 5]))
            if self.random.random() < 0.5:  # a reset instead of an end
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.target.count("upload, hung up", "gone")

    def _connection(self) -> socket.socket:
        host, port = self.target.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=30)

    def garbage(self) -> None:
        """Bytes that are no HTTP, or only half a request."""
        with self._connection() as connection, suppress(OSError):
            half = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n"
            chunked = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
            connection.sendall(
                self.random.choice([self.random.randbytes(300), half, chunked, b"GET / HTTP/9.9\r\n\r\n"])
            )
            connection.settimeout(0.3)
            connection.recv(1000)
        self.target.count("garbage", "sent")

    def hostile_file(self) -> None:
        """A file that wants something else than to be watched."""
        if self.target.hostile:
            name = self.random.choice(sorted(self.target.hostile))
            answer = self.post("/v1/detect", files={"video": ("clip.mp4", self.target.hostile[name])})
            self.target.check("hostile file", answer, 200, 400, 415, 422)

    def hostile_name(self) -> None:
        """Names of videos, cameras and files that nobody gives honestly."""
        clip, name = self.clip(), self.random.choice(NAMES)
        if self.random.random() < 0.1:
            name = f"camera {self.random.randrange(10**6)}/a.mp4"
        options = self.random.choice([{"video_id": name}, {"camera": name}, {}])
        answer = self.post("/v1/detect", data=options, files={"video": (name, clip.read_bytes())})
        if self.target.check("hostile name", answer, 200, 400, 422):
            self.compare("hostile name", answer.content, clip)

    def keyless(self) -> None:
        """A burst of requests without a key, to paths that nobody has seen before."""
        for _ in range(20):
            path = "/" + quote(
                self.random.choice(["v1/detect", "metrics", "v1/jobs", f"x{self.random.randrange(10**9)}", "a/" * 50])
            )
            wrong = {} if self.random.random() < 0.5 else {"Authorization": f"Bearer {self.random.randbytes(12).hex()}"}
            answer = self.http.request(
                self.random.choice(["GET", "POST", "PUT"]), f"{self.target.url}{path}", headers=wrong
            )
            self.target.check("no key", answer, 401)

    def odd(self) -> None:
        """Requests that are wrong in themselves."""
        parts = [("video" if i == 999 else f"f{i}", (None, b"x")) for i in range(2000)]
        nested, many = b"[" * 100_000, {"inputs": ["/" + "a" * 4000] * 10}
        json_type = {"Content-Type": "application/json"}
        path = self.random.choice(["/v1/detect", "/v1/score", *(["/v1/jobs"] if self.target.jobs else [])])
        more: dict[str, object] = self.random.choice(
            [
                {"files": parts},
                {"content": nested, "headers": json_type},
                {"json": many},
                {"json": {"uri": "x\0"}},
                {"content": b"\xff" * 2000},
            ]
        )
        headers = self.target.headers | (more.pop("headers", None) or {})  # type: ignore[operator]
        answer = self.http.post(f"{self.target.url}{path}", headers=headers, **more)  # type: ignore[arg-type]
        self.target.check("odd request", answer, 400, 401, 413, 415, 422)
        answer = self.get(
            self.random.choice(["/v1/nothing", "/v1/detect", "/v1/jobs/" + "0" * 12 if self.target.jobs else "/x"])
        )
        self.target.check("no such route", answer, 404, 405)

    def uri(self) -> None:
        """A clip by its URI, or what may not be read."""
        if self.target.root is None:
            return
        if self.random.random() < 0.3:
            clip = self.clip()
            answer = self.post("/v1/detect", json={"uri": (self.target.root / clip.name).as_uri()})
            if self.target.check("uri", answer, 200):
                self.compare("uri", answer.content, clip)
        else:
            uri = self.random.choice(URIS).replace("{root}", str(self.target.root))
            self.target.check("hostile uri", self.post("/v1/detect", json={"uri": uri}), 400, 422)

    def score(self) -> None:
        """Frames of one segment, right and wrong ones."""
        card = self.get("/v1/detector")
        if not self.target.check("detector", card, 200):
            return
        wrong = self.random.random() < 0.5
        frame = np.random.default_rng(self.random.randrange(2**31)).integers(0, 255, 64 * 64 * 3 - wrong, np.uint8)
        frames = [base64.b64encode(frame.tobytes()).decode()] * card.json()["frames_per_segment"]
        body = {
            "width": 64,
            "height": 64,
            "fps": 10,
            "frames": frames,
            "camera": self.random.choice(["", "yard", "x" * 50]),
        }
        self.target.check("score", self.post("/v1/score", json=body), 422 if wrong else 200)

    def metrics(self) -> None:
        """The pages of Prometheus and of OpenAPI."""
        self.target.check("metrics", self.get("/metrics"), 200)
        self.target.check("openapi", self.get("/v1/openapi.json"), 200)

    def submit(self) -> None:
        """Upload clips for a job, as files that nobody has scored yet, and submit it."""
        started = time.monotonic()
        with self.target.lock:
            newest = [job_id for job_id, clips in self.target.submitted.items() if clips]
        if len(newest) >= MAX_OPEN_JOBS:  # wait for the workers
            job = self.get(f"/v1/jobs/{newest[-MAX_OPEN_JOBS]}")
            open_ = not self.target.check("a job", job, 200, started=started) or job.json()["state"] in (
                "queued",
                "running",
            )
            if open_:
                return
        clips, inputs = [self.clip(whole=False) for _ in range(self.random.randint(1, 3))], []
        for clip in clips:
            free = struct.pack(">I4s", 24, b"free") + self.random.randbytes(
                16
            )  # a box without meaning: another content
            answer = self.http.post(
                f"{self.target.url}/v1/jobs/uploads",
                content=clip.read_bytes() + (free if clip.suffix == ".mp4" else b""),
                headers=self.target.headers | {"Content-Type": "video/mp4"},
            )
            if not self.target.check("upload for a job", answer, 201, 400, 415, started=started):
                return
            inputs.append(answer.json()["uri"])
        if len(set(inputs)) < len(inputs):
            return
        answer = self.post("/v1/jobs", json={"inputs": inputs, "key": self.random.randbytes(8).hex()})
        if self.target.check("job", answer, 202, started=started):
            with self.target.lock:
                self.target.submitted[answer.json()["job_id"]] = clips

    def hostile_job(self) -> None:
        """A job that wants files which it may not read."""
        started = time.monotonic()
        uri = self.random.choice(URIS).replace("{root}", str(self.target.root))
        text = self.random.choice(
            [uri, "upload:../../etc/passwd", "upload:" + "0" * 64, "/**/*", str(self.target.root) + "/../*"]
        )
        answer = self.post("/v1/jobs", json={"inputs": [text]})
        if self.target.check("hostile job", answer, 202, 400, 422, started=started):  # 202: the video fails
            with self.target.lock:
                self.target.submitted[answer.json()["job_id"]] = []

    def look(self) -> None:
        """Watch, cancel or retry a job that somebody has submitted."""
        with self.target.lock:
            ids = list(self.target.submitted)
        if not ids:
            return
        started, job_id = time.monotonic(), self.random.choice(ids[-20:])
        kind = self.random.choice(["", "", "/results", "/results?format=parquet", "/deliveries", "cancel", "retry"])
        answer = (
            self.post(f"/v1/jobs/{job_id}/{kind}")
            if kind in ("cancel", "retry")
            else self.get(f"/v1/jobs/{job_id}{kind}")
        )
        self.target.check(f"a job{kind if kind.startswith('/') else ' ' + kind}", answer, 200, started=started)


ACTIONS: dict[Callable[[Visitor], None], int] = {
    Visitor.detect: 20, Visitor.raw: 4, Visitor.stream: 6, Visitor.hang_up_stream: 6, Visitor.hang_up: 6,
    Visitor.hang_up_upload: 8, Visitor.garbage: 4, Visitor.hostile_file: 8, Visitor.hostile_name: 8, Visitor.odd: 6,
    Visitor.uri: 8, Visitor.score: 4, Visitor.metrics: 2,
}  # fmt: skip
WITH_KEYS: dict[Callable[[Visitor], None], int] = {Visitor.keyless: 8}
WITH_JOBS: dict[Callable[[Visitor], None], int] = {Visitor.submit: 6, Visitor.hostile_job: 3, Visitor.look: 10}


def attack(target: Target, seconds: float, clients: int, seed: int = 0) -> None:
    """Let clients do all this for some time. What they find is in `target`."""
    actions = ACTIONS | (WITH_KEYS if target.key else {}) | (WITH_JOBS if target.jobs else {})
    until = time.monotonic() + seconds

    def client(number: int) -> None:
        with httpx.Client(timeout=120, trust_env=False) as http:
            visitor = Visitor(target, random.Random(f"{seed} {number}"), http)
            while time.monotonic() < until:
                (action,) = visitor.random.choices(list(actions), list(actions.values()))
                try:
                    action(visitor)
                except (httpx.HTTPError, OSError) as exc:
                    target.fault(f"{action.__name__}: no answer ({type(exc).__name__}: {exc})")

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))


def job_faults(target: Target, http: httpx.Client) -> None:
    """Every job that was submitted has ended, and its rows are those of the detector."""
    for job_id, clips in target.submitted.items():
        lines = http.get(f"{target.url}/v1/jobs/{job_id}/results", headers=target.headers).text.splitlines()
        rows = [json.loads(line) for line in lines]
        target.count("rows of jobs", len(rows) and "read")
        for clip, found in zip(clips, rows if len(rows) == len(clips) else (), strict=False):
            right = target.clips[clip]
            if found["state"] == "succeeded":
                wanted = json.loads(json.dumps(row(found["uri"], found["video_id"], "succeeded", None, right)))
                if right is None or found != wanted:
                    target.fault(f"job: another report of {clip.name} than the detector's own")
            elif found["state"] == "failed" and right is not None:
                target.fault(f"job: {clip.name} failed: {found['error']}")
