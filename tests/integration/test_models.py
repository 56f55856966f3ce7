"""headhunt models check and pull, through the real client of a hub on loopback: what is told, and what is fetched."""

import json
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import HEADHUNT, ROOT
from headhunt_svc.model.extractor import COMMON_SIZE
from headhunt_svc.model.hub import TIMEOUT_S
from headhunt_svc.model.inspection import PROMPT
from helpers.forked import Commands
from helpers.hub import TOKEN, Fault, Hub, Repo, files_of, serving_hub
from helpers.models import save_tiny, tiny

WEIGHTS = "model.safetensors"
ORIGINAL = {
    "model_type": "internvl_chat",
    "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
    "architectures": ["InternVLChatModel"],
}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving_hub() as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(save_tiny("qwen3_vl", tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def commands(hub: Hub, home: Path) -> Iterator[Commands]:
    running = Commands(hub.env(home))
    yield running
    running.close()


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(hub: Hub, home: Path, commands: Commands, tmp_path: Path) -> Run:
    """Run `headhunt` in an empty folder; params: the model that params.yaml names."""
    hub.log.clear()

    def headhunt(*args: str, mllm: dict[str, str] | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        if mllm is not None:
            params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"mllm": mllm}
            (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        command = [str(HEADHUNT), *args]
        return subprocess.CompletedProcess(command, *commands.run(command, tmp_path, hub.env(home, **env), 120))

    return headhunt


def cache_of(home: Path, mllm_id: str) -> list[str]:
    """Names of what the cache holds of a model's weights, parts of downloads included."""
    folder = home / "hub" / f"models--{mllm_id.replace('/', '--')}"
    links = [p.name for p in folder.glob("snapshots/*/*") if p.suffix == ".safetensors"]
    return [*links, *(p.name for p in folder.glob("blobs/*.incomplete"))]


def test_check_says_what_a_model_is_and_needs_from_its_small_files(hub: Hub, run: Run, files: dict[str, bytes]) -> None:
    repo = hub.add("tiny/good", files)
    done = run("models", "check", "tiny/good", "--frames", "6")
    assert done.returncode == 0, done.stderr
    extractor = tiny("qwen3_vl")
    tokens = len(
        extractor.token_ids(PROMPT, extractor.clip(extractor.preprocess(np.zeros((6, *COMMON_SIZE, 3), np.uint8))))
    )
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["heads"] == "4 layers x 6 heads x 16 = 24 heads"
    assert lines["tokens"] == f"{tokens} a segment of 6 frames"
    assert lines["revision"] == f"the default branch is commit {repo.branches['main']}"
    assert lines["licence"] == "apache-2.0, not gated"
    assert lines["family"] == "Qwen3-VL, supported"
    assert "GB free on cpu: fits as bfloat16 or float32" in lines["memory"]
    assert WEIGHTS not in hub.fetched
    assert set(hub.fetched) <= set(files) - {WEIGHTS}


def in_parts(files: dict[str, bytes]) -> dict[str, bytes]:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    rest = {name: data for name, data in files.items() if name != WEIGHTS}
    return rest | {
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-00001-of-00002.safetensors": files[WEIGHTS],
    }


def without(files: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name not in names}


def original(hub: Hub, name: str, files: dict[str, bytes]) -> Repo:
    code = {"configuration_internvl_chat.py": b"raise SystemExit('this code was run')\n"}
    return hub.add(name, files | code | {"config.json": json.dumps(ORIGINAL).encode()})


Setup = Callable[[Hub, str, dict[str, bytes]], object]
MISTAKES: dict[str, tuple[Setup, str, str]] = {
    "owner/unknown": (lambda h, n, f: None, "", "owner/unknown is neither a folder here nor a model of http"),
    "owner/revision": (
        lambda h, n, f: h.add(n, f, tags={"v1": "0" * 40}),
        "v2",
        "owner/revision has no revision 'v2': there are main, v1, and commits",
    ),
    "owner/gated": (lambda h, n, f: h.add(n, f, gated=True), "", "owner/gated is gated: accept its terms on http"),
    "owner/pickled": (
        lambda h, n, f: h.add(n, without(f, WEIGHTS) | {"pytorch_model.bin": f[WEIGHTS]}),
        "",
        "only pytorch_model.bin, which can run code and is never loaded",
    ),
    "owner/part": (
        lambda h, n, f: h.add(n, in_parts(f)),
        "",
        "owner/part lacks 1 of 2 weight files, e.g. model-00002-of-00002.safetensors",
    ),
    "owner/no-config": (lambda h, n, f: h.add(n, without(f, "config.json")), "", "owner/no-config has no config.json"),
    "owner/broken-config": (
        lambda h, n, f: h.add(n, f | {"config.json": b"{"}),
        "",
        "config.json cannot be read as a model's configuration",
    ),
    "owner/text-only": (
        lambda h, n, f: h.add(n, f | {"config.json": b'{"model_type": "qwen2"}'}),
        "",
        "owner/text-only is of type 'qwen2', which is not supported",
    ),
    "owner/model": (
        lambda h, n, f: (original(h, n, f), h.add(f"{n}-hf", f)),
        "",
        "needs code of its own; such code is never run: take owner/model-hf, the same in the format of transformers",
    ),
    "OpenGVLab/InternVL3-8B": (original, "", "nearest: OpenGVLab/InternVL3-8B-hf"),
    "owner/huge": (
        lambda h, n, f: h.add(n, f, sizes={WEIGHTS: 10**16}),
        "",
        "10.0 PB more",
    ),
    "not an/id": (lambda h, n, f: None, "", "'not an/id' is neither a folder that exists nor an id of the hub"),
}


@pytest.mark.parametrize("command", ["check", "pull", "lock"])
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line_before_anything_large_is_fetched(
    hub: Hub, run: Run, home: Path, files: dict[str, bytes], name: str, command: str
) -> None:
    setup, revision, says = MISTAKES[name]
    setup(hub, name, files)
    if command == "lock":
        done = run("models", "lock", mllm={"id": name} | ({"revision": revision} if revision else {}))
    else:
        done = run("models", command, name, *(["--revision", revision] if revision else []))
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.strip().startswith(tuple(files)) and line.strip()]
    assert [line for line in errors if line.startswith("error: ")] == errors, done.stderr
    assert len(errors) == 1
    assert "y/N" not in done.stdout + done.stderr
    assert {n: size for n, size in hub.fetched.items() if n.endswith((".safetensors", ".bin", ".py"))} == {}
    assert cache_of(home, name) == []


def test_a_gated_model_is_had_with_the_token_of_an_account_that_accepted(
    hub: Hub, run: Run, home: Path, files: dict[str, bytes]
) -> None:
    repo = hub.add("owner/terms", files, gated=True)
    refused = run("models", "pull", "owner/terms", HF_TOKEN=TOKEN)
    assert refused.returncode == 2
    assert "owner/terms is gated: accept its terms on" in refused.stderr
    assert hub.fetched == {}
    repo.accepted = True
    done = run("models", "pull", "owner/terms", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert "gated: terms were accepted" in done.stdout
    assert {a.token for a in hub.log if a.path.startswith("/lfs/")} == {None}  # the token stays on the hub


def test_pull_shows_progress_and_fetches_once(hub: Hub, run: Run, files: dict[str, bytes]) -> None:
    hub.add("owner/pulled", files)
    done = run("models", "pull", "owner/pulled")
    assert done.returncode == 0, done.stderr
    assert WEIGHTS in done.stderr
    assert "100%" in done.stderr
    assert hub.fetched[WEIGHTS] == len(files[WEIGHTS])
    hub.log.clear()
    assert run("models", "pull", "owner/pulled").returncode == 0
    assert hub.fetched == {}


def test_a_connection_that_is_cut_goes_on_where_it_stopped(hub: Hub, run: Run, files: dict[str, bytes]) -> None:
    size, chunk = 25_000_000, 10 * 2**20  # the client keeps whole chunks
    hub.add("owner/cut", files | {WEIGHTS: bytes(size)}, faults={WEIGHTS: Fault(after=chunk + 1_000_000, times=1)})
    done = run("models", "pull", "owner/cut")
    assert done.returncode == 0, done.stderr
    assert [a.range for a in hub.log if a.file == WEIGHTS and a.sent] == [None, f"bytes={chunk}-"]
    assert hub.fetched[WEIGHTS] == size + 1_000_000


FAULTS = {
    "truncated": (Fault(after=100_000), "does not answer or broke off"),
    "damaged": (Fault(damaged=True), "arrived as another file than"),
    "failing": (Fault(status=500), "answers 500 for owner/failing"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_does_not_arrive_whole_is_not_kept(
    hub: Hub, run: Run, home: Path, files: dict[str, bytes], name: str
) -> None:
    fault, says = FAULTS[name]
    repo = hub.add(f"owner/{name}", files, faults={WEIGHTS: fault})
    done = run("models", "pull", f"owner/{name}")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert says in errors[0]
    assert "Traceback" not in done.stderr
    assert cache_of(home, f"owner/{name}") == []
    repo.faults.clear()
    hub.log.clear()
    assert run("models", "pull", f"owner/{name}").returncode == 0
    assert set(hub.fetched) == {WEIGHTS}  # the whole files of the first attempt were kept


def test_a_file_that_cannot_be_written_is_told_and_not_kept(hub: Hub, tmp_path: Path, files: dict[str, bytes]) -> None:
    hub.add("owner/full", files)
    limit = 150_000  # bytes of a file, in place of a disk that fills up
    done = subprocess.run(
        [HEADHUNT, "models", "pull", "owner/full"],
        env=hub.env(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written (File too large): set HF_HOME to another folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert cache_of(tmp_path, "owner/full") == []


def test_a_hub_that_is_not_there_is_told_at_once(hub: Hub, tmp_path: Path) -> None:
    env = hub.env(tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    command = [HEADHUNT, "models", "check", "owner/any"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "http://127.0.0.1:9 does not answer or broke off" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("page", [b"<html>please log in</html>", b"{}"])
def test_a_page_in_place_of_a_hub_is_told(hub: Hub, run: Run, page: bytes) -> None:
    hub.page = page
    try:
        done = run("models", "check", "owner/any")
    finally:
        hub.page = None
    assert done.returncode == 2
    assert "answers, but not as a hub of models: check HF_ENDPOINT and the proxy" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_is_checked_without_a_hub(hub: Hub, run: Run, files: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    done = run("models", "check", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "4 layers x 6 heads x 16" in done.stdout
    refused = run("models", "pull", str(tmp_path))
    assert refused.returncode == 2
    assert "is on this disk: there is nothing to download" in refused.stderr
    assert hub.log == []


def test_what_lies_in_folders_of_a_repository_is_left_there(hub: Hub, run: Run, files: dict[str, bytes]) -> None:
    hub.add("owner/folders", files | {"tokenizer_2/tokenizer.json": b"{}", "onnx/model.safetensors": bytes(200_000)})
    assert run("models", "pull", "owner/folders").returncode == 0
    assert sum(hub.fetched.values()) == sum(map(len, files.values()))


def test_a_slow_hub_is_waited_for_and_one_that_hangs_is_told(hub: Hub, run: Run, files: dict[str, bytes]) -> None:
    hub.add("owner/slow", files, faults={WEIGHTS: Fault(pause_s=0.02)})
    hub.pause_s = 1
    assert run("models", "pull", "owner/slow").returncode == 0
    hub.pause_s = TIMEOUT_S + 2
    try:
        done = run("models", "check", "owner/slow")
    finally:
        hub.pause_s = 0
    assert done.returncode == 2
    assert "does not answer or broke off (timed out)" in done.stderr
    assert done.stderr.count("\n") == 1
