"""A hub of models on loopback: the protocol that huggingface_hub speaks, with what can go wrong, and an access log.

Repository information, refs, tree and files as the public hub has them: small files come from the hub itself, weights
(LFS) by a redirect to another server. A file can be slow, cut off, damaged; a repository gated; a branch can move.
"""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_FROM = 100_000  # bytes: weights of a tiny model are above, its configuration and tokenizer below
TOKEN = "hf_right"
CHUNK = 1 << 14


@dataclass
class Fault:
    """What goes wrong with a file. after: only this many bytes come; times: how often (None: always)."""

    after: int | None = None
    times: int | None = None
    damaged: bool = False
    pause_s: float = 0.0  # before every chunk
    status: int | None = None


@dataclass
class Repo:
    """A repository: commits with their files, and what branches and tags point to."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # announced instead of the true ones
    gated: bool = False
    accepted: bool = False  # has the token's account accepted the terms?
    licence: str = "apache-2.0"

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Put files on a branch, which moves."""
        parent = self.branches.get(branch, "")
        digest = hashlib.sha1(parent.encode())
        for name, content in sorted(files.items()):
            digest.update(name.encode() + hashlib.sha256(content).digest())
        sha = digest.hexdigest()
        self.commits[sha] = dict(files)
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        return (self.branches | self.tags).get(revision) or (revision if revision in self.commits else None)


@dataclass(frozen=True)
class Access:
    """A request, and how many bytes of a file it brought."""

    method: str
    path: str
    status: int
    sent: int
    range: str | None
    token: str | None

    @property
    def file(self) -> str | None:
        """The name of the file that it was for."""
        return self.path.rsplit("/", 1)[-1] if "/resolve/" in self.path or self.path.startswith("/lfs/") else None


class Hub:
    """The hub; `env` is what a process needs in order to use it, with an empty cache in `home`."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.log: list[Access] = []
        self.status: int | None = None  # of every answer, for an hour of trouble
        self.pause_s = 0.0  # before every answer about a repository
        self.page: bytes | None = None  # answered to everything, as by a proxy that wants a login
        self.url = self.storage = ""

    def add(self, mllm_id: str, files: Mapping[str, bytes] | None = None, **settings: Any) -> Repo:
        repo = self.repos[mllm_id] = Repo(**settings)
        if files is not None:
            repo.commit(files)
        return repo

    def env(self, home: Path, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        hub = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return {**kept, **hub, "HF_HUB_DISABLE_XET": "1", "COLUMNS": "200", **more}

    @property
    def fetched(self) -> dict[str, int]:
        """Bytes that came of each file."""
        sums: dict[str, int] = {}
        for access in self.log:
            if access.method == "GET" and access.file is not None:
                sums[access.file] = sums.get(access.file, 0) + access.sent
        return sums


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder, as a commit."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@contextlib.contextmanager
def serving_hub() -> Iterator[Hub]:
    """Run a hub and its storage until the end of the block."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    hub.url, hub.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """The access log is Hub.log."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        parts = path.strip("/").split("/")
        if self.hub.page is not None:
            self._answer(200, {"Content-Type": "text/html"}, self.hub.page)
        elif self.hub.status is not None:
            self._answer(self.hub.status, {}, b"")
        elif parts[:2] == ["api", "models"]:
            time.sleep(self.hub.pause_s)
            self._api("/".join(parts[2:4]), parts[4:])
        elif parts[0] == "lfs":
            self._stored(parts[1:])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._wrong(404, "RepoNotFound")

    # -- what is asked for --------------------------------------------------------------------------------------------
    def _repo(self, mllm_id: str, revision: str) -> tuple[Repo, str] | None:
        repo = self.hub.repos.get(mllm_id)
        if repo is None:
            self._wrong(404 if self._token else 401, "RepoNotFound")
        elif (commit := repo.resolve(revision)) is None:
            self._wrong(404, "RevisionNotFound")
        else:
            return repo, commit
        return None

    def _api(self, mllm_id: str, rest: list[str]) -> None:
        revision = rest[1] if len(rest) > 1 else "main"
        if (pair := self._repo(mllm_id, revision)) is None:
            return
        repo, commit = pair
        answer: Any
        if rest[:1] == ["refs"]:
            heads = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.branches.items()]
            tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repo.tags.items()]
            answer = {"branches": heads, "tags": tags, "converts": []}
        elif rest[:1] == ["tree"]:
            answer = [self._entry(repo, name, data) for name, data in repo.commits[commit].items()]
        else:
            blobs = "blobs" in parse_qs(urlsplit(self.path).query)
            answer = {
                "_id": "0",
                "id": mllm_id,
                "modelId": mllm_id,
                "sha": commit,
                "private": False,
                "gated": "auto" if repo.gated else False,
                "downloads": 0,
                "likes": 0,
                "tags": [f"license:{repo.licence}"],
                "cardData": {"license": repo.licence},
                "siblings": [self._sibling(repo, n, data, blobs) for n, data in repo.commits[commit].items()],
            }
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _sibling(self, repo: Repo, name: str, data: bytes, blobs: bool) -> dict[str, Any]:
        if not blobs:
            return {"rfilename": name}
        size = repo.sizes.get(name, len(data))
        lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": size, "pointerSize": 134}
        return {"rfilename": name, "size": size, "blobId": _git(data), **({"lfs": lfs} if _is_lfs(data) else {})}

    def _entry(self, repo: Repo, name: str, data: bytes) -> dict[str, Any]:
        size = repo.sizes.get(name, len(data))
        lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": size, "pointerSize": 134}
        return {
            "type": "file",
            "path": name,
            "size": size,
            "oid": _git(data),
            **({"lfs": lfs} if _is_lfs(data) else {}),
        }

    def _resolve(self, mllm_id: str, revision: str, name: str) -> None:
        if (pair := self._repo(mllm_id, revision)) is None:
            return
        repo, commit = pair
        if repo.gated and not (self._token == TOKEN and repo.accepted):
            self._wrong(403 if self._token else 401, "GatedRepo")
            return
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        data = repo.commits[commit].get(name)
        if data is None:
            self._wrong(404, "EntryNotFound", headers)
        elif _is_lfs(data):
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(repo.sizes.get(name, len(data)))}
            self._answer(302, headers | {"Location": f"{self.hub.storage}/lfs/{mllm_id}/{commit}/{name}"}, b"")
        else:
            self._file(repo.faults.get(name), data, headers | {"ETag": f'"{_git(data)}"'})

    def _stored(self, parts: list[str]) -> None:
        repo, name = self.hub.repos["/".join(parts[:2])], "/".join(parts[3:])
        data = repo.commits[parts[2]][name]
        self._file(repo.faults.get(name), data, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"'})

    # -- answers ------------------------------------------------------------------------------------------------------
    @property
    def _token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def _note(self, status: int, sent: int) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append(Access(self.command, path, status, sent, self.headers.get("Range"), self._token))

    def _wrong(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self._answer(status, {"X-Error-Code": code, **(headers or {})}, b'{"error": "no"}')

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._note(status, 0)
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _file(self, fault: Fault | None, data: bytes, headers: Mapping[str, str]) -> None:
        if fault is not None and fault.times is not None and self.command == "GET":
            fault.times -= 1
        if fault is None or (fault.times is not None and fault.times < 0):
            fault = Fault()
        if fault.status is not None:
            self._answer(fault.status, {}, b"")
            return
        if fault.damaged:
            data = bytes(len(data) // 2) + data[len(data) // 2 :]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        for key, value in {**headers, "Content-Length": str(len(data) - start)}.items():
            self.send_header(key, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        end = len(data) if fault.after is None else max(start, fault.after)
        sent = 0
        try:
            for at in range(start, end if self.command == "GET" else start, CHUNK):
                time.sleep(fault.pause_s)
                sent += self.wfile.write(data[at : min(at + CHUNK, end)])
        except OSError:
            self.close_connection = True  # the client has gone
        self.close_connection = self.close_connection or end < len(data)
        self._note(206 if start else 200, sent)


def _is_lfs(data: bytes) -> bool:
    return len(data) >= LFS_FROM


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
