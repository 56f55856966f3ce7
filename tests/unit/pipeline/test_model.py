"""The lock of a local folder, and what is refused before anything is loaded."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headhunt_svc import paths
from headhunt_svc.errors import ArtifactError, HeadHuntError, ModelError, OutputError
from headhunt_svc.model import identity
from headhunt_svc.model.hub_errors import explained
from headhunt_svc.model.identity import current_lock, difference, digest_of, lock_folder, read_lock
from headhunt_svc.params import MllmParams
from headhunt_svc.pipeline.model import lock_model
from helpers.models import save_tiny


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("internvl", tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a model in an empty project, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "mine"
    copy.mkdir()
    for file in original.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def lock(folder: Path) -> identity.ModelLock:
    return lock_model(MllmParams(id=str(folder)), paths.MODEL_LOCK, paths.MODEL_LINKS)[0]


def test_the_lock_is_where_paths_say() -> None:
    assert identity.LOCK == paths.MODEL_LOCK


def test_links_lead_to_the_files_and_follow_another_model(folder: Path) -> None:
    locked = lock(folder)
    links = {path.name: path.resolve() for path in paths.MODEL_LINKS.iterdir()}
    assert links == {file.name: folder / file.name for file in locked.files}
    moved = folder.rename(folder.with_name("moved"))
    assert lock(moved).digest == locked.digest
    assert {path.resolve().parent for path in paths.MODEL_LINKS.iterdir()} == {moved}
    (moved / "generation_config.json").unlink()
    lock(moved)
    assert not (paths.MODEL_LINKS / "generation_config.json").is_symlink()


def test_two_processes_may_lock_a_model_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other is always a moment earlier: it removes each stale link and makes each new one."""
    lock(folder)
    moved = folder.rename(folder.with_name("moved"))
    unlink, symlink_to, others = Path.unlink, Path.symlink_to, {"target": moved}

    def unlink_after_the_other(path: Path, missing_ok: bool = False) -> None:
        if path.parent == paths.MODEL_LINKS:
            unlink(path)
        unlink(path, missing_ok)

    def link_after_the_other(path: Path, target: Path) -> None:
        symlink_to(path, others["target"] / path.name)
        symlink_to(path, target)

    monkeypatch.setattr(Path, "unlink", unlink_after_the_other)
    monkeypatch.setattr(Path, "symlink_to", link_after_the_other)
    locked = lock(moved)
    assert {path.name: path.resolve() for path in paths.MODEL_LINKS.iterdir()} == {
        file.name: moved / file.name for file in locked.files
    }
    shutil.rmtree(paths.MODEL_LINKS)
    others["target"] = folder
    with pytest.raises(OutputError, match=r"cannot write .*model \(File exists\): remove it and run this again"):
        lock(moved)  # the other locks another model


def test_any_file_that_is_read_changes_the_name_and_others_do_not(folder: Path) -> None:
    before = lock(folder).digest
    (folder / "README.md").write_text("words")
    assert lock(folder).digest == before
    names = {before}
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "preprocessor_config.json"):
        with (folder / name).open("a") as file:
            file.write(" ")
        names.add(lock(folder).digest)
    assert len(names) == 5


def test_the_lock_of_another_folder_or_older_content_is_not_used(folder: Path) -> None:
    mllm = MllmParams(id=str(folder))
    locked = lock(folder)
    assert current_lock(mllm) == locked
    with (folder / "config.json").open("a") as file:
        file.write(" ")
    assert current_lock(mllm) == locked  # params.yaml names what was locked; loading compares
    assert "config.json has" in str(difference(locked, folder))
    other = folder.rename(folder.with_name("other"))
    assert current_lock(MllmParams(id=str(other))) == lock_folder(MllmParams(id=str(other)))
    with pytest.raises(ArtifactError, match=r"neither a folder nor locked \(artifacts/model.json is the lock of"):
        current_lock(mllm.model_copy(update={"id": "owner/model"}))


def test_files_in_another_order_are_the_same_model(folder: Path) -> None:
    files = lock(folder).files
    assert digest_of(reversed(files)) == digest_of(files)
    assert digest_of(files[1:]) != digest_of(files)


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def part_missing(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def index_broken(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("[]")


def type_missing(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (cut, "model.safetensors is cut off or broken"),
    (lambda f: (f / "model.safetensors").write_text("no weights"), "model.safetensors is cut off or broken"),
    (lambda f: (f / "model.safetensors").unlink(), r"has no model.safetensors \(no \*.safetensors\)"),
    (pickled, "only pytorch_model.bin, which can run code and is never loaded"),
    (part_missing, "lacks 1 of 2 weight files, e.g. model-2.safetensors"),
    (index_broken, "cannot be read as an index of weights"),
    (lambda f: (f / "config.json").unlink(), "has no config.json"),
    (lambda f: (f / "config.json").write_text("{"), "cannot be read as a model's configuration"),
    (lambda f: (f / "config.json").write_text("[]"), "is not a model's configuration"),
    (type_missing, "is of type 'None', which is not supported"),
]


@pytest.mark.parametrize(("break_it", "says"), BROKEN)
def test_a_folder_that_is_no_whole_model_is_refused(
    folder: Path, break_it: Callable[[Path], object], says: str
) -> None:
    break_it(folder)
    with pytest.raises(ModelError, match=says) as caught:
        lock(folder)
    assert "\n" not in str(caught.value)
    assert not paths.MODEL_LOCK.exists()


def test_a_lock_that_cannot_be_read_says_the_way_out(folder: Path) -> None:
    paths.MODEL_LOCK.parent.mkdir()
    paths.MODEL_LOCK.write_text('{"id": 3}')
    with pytest.raises(ArtifactError, match="not the lock of a model: run `headhunt models lock --update`"):
        read_lock()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "is full: free some space, or set HF_HOME to another"),
        (errno.EACCES, r"cannot be written \(Permission denied\)"),
    ],
)
def test_a_disk_that_takes_no_more(number: int, says: str) -> None:
    with pytest.raises(HeadHuntError, match=says), explained("owner/model", None):
        raise OSError(number, os.strerror(number), "blob")
