"""/v1/jobs of a real server, killed and started again as `make serve` does it: with a worker beside it."""

import json
import time
from pathlib import Path

import httpx
import psutil
import pyarrow.parquet as pq

from conftest import ROOT, benchmark
from headhunt_svc.settings import JobSettings
from helpers.server import Made, Server

kills = benchmark("kills")


def test_jobs_over_http_outlive_the_service(tmp_path: Path) -> None:
    settings = JobSettings(folder=tmp_path / "jobs")
    settings.folder.mkdir()
    footage = [kills.make_video(tmp_path / "footage" / f"{i}.mp4", 4, seed=i) for i in range(2)]
    sent = kills.make_video(tmp_path / "sent.mp4", 4, seed=9)
    env = {"HEADHUNT_JOBS_FOLDER": str(settings.folder), "HEADHUNT_JOBS_ROOTS": str(tmp_path / "footage")}
    server = Server(".", ROOT, tmp_path / "bento", **env).wait_ready()
    try:
        at = f"{server.url}/v1/jobs"
        uploaded = httpx.post(f"{at}/uploads", content=sent.read_bytes(), headers={"Content-Type": "video/mp4"})
        assert uploaded.status_code == 201, uploaded.text
        body = {"inputs": [str(tmp_path / "footage"), uploaded.json()["uri"]]}
        made = httpx.post(at, json=body, headers={"Idempotency-Key": "k"}, timeout=30)
        assert made.status_code == 202, made.text
        job = made.json()
        assert httpx.post(at, json={**body, "key": "k"}, timeout=30).json()["job_id"] == job["job_id"]
        assert httpx.post(at, json={"inputs": [str(sent)]}, timeout=30).status_code == 400
        assert httpx.post(at, json={"inputs": []}).status_code == 400
        assert httpx.get(f"{at}/nonsense").status_code == 404
        assert [j["state"] for j in httpx.get(at).json()["jobs"]] == ["queued"]
        assert httpx.post(f"{at}/{job['job_id']}/cancel").json()["state"] == "cancelled"

        supervisor = psutil.Process(server.process.pid)
        begun = supervisor.children(recursive=True)
        supervisor.kill()  # the service ends with it, and leaves its port to the next one
        server.process.wait()
        assert not psutil.wait_procs(begun, timeout=20)[1]
        server = Made(ROOT, tmp_path / "bento", **env).wait_ready()
        at = f"{server.url}/v1/jobs/{job['job_id']}"
        assert httpx.post(f"{at}/retry").json()["state"] in ("queued", "running")
        for _ in range(600):
            if (job := httpx.get(at).json())["state"] not in ("queued", "running"):
                break
            time.sleep(0.2)
        assert job["state"] == "succeeded", job
        rows = [json.loads(line) for line in httpx.get(f"{at}/results").text.splitlines()]
        assert [r["uri"] for r in rows] == [*map(str, footage), uploaded.json()["uri"]]
        (tmp_path / "r.parquet").write_bytes(httpx.get(f"{at}/results", params={"format": "parquet"}).content)
        assert pq.read_table(tmp_path / "r.parquet").to_pylist() == rows
        assert httpx.get(f"{at}/deliveries").json() == {"deliveries": []}
        begun = psutil.Process(server.process.pid).children(recursive=True)
        assert any("worker" in p.cmdline() for p in begun)
        server.terminate()
        assert not psutil.wait_procs(begun, timeout=60)[1]
    finally:
        if server.process.poll() is None:
            server.kill()
