"""The model is content: locked once, compared whenever it is loaded, through the real client of a hub on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conftest import HEADHUNT, ROOT
from headhunt_svc.model.identity import read_lock
from helpers.forked import Commands
from helpers.hub import Hub, files_of, serving_hub
from helpers.models import save_tiny


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving_hub() as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HF_HOME of the commands: one cache, and every test has a repository of its own."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("qwen3_vl", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def commands(hub: Hub, home: Path) -> Iterator[Commands]:
    """Forks of a process in which the hub's client was imported with this hub's address."""
    running = Commands(hub.env(home))
    yield running
    running.close()


class Project:
    """A folder with params.yaml, and the commands in it."""

    def __init__(self, folder: Path, mllm: dict[str, str], commands: Commands, env: dict[str, str]) -> None:
        self.folder, self.commands, self.env = folder, commands, env
        self.name_model(mllm)
        self.lock = folder / "artifacts" / "model.json"

    def name_model(self, mllm: dict[str, str]) -> None:
        params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"mllm": mllm}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = [str(HEADHUNT), *args]
        return subprocess.CompletedProcess(command, *self.commands.run(command, self.folder, self.env, 120))

    def refused(self, *args: str) -> str:
        done = self.run(*args)
        assert done.returncode == 2, done.stdout + done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr


@pytest.fixture
def project(hub: Hub, home: Path, commands: Commands, model: Path, tmp_path: Path) -> Project:
    """A project with a model of the hub that has the name of its folder."""
    hub.log.clear()
    name = f"tiny/{tmp_path.name}"
    hub.add(name, files_of(model))
    return Project(tmp_path, {"id": name}, commands, hub.env(home))


def repo_of(hub: Hub, project: Project) -> tuple[str, str]:
    name = f"tiny/{project.folder.name}"
    return name, hub.repos[name].branches["main"]


def moved(hub: Hub, project: Project) -> str:
    """Another model on the same branch; the commit."""
    repo = hub.repos[f"tiny/{project.folder.name}"]
    files = dict(repo.commits[repo.branches["main"]])
    weights = bytearray(files["model.safetensors"])
    weights[-1] ^= 1
    return repo.commit(files | {"model.safetensors": bytes(weights)})


def test_a_hub_and_a_folder_with_the_same_files_are_the_same_model(hub: Hub, project: Project, model: Path) -> None:
    name, commit = repo_of(hub, project)
    done = project.run("models", "lock")
    assert done.returncode == 0, done.stderr
    lock = read_lock(project.lock)
    assert (lock.id, lock.revision, lock.commit) == (name, None, commit)
    assert {f.name: f.size for f in lock.files}["model.safetensors"] == (model / "model.safetensors").stat().st_size
    project.name_model({"id": str(model)})
    assert project.run("models", "lock").returncode == 0
    here = read_lock(project.lock)
    assert (here.commit, here.digest, here.files) == (None, lock.digest, lock.files)


def test_what_is_not_read_is_neither_fetched_nor_part_of_the_name(hub: Hub, project: Project) -> None:
    name, _ = repo_of(hub, project)
    assert project.run("models", "lock").returncode == 0
    digest = read_lock(project.lock).digest
    extra = {"README.md": b"a", "pytorch_model.bin": bytes(200_000), "onnx/model.onnx": b"o"}
    hub.repos[name].commit(hub.repos[name].commits[hub.repos[name].branches["main"]] | extra)
    assert project.run("models", "lock", "--update").returncode == 0
    assert read_lock(project.lock).digest == digest
    assert set(extra) & set(hub.fetched) == set()


def test_a_moved_branch_is_noticed(hub: Hub, project: Project) -> None:
    name, old = repo_of(hub, project)
    assert project.run("models", "lock").returncode == 0
    before = project.lock.read_text()
    new = moved(hub, project)
    stderr = project.refused("models", "lock")
    assert f"{name}: main moved from {old} to {new}; heads were hunted in {old}" in stderr
    assert "headhunt models lock --update" in stderr
    kept = project.run("models", "lock", "--keep")  # as the stage does: a clone of the project still works
    assert kept.returncode == 0
    assert f"main moved from {old} to {new}" in kept.stderr
    assert project.lock.read_text() == before

    project.name_model({"id": name, "revision": old})
    assert project.run("models", "lock").returncode == 0
    assert project.lock.read_text() == before
    project.name_model({"id": name})
    assert project.run("models", "lock", "--update").returncode == 0
    assert read_lock(project.lock).commit == new


def test_a_pinned_commit_is_asked_for_once(hub: Hub, project: Project) -> None:
    name, commit = repo_of(hub, project)
    project.name_model({"id": name, "revision": commit})
    assert project.run("models", "lock").returncode == 0
    hub.log.clear()
    assert project.run("models", "lock").returncode == 0
    assert hub.log == []


def test_a_hub_that_does_not_answer_leaves_the_lock(hub: Hub, project: Project) -> None:
    assert project.run("models", "lock").returncode == 0
    before = project.lock.read_text()
    hub.status = 503
    try:
        done = project.run("models", "lock")
    finally:
        hub.status = None
    assert done.returncode == 0
    assert "whether" in done.stderr
    assert "answers 503" in done.stderr
    assert project.lock.read_text() == before


def test_without_a_network_the_locked_model_is_all_that_is_needed(
    hub: Hub, project: Project, home: Path, tmp_path: Path
) -> None:
    assert project.run("models", "lock").returncode == 0
    hub.log.clear()
    code = (
        "from headhunt_svc.model.loading import load_extractor\nfrom headhunt_svc.params import load_params\n"
        "params = load_params()\nprint(len(load_extractor(params.mllm, params.segmentation, 'cpu').heads))"
    )
    for args in ([str(HEADHUNT), "models", "lock"], [sys.executable, "-c", code]):
        env = hub.env(home, HF_HUB_OFFLINE="1")
        done = subprocess.run(args, cwd=project.folder, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "24"
    before = project.lock.read_text()
    commit = str(read_lock(project.lock).commit)
    project.lock.unlink()
    name = f"tiny/{project.folder.name}"
    project.name_model({"id": name, "revision": commit})
    for args in (["models", "check", name, "--revision", commit], ["models", "lock"]):
        done = subprocess.run(
            [HEADHUNT, *args], cwd=project.folder, env=env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(before) | {"revision": commit} == json.loads(project.lock.read_text())
    env = hub.env(tmp_path / "empty", HF_HUB_OFFLINE="1")
    lacking = subprocess.run(
        [HEADHUNT, "models", "lock"], cwd=project.folder, env=env, capture_output=True, text=True, timeout=120
    )
    assert lacking.returncode == 2
    assert "is not in the cache" in lacking.stderr
    assert "HF_HUB_OFFLINE" in lacking.stderr
    assert lacking.stderr.count("\n") == 1
    assert hub.log == []


def test_a_model_that_is_not_locked_is_not_loaded(project: Project) -> None:
    stderr = project.refused("extract")
    assert "run `headhunt" in stderr


def cached(home: Path, project: Project, name: str) -> Path:
    (path,) = home.glob(f"hub/models--tiny--{project.folder.name}/snapshots/*/{name}")
    return path.resolve()


def flip(path: Path) -> None:
    """Change one byte, not the size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def test_a_changed_file_in_the_cache_is_refused_and_got_again(hub: Hub, project: Project, home: Path) -> None:
    name, commit = repo_of(hub, project)
    assert project.run("models", "lock").returncode == 0
    weights = cached(home, project, "model.safetensors")
    flip(weights)
    stderr = project.refused("models", "lock")
    assert "model.safetensors is another file" in stderr
    assert f"headhunt models pull {name} --revision {commit}" in stderr
    assert project.run("models", "pull", name, "--revision", commit).returncode == 0
    assert project.run("models", "lock").returncode == 0


def dvc(project: Project, *args: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{project.env['PATH']}"
    env = project.env | {"PATH": path, "DVC_NO_ANALYTICS": "true"}
    command = [sys.executable, "-m", "dvc", *args]
    done = subprocess.run(command, cwd=project.folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("place", ["hub", "folder"])
def test_a_changed_weight_file_is_noticed_by_dvc_status(project: Project, home: Path, model: Path, place: str) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    stage = {k: v for k, v in stages["model"].items() if k in ("cmd", "params", "outs")}
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"model": stage}}))
    weights = model / "model.safetensors"
    if place == "folder":
        copy = project.folder / "copy"
        copy.mkdir()
        for file in model.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        project.name_model({"id": str(copy)})
        weights = copy / "model.safetensors"
    dvc(project, "init", "--no-scm", "-q")
    dvc(project, "repro")
    if place == "hub":
        weights = cached(home, project, "model.safetensors")
    assert json.loads(dvc(project, "status", "--json")) == {}
    flip(weights)
    assert json.loads(dvc(project, "status", "--json")) == {"model": [{"changed outs": {"data/model": "modified"}}]}
