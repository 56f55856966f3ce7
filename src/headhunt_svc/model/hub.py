"""The hub: asked what a model is, and for its files. Wrong names, gates and broken connections become one line.

Only what is not on this disk is asked for: a model whose commit is locked and cached needs no network.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from headhunt_svc.errors import ModelError, UnreachableError
from headhunt_svc.model.checkpoint import check_family, read_config
from headhunt_svc.model.hub_errors import cache_folder, endpoint, explained, is_offline, no_hub
from headhunt_svc.model.identity import (
    COMMIT,
    LockedFile,
    ModelLock,
    lock_folder,
    lock_of,
    locked_file,
    small_files,
    snapshot_folder,
    weight_files,
)
from headhunt_svc.params import MllmParams

TIMEOUT_S = 10.0  # of a question to the hub; downloads have the client's own, HF_HUB_DOWNLOAD_TIMEOUT
SHOWN_FROM_BYTES = 1_000_000  # smaller files are fetched without a progress bar
LOGGED_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the hub; sha256: None for a small one, of which the hub knows another hash."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Repository:
    """What the hub says of a model, without its files' content. gated: who may download must accept terms before."""

    id: str
    revision: str | None
    commit: str
    files: dict[str, RemoteFile]
    gated: bool
    licence: str | None


def ask(mllm_id: str, revision: str | None) -> Repository:
    """Resolve a branch, tag or nothing (the default branch) to a commit, and list its files: one request.

    Raises:
        ModelError: no such model or revision, or no access.
        UnreachableError: the hub does not answer.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RevisionNotFoundError

    if is_offline():
        where = f"{mllm_id} at {revision}" if revision else mllm_id
        raise UnreachableError(
            f"{where} cannot be resolved while HF_HUB_OFFLINE is set: unset it, or name a commit that is in the cache "
            f"({cache_folder()})"
        )
    with explained(mllm_id, revision):
        try:
            info = HfApi().model_info(mllm_id, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
        except RevisionNotFoundError as exc:
            raise ModelError(f"{mllm_id} has no revision {revision!r}{_revisions(mllm_id)}") from exc
        except (HfHubHTTPError, HFValidationError):
            raise
        except (ValueError, KeyError, TypeError) as exc:  # no JSON, or another
            raise UnreachableError(no_hub()) from exc
    if not COMMIT.fullmatch(str(info.sha)):
        raise UnreachableError(no_hub())
    files = {
        s.rfilename: RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None) for s in info.siblings or ()
    }
    licence = getattr(info.card_data, "license_name", None) or getattr(info.card_data, "license", None)
    return Repository(mllm_id, revision, str(info.sha), files, bool(info.gated), str(licence) if licence else None)


def _revisions(mllm_id: str) -> str:
    """The names that would be right, for a message; nothing where the hub does not list them."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the transport, whichever it is

    try:
        refs = HfApi().list_repo_refs(mllm_id)
    except (HTTPError, OSError):
        return ": set mllm.revision to one of its branches, tags or commits"
    names = ", ".join(ref.name for ref in (*refs.branches, *refs.tags))
    return f": there are {names}, and commits"


def free_bytes(folder: Path) -> int:
    """Free space on the disk of a folder, which need not exist."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free


def resolve(mllm: MllmParams) -> ModelLock:
    """Ask the hub once which model this is now; a wrong one is refused before any weights are fetched.

    Fetches the small files (of which the hub names no SHA-256), and those weights alone of which it names none.

    Raises:
        ModelError, UnreachableError: see `ask` and `check_remote`.
    """
    if cached := _cached_offline(mllm.id, mllm.revision):
        check_family(read_config(cached), mllm.id)
        return lock_folder(mllm, cached, mllm.revision)
    repository = ask(mllm.id, mllm.revision)
    small, weights = check_remote(repository)
    folder = snapshot_folder(mllm.id, repository.commit)
    files = [locked_file(folder / name) for name in small]
    for remote in (repository.files[name] for name in weights):
        if remote.sha256 is None:
            download(mllm.id, repository.commit, [remote.name])
            files.append(locked_file(folder / remote.name))
        else:
            files.append(LockedFile(name=remote.name, size=remote.size, sha256=remote.sha256))
    return lock_of(mllm, repository.commit, files)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a model that loading reads, with their sizes. folder: where they are or go to."""

    id: str
    folder: Path
    repository: Repository | None  # of a hub
    sizes: dict[str, int]
    weights: tuple[str, ...]


def list_files(mllm_id: str, revision: str | None) -> Listing:
    """Look at a model of a hub or a folder; of a hub's, small files are fetched.

    Raises:
        ModelError, UnreachableError: see `ask` and `check_remote`.
    """
    folder = _cached_offline(mllm_id, revision) or Path(mllm_id)
    if folder.is_dir():
        check_family(read_config(folder), mllm_id)
        names = [path.name for path in folder.iterdir() if path.is_file()]
        small, weights = small_files(names), weight_files(names, folder, mllm_id)
        sizes = {name: (folder / name).stat().st_size for name in (*small, *weights)}
        return Listing(mllm_id, folder, None, sizes, tuple(weights))
    repository = ask(mllm_id, revision)
    small, weights = check_remote(repository)
    sizes = {name: repository.files[name].size for name in (*small, *weights)}
    return Listing(mllm_id, snapshot_folder(mllm_id, repository.commit), repository, sizes, tuple(weights))


def _cached_offline(mllm_id: str, revision: str | None) -> Path | None:
    """Where a commit is in the cache, if no hub may be asked about it."""
    if not is_offline() or not COMMIT.fullmatch(revision or ""):
        return None
    folder = snapshot_folder(mllm_id, str(revision))
    return folder if folder.is_dir() else None


def check_remote(repository: Repository) -> tuple[list[str], list[str]]:
    """Check the family, and that no weights are missing; names of small files, which are fetched, and of weights.

    Raises:
        ModelError: not supported, incomplete, or no access.
    """
    small = small_files(repository.files)
    if "config.json" not in small:
        raise ModelError(
            f"{repository.id} has no config.json, so it is no model that transformers can load: take another"
        )
    download(repository.id, repository.commit, ["config.json"])
    folder = snapshot_folder(repository.id, repository.commit)
    _check_supported(read_config(folder), repository.id)
    download(repository.id, repository.commit, small)
    return small, weight_files(repository.files, folder, repository.id)


def _check_supported(config: dict[str, Any], mllm_id: str) -> None:
    """Refuse an unsupported model; the commonest is the original of a converted checkpoint, which is named."""
    try:
        check_family(config, mllm_id)
    except ModelError as exc:
        converted = next((name for name in (f"{mllm_id}-hf", f"{mllm_id}-HF") if _exists(name)), None)
        if converted is None:
            raise
        raise ModelError(
            f"{mllm_id} is of type {config.get('model_type')!r}, which needs code of its own; such code is never run: "
            f"take {converted}, the same in the format of transformers"
        ) from exc


def _exists(mllm_id: str) -> bool:
    """Whether the hub has a model of this id."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        return bool(HfApi().repo_exists(mllm_id))
    except (HTTPError, OSError):
        return False


def download(mllm_id: str, commit: str, names: list[str]) -> None:
    """Fetch files into the cache, those that are not there, with the client's progress bars.

    Raises:
        ModelError, UnreachableError: no access, no connection, no space. Files that were not finished are not kept.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # its warnings tell of every retry in several lines
    folder = snapshot_folder(mllm_id, commit)
    for name in names:
        if not (folder / name).exists():
            with explained(mllm_id, commit):
                hf_hub_download(mllm_id, name, revision=commit, tqdm_class=_progress(name))


def _progress(name: str) -> Any:
    """The class of progress bars: also where standard error is no terminal, as in a stage's log, but there seldom.

    The client's own would be off there, and off everywhere once transformers has been told to show none.
    """
    from huggingface_hub import constants
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Progress(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            options["desc"] = name
            small = (options.get("total") or 0) < SHOWN_FROM_BYTES
            options["disable"] = small or bool(constants.HF_HUB_DISABLE_PROGRESS_BARS)
            if not sys.stderr.isatty():
                options["mininterval"] = LOGGED_EVERY_S
            super().__init__(*args, **options)

    return Progress


def missing(lock: ModelLock) -> list[LockedFile]:
    """Files of a locked model that are not in the cache."""
    folder = snapshot_folder(lock.id, str(lock.commit))
    return [file for file in lock.files if not (folder / file.name).exists()]


def fetch(lock: ModelLock) -> Path:
    """The folder in the cache with the files of a locked model; what is missing is downloaded and compared.

    Raises:
        ModelError: no access or no space, or what came is not what was locked (it is not kept).
        UnreachableError: no connection.
    """
    folder, lacking = snapshot_folder(lock.id, str(lock.commit)), missing(lock)
    needed, free = sum(file.size for file in lacking), free_bytes(folder)
    if needed > free:
        raise ModelError(
            f"{lock.label} needs {decimal(needed)} more on the disk of {cache_folder()}, where {decimal(free)} are "
            "free: free some space, or set HF_HOME to another disk"
        )
    for file in lacking:
        download(lock.id, str(lock.commit), [file.name])
        if locked_file(folder / file.name) != file:
            forget(folder / file.name)
            raise ModelError(
                f"{file.name} of {lock.label} arrived as another file than {endpoint()} announced: run it again; "
                "behind a proxy or mirror, try without"
            )
    return folder


def repair(lock: ModelLock) -> Path:
    """`fetch`, after files in the cache that are not what was locked have been removed."""
    folder = snapshot_folder(lock.id, str(lock.commit))
    for file in lock.files:
        if (folder / file.name).exists() and locked_file(folder / file.name) != file:
            forget(folder / file.name)
    return fetch(lock)


def forget(path: Path) -> None:
    """Remove a file from the cache: the link, and what it points to."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
