"""init: a project of one's own, a folder in which `dvc repro evaluate` runs all stages with the installed package."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment

from headhunt_svc import paths
from headhunt_svc.errors import ConfigError, OutputError, list_problems
from headhunt_svc.params import Params, load_params
from headhunt_svc.pipeline.stages import as_yaml, code_fingerprints, project_pipeline, sections_with_defaults
from headhunt_svc.storage.files import write_file, write_json, write_text

DISTRIBUTION = "headhunt-svc"
PARAMS, PIPELINE = "params.yaml", "dvc.yaml"
DVC_MISSING = 'DVC is not installed: `pip install "headhunt-svc[pipeline]"`, then run `dvc init` there'


@dataclass(frozen=True)
class Project:
    """What a new project holds beside its dvc.yaml.

    texts: files by name. model: folder of the embedded model, if it uses that. corpus: where the embedded default's
    videos go; None with own footage.
    """

    texts: Mapping[str, str]
    model: Path | None
    corpus: Mapping[str, str] | None = None

    @property
    def names(self) -> list[str]:
        """Files and folders to write; dvc.yaml is made from the parameters."""
        return [*self.texts, *([str(paths.DEMO_MLLM)] if self.model else [])]

    def write(self, name: str, folder: Path) -> None:
        """Write one of them."""
        if name in self.texts:
            write_text(folder / name, self.texts[name])
        elif self.model is not None:
            for file in sorted(self.model.iterdir()):
                write_file(folder / name / file.name, partial(shutil.copyfile, file))


def own_project(shipped: Path, footage: Path | None, model: str | None, revision: str | None, folder: Path) -> Project:
    """A project with own footage, and an own model or the embedded one.

    shipped: the folder that holds the embedded default.

    Raises:
        ConfigError: the folder of the footage or of the model is missing.
    """
    if footage is not None and not footage.is_dir():
        raise ConfigError(f"--footage {footage}: no such folder")
    if model is not None and Path(model).is_dir():
        model = _seen_from(folder, Path(model))
    elif model is not None and (model.startswith((".", "/", "~")) or model.count("/") > 1):
        raise ConfigError(f"--model {model}: neither a folder that is there nor an id of a hub (OWNER/NAME)")
    values = {
        "name": folder.resolve().name,
        "version": version(DISTRIBUTION),
        "model": model or str(paths.DEMO_MLLM),
        "embedded": model is None,
        "revision": revision,
        "footage": "footage" if footage is None else _seen_from(folder, footage),
        "folders": footage is not None and any(next(footage.glob(f"{p}anomalous"), None) for p in ("", "*/")),
    }
    names = (PARAMS, "README.md", "annotations.example.jsonl", ".gitignore", ".dvcignore")
    return Project(
        {name: _render(name, values) for name in names}, shipped / paths.DEMO_MLLM if model is None else None
    )


def demo_project(shipped: Path, corpus: Mapping[str, str]) -> Project:
    """The embedded default's project, which renders its own footage; `corpus` says where."""
    texts = {name: _render(name, {}) for name in (".gitignore", ".dvcignore")}
    texts["README.md"] = _render("README.demo.md", {"version": version(DISTRIBUTION)})
    texts[PARAMS] = (shipped / PARAMS).read_text(encoding="utf-8")
    return Project(texts, shipped / paths.DEMO_MLLM, corpus)


def write_project(folder: Path, project: Project, update: bool = False) -> str | None:
    """Write a new project, and make it a DVC repository. Returns what is left to do, if DVC is not installed.

    update: in a project that is there, write anew what belongs to the package, and nothing else: dvc.yaml, and with
    the embedded default's footage also its parameters and model.

    Raises:
        ConfigError: files are in the way, which are named; nothing was written.
    """
    names = project.names
    if update and (folder / PARAMS).exists():
        names = [PARAMS, str(paths.DEMO_MLLM)] if project.corpus is not None else []
    elif in_the_way := [name for name in (*names, PIPELINE) if (folder / name).exists()]:
        raise ConfigError(f"{folder}: {list_problems(in_the_way, 9)} in the way; choose an empty folder, or move these")
    for name in names:
        project.write(name, folder)
    params = load_params(folder / PARAMS)
    comment = f"Made by headhunt-svc {version(DISTRIBUTION)}; `headhunt init . --update` makes it anew"
    write_text(folder / PIPELINE, as_yaml(project_pipeline(params, project.corpus), comment))
    write_code(params, folder / paths.CODE)  # `dvc status` and `dvc repro --dry` need it
    return None if (folder / ".dvc").exists() else _init_dvc(folder)


def write_code(params: Params, out: Path) -> None:
    """code: what a project's stages take from the package: hashes of their code, and parameters with defaults."""
    defaults = params.model_dump(mode="json", include=set(sections_with_defaults()))
    write_json(out, {DISTRIBUTION: version(DISTRIBUTION), "code": code_fingerprints(), "params": defaults})


def _seen_from(folder: Path, path: Path) -> str:
    """A path as the project writes it: relative if it was given so or lies in the project."""
    inside = path.resolve().is_relative_to(folder.resolve())
    return os.path.relpath(path.resolve(), folder.resolve()) if inside or not path.is_absolute() else str(path)


def _scalar(value: object) -> str:
    """A value as YAML writes it, on one line."""
    return yaml.safe_dump(value, width=float("inf"), allow_unicode=True).removesuffix("...\n").strip()


def _render(name: str, values: Mapping[str, Any]) -> str:
    template = resources.files("headhunt_svc.pipeline") / "new_project" / name.removeprefix(".")
    environment = Environment(autoescape=False, keep_trailing_newline=True, trim_blocks=True)  # no HTML
    environment.filters["scalar"] = _scalar
    return environment.from_string(template.read_text(encoding="utf-8")).render(values)


def _init_dvc(folder: Path) -> str | None:
    """Run `dvc init`; with git where git keeps the folder."""
    if find_spec("dvc") is None:
        return DVC_MISSING
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None or _git(folder, "check-ignore", "-q", ".") is not None:
        how = ["--no-scm"]
    else:
        how = [] if Path(top).samefile(folder) else ["--subdir"]
    env = {**os.environ, "DVC_NO_ANALYTICS": "true"}
    command = [sys.executable, "-m", "dvc", "init", "--quiet", *how]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise OutputError(f"`dvc init` failed in {folder}: {' '.join(done.stderr.split())}")
    return None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, or None where it says no or is not installed."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
