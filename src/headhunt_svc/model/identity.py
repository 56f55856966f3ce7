"""Which model it is: a name for the content of its files, the same for a hub and for a folder.

A branch or tag says where to look, never what is there. `headhunt models lock` looks once and records the commit and
the hash of every file that loading reads (artifacts/model.json); everything else compares with this record.
Light to import: no model library, no client of a hub.
"""

import hashlib
import re
from collections.abc import Iterable
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from headhunt_svc.errors import ArtifactError, ModelError
from headhunt_svc.params import MllmParams
from headhunt_svc.sections import Section
from headhunt_svc.storage.files import read_json, sha256, write_json
from headhunt_svc.storage.json_text import parse_json

LOCK = Path("artifacts/model.json")  # paths.MODEL_LOCK; every stage that asks for the model would depend on paths.py
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TRAINING_RECORD = "pretraining.json"  # its `domain`: what the model has seen, in a few words
SMALL = (  # what loading reads beside the weights
    "config.json",
    "generation_config.json",
    "*preprocessor_config.json",
    "processor_config.json",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    TRAINING_RECORD,
    INDEX,
)
COMMIT = re.compile(r"[0-9a-f]{40}")
DEFAULT_BRANCH = "main"


class LockedFile(Section):
    """A file of a model, by content."""

    name: str = Field(pattern=r"^[^/\\\x00]+$")
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ModelLock(Section):
    """artifacts/model.json: one model, exactly. revision: as it was asked for; commit: None for a local folder."""

    schema_version: Literal[1] = 1
    id: str
    revision: str | None = None
    commit: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    digest: str = Field(pattern=r"^sha256:[0-9a-f]+$")
    files: tuple[LockedFile, ...]

    def is_of(self, mllm: MllmParams) -> bool:
        """Whether params.yaml names this model: by the same words, or by the commit."""
        return self.id == mllm.id and (self.commit is None or mllm.revision in (self.revision, self.commit))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def label(self) -> str:
        """Id and commit, for messages."""
        return f"{self.id} at commit {self.commit[:12]}" if self.commit else self.id


def digest_of(files: Iterable[LockedFile]) -> str:
    """The name of a model's content."""
    lines = "".join(f"{file.sha256}  {file.name}\n" for file in sorted(files, key=lambda file: file.name))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()[:16]


def digest_of_older(folder: Path) -> str:
    """The name that bundles without a list of files have for a local model's content."""
    kinds = ("*.safetensors", "config.json", "tokenizer*.json", "*.jinja", "preprocessor_config.json")
    return "sha256:" + sha256(*sorted(path for kind in kinds for path in folder.glob(kind)))[:16]


def lock_of(mllm: MllmParams, commit: str | None, files: Iterable[LockedFile]) -> ModelLock:
    """The lock of these files."""
    ordered = tuple(sorted(files, key=lambda file: file.name))
    revision = mllm.revision if commit else None
    return ModelLock(id=mllm.id, revision=revision, commit=commit, digest=digest_of(ordered), files=ordered)


def small_files(names: Iterable[str]) -> list[str]:
    """Of a model's files, those beside the weights that loading reads: configuration, tokenizer, index."""
    listed = {name for name in names if "/" not in name}  # folders hold other formats
    small = sorted(name for name in listed if any(fnmatch(name, pattern) for pattern in SMALL))
    return [name for name in small if name != INDEX or WEIGHTS not in listed]  # one file goes before parts


def weight_files(names: Iterable[str], folder: Path, mllm_id: str) -> list[str]:
    """Of a model's files, the weights that loading reads.

    folder: where the index of a model in parts is.

    Raises:
        ModelError: no weights, pickled ones only, an index that cannot be read, or parts that are missing.
    """
    listed = {name for name in names if "/" not in name}
    if WEIGHTS in listed:
        return [WEIGHTS]
    if INDEX not in listed:
        pickled = sorted(name for name in listed if fnmatch(name, "*.bin") or fnmatch(name, "*.pt*"))
        have = f"only {pickled[0]}, which can run code and is never loaded" if pickled else "no *.safetensors"
        raise ModelError(f"{mllm_id} has no {WEIGHTS} ({have}): take a checkpoint in the format of safetensors")
    try:
        parts = sorted(set(parse_json((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as exc:
        raise ModelError(f"{folder / INDEX} cannot be read as an index of weights ({exc}): get it again") from exc
    if missing := [name for name in parts if name not in listed]:
        raise ModelError(
            f"{mllm_id} lacks {len(missing)} of {len(parts)} weight files, e.g. {missing[0]}: get the whole checkpoint"
        )
    return parts


@lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    """The hash of a file's content; a file of many gigabytes is read once a process while it stays the same."""
    return sha256(path)


def locked_file(path: Path) -> LockedFile:
    """A file by content."""
    stat = path.stat()
    return LockedFile(
        name=path.name, size=stat.st_size, sha256=_sha256(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    )


def lock_folder(mllm: MllmParams, folder: Path | None = None, commit: str | None = None) -> ModelLock:
    """The lock of a local folder, or of a commit's folder in the cache, by its content.

    Raises:
        ModelError: weights are missing, or a file cannot be read.
    """
    folder = folder or Path(mllm.id)
    try:
        names = [path.name for path in folder.iterdir() if path.is_file()]
        files = [locked_file(folder / n) for n in (*small_files(names), *weight_files(names, folder, mllm.id))]
    except OSError as exc:
        raise ModelError(f"{exc.filename or folder} cannot be read ({exc.strerror or exc})") from exc
    return lock_of(mllm, commit, files)


def read_lock(path: Path = LOCK) -> ModelLock:
    """Read model.json.

    Raises:
        ArtifactError: missing or broken.
    """
    try:
        return ModelLock.model_validate(read_json(path, "headhunt models lock"))
    except ValidationError as exc:
        raise ArtifactError(f"{path} is not the lock of a model: run `headhunt models lock --update`") from exc


def write_lock(path: Path, lock: ModelLock) -> None:
    """Write model.json."""
    write_json(path, lock.model_dump(mode="json"))


def current_lock(mllm: MllmParams, path: Path = LOCK) -> ModelLock:
    """The lock of the model that params.yaml names; of a local folder without one, its content.

    Raises:
        ArtifactError: a model of a hub that is not locked.
    """
    lock = read_lock(path) if path.exists() else None
    if lock and lock.is_of(mllm):
        return lock
    if Path(mllm.id).is_dir():
        return lock_folder(mllm)
    revision = f" at {mllm.revision}" if mllm.revision else ""
    locked = f"{path} is the lock of {lock.id} at {lock.revision or lock.commit}" if lock else f"{path} is not there"
    raise ArtifactError(
        f"the model {mllm.id}{revision} is neither a folder nor locked ({locked}): run `headhunt models lock`"
    )


def difference(lock: ModelLock, folder: Path) -> str | None:
    """The first file of a folder that is not as it was locked, in words; None if all are."""
    for file in sorted(lock.files, key=lambda file: file.size):  # what is quick to compare comes first
        path = folder / file.name
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != file.size:
            return f"{path} has {path.stat().st_size} bytes, not {file.size}"
        if (here := locked_file(path).sha256) != file.sha256:
            return f"{path} is another file (sha256 {here[:12]}, not {file.sha256[:12]})"
    names = [path.name for path in folder.iterdir() if path.is_file()]
    extra = sorted({*small_files(names), *({WEIGHTS} & set(names))} - {file.name for file in lock.files})
    return f"{folder / extra[0]} was not there" if extra and lock.commit is None else None


def snapshot_folder(mllm_id: str, commit: str) -> Path:
    """Where the cache of the hub's client keeps the files of a commit, whether they are there or not."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=mllm_id, repo_type="model") / "snapshots" / commit
