"""model: the model that params.yaml names -> artifacts/model.json, its exact content, and links to its files.

The links are there for DVC, which hashes what they point to: a file that was changed behind them is noticed by
`dvc status`, wherever the model is.
"""

from pathlib import Path
from typing import Literal

from headhunt_svc.errors import ArtifactError, OutputError, UnreachableError
from headhunt_svc.model import hub
from headhunt_svc.model.checkpoint import check_family, check_whole, read_config
from headhunt_svc.model.hub_errors import is_offline
from headhunt_svc.model.identity import (
    DEFAULT_BRANCH,
    ModelLock,
    difference,
    lock_folder,
    read_lock,
    write_lock,
)
from headhunt_svc.params import MllmParams

IfMoved = Literal["refuse", "keep", "follow"]


def lock_model(mllm: MllmParams, path: Path, links: Path, if_moved: IfMoved = "refuse") -> tuple[ModelLock, str | None]:
    """The stage model: lock a model to what it is now; also returns a note on a branch that moved or was not asked.

    A model of a hub is locked once, even if its branch moves. if_moved: `refuse` says so as an error, `keep` as a note,
    `follow` locks anew.

    Raises:
        ModelError: not supported, incomplete, not found, no access.
        UnreachableError: the hub does not answer, and nothing is locked yet.
        ArtifactError: the branch has moved, or cached files are not those of the lock.
    """
    note = None
    if Path(mllm.id).is_dir():
        folder = Path(mllm.id)
        check_family(read_config(folder), mllm.id)
        lock = lock_folder(mllm)
        check_whole(folder, [file.name for file in lock.files if file.name.endswith(".safetensors")])
    else:
        old = read_lock(path) if path.exists() and if_moved != "follow" else None
        lock, note = _lock_of_hub(mllm, old if old and old.is_of(mllm) else None, path, if_moved == "keep")
        folder = hub.fetch(lock)
        if problem := difference(lock, folder):
            raise ArtifactError(
                f"{lock.label} is not what was locked: {problem}; run `headhunt models pull {lock.id} --revision "
                f"{lock.commit}` to get it again"
            )
    link_files(lock, folder, links)
    write_lock(path, lock)
    return lock, note


def _lock_of_hub(mllm: MllmParams, old: ModelLock | None, path: Path, keep: bool) -> tuple[ModelLock, str | None]:
    """A hub's model as it is locked (old), or resolved now; the hub is asked only where its answer can differ."""
    if old and (mllm.revision == old.commit or is_offline()):
        return old, None
    if old is None:
        return hub.resolve(mllm), None
    try:
        commit = hub.ask(mllm.id, mllm.revision).commit
    except UnreachableError as exc:
        return old, f"{path} stays as it is; whether {mllm.id} has moved is not known: {exc}"
    if commit == old.commit:
        return old, None
    moved = (
        f"{mllm.id}: {mllm.revision or DEFAULT_BRANCH} moved from {old.commit} to {commit}; heads were hunted in "
        f"{old.commit}, which stays locked in {path}: run `headhunt models lock --update` and `dvc repro` to hunt in "
        f"the new one, or set mllm.revision to {old.commit}"
    )
    if keep:
        return old, moved
    raise ArtifactError(moved)


def link_files(lock: ModelLock, folder: Path, links: Path) -> None:
    """Make `links` a folder of links to a model's files, and of nothing else.

    Raises:
        OutputError: no permission, or no links on this disk.
    """
    targets = {file.name: (folder / file.name).resolve() for file in lock.files}
    try:
        links.mkdir(parents=True, exist_ok=True)
        for old in links.iterdir():
            if targets.get(old.name) != _target(old):
                old.unlink(missing_ok=True)
        for name, target in targets.items():
            try:
                (links / name).symlink_to(target)
            except FileExistsError:  # from before, or of another process that locks the same model
                if _target(links / name) != target:
                    raise
    except OSError as exc:
        raise OutputError(f"cannot write {links} ({exc.strerror or exc}): remove it and run this again") from exc


def _target(link: Path) -> Path | None:
    """Where a link leads; None where there is none, or none any more."""
    try:
        return link.readlink()
    except OSError:
        return None
