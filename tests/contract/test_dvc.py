"""dvc.yaml: stages depend on the code that they import and the parameters that they read; the demo is apart."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
import typer
import yaml

from conftest import ROOT
from headhunt_svc.cli.main import app
from headhunt_svc.demo.params import PretrainParams, load_demo_params
from headhunt_svc.params import Params
from headhunt_svc.pipeline.stages import STAGES, repository_yaml

# The room cli is left out of what a stage runs: a command parses its options, calls the function and prints what
# it returns; no file that a stage writes depends on it.
PACKAGE = "headhunt_svc"
BY_FILE = ("demo", "pipeline", "studies")  # rooms of which a stage needs some files; of all others it lists the folder


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)


def _file(module: str) -> str:
    path = Path("src", *module.split("."))
    return str(path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py"))


def files_behind(graph: grimp.ImportGraph, verb: str) -> set[str]:
    """The source files that a module needs, its own among them; an `__init__` only where something imports from it."""
    module = f"{PACKAGE}.{verb}"
    return {_file(m) for m in graph.find_upstream_modules(module) | {module}}


def _covers(dependency: str, file: str) -> bool:
    return file == dependency or file.startswith(f"{dependency}/")


def _listed(file: str) -> str:
    """What the table lists for a source file: its room's folder, or the file itself."""
    path = Path(file).relative_to(Path("src", PACKAGE))
    return str(path) if path.parts[0].endswith(".py") or path.parts[0] in BY_FILE else path.parts[0]


def _source(dependencies: list[str]) -> list[str]:
    """The dependencies that hold Python."""
    return [d for d in dependencies if d.endswith(".py") or next((ROOT / d).rglob("*.py"), None)]


def test_dvc_yaml_is_made_from_the_table() -> None:
    assert (ROOT / "dvc.yaml").read_text() == repository_yaml(), "run `make format`"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_what_it_imports(stage: str, graph: grimp.ImportGraph) -> None:
    dependencies = [str(Path("src", PACKAGE, file)) for file in STAGES[stage].files()]
    assert [d for d in dependencies if not (ROOT / d).exists()] == []
    files, listed = files_behind(graph, STAGES[stage].runs), _source(dependencies)
    missing = sorted(f for f in files if not any(_covers(d, f) for d in listed))
    idle = sorted(d for d in listed if not any(_covers(d, f) for f in files))
    right = sorted({_listed(f) for f in files})
    assert (missing, idle) == ([], []), f"imported and not listed, listed and not imported; right for {stage}: {right}"


def sections_read(file: str) -> set[str]:
    """Sections of params.yaml that the functions of a module read from an argument of type Params."""
    sections: set[str] = set()
    for function in (n for n in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(n, ast.FunctionDef)):
        names = {a.arg for a in function.args.args if a.annotation and ast.unparse(a.annotation) == "Params"}
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
                sections.add(node.attr)
    return sections & set(Params.model_fields)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_parameters_that_it_reads(stage: str, graph: grimp.ImportGraph) -> None:
    listed = {section.split(".")[0] for section in STAGES[stage].params}
    read = set().union(*map(sections_read, files_behind(graph, STAGES[stage].runs)))
    assert sorted(read - listed) == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_the_function_whose_imports_are_compared(stage: str) -> None:
    command = typer.main.get_command(app)
    for word in STAGES[stage].command.split():
        if not word.startswith("-") and hasattr(command, "commands"):
            command = command.commands[word]
    assert command.callback is not None
    source = inspect.getsource(inspect.unwrap(command.callback))
    assert f"from {PACKAGE}.{STAGES[stage].runs} import " in source


@pytest.mark.parametrize("stage", STAGES)
def test_the_lock_is_of_these_dependencies(stage: str) -> None:
    locked = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"][stage]
    listed = sorted(str(Path("src", PACKAGE, file)) for file in STAGES[stage].files())
    assert [d["path"] for d in locked["deps"] if d["path"].startswith("src/")] == listed


def test_the_shipped_model_is_of_the_frozen_stages_recipe() -> None:
    """`dvc status` leaves the dependencies of a frozen stage out."""
    assert [name for name, stage in STAGES.items() if stage.frozen] == ["pretrain"]
    trained = json.loads((ROOT / "artifacts" / "demo_mllm" / "pretraining.json").read_text())
    assert PretrainParams.model_validate(trained["params"]) == load_demo_params().pretrain
    assert trained["params"] == load_demo_params().pretrain.model_dump(mode="json")


def test_the_demo_is_a_project_of_its_own_that_git_ignores(tmp_path: Path) -> None:
    clone, demo = tmp_path / "clone", tmp_path / "clone" / "out" / "demo"
    bin_folder = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(clone / "src")}

    def run(*command: str, cwd: Path = clone) -> str:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("git", "clone", "-q", str(ROOT), str(clone), cwd=tmp_path)
    for name in ("Makefile", "params.yaml", ".gitignore"):
        shutil.copy(ROOT / name, clone)
    shutil.copytree(ROOT / "src", clone / "src", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    before = run("git", "status", "--porcelain")
    run("make", "-s", "demo-project")
    planned = run("dvc", "repro", "--dry", "--force", "evaluate", cwd=demo)
    assert re.findall(r"Running stage '(.*)'", planned) == [
        "code",
        *list(STAGES)[1 : list(STAGES).index("evaluate") + 1],
    ]
    assert str(clone) not in (demo / "dvc.yaml").read_text() + (demo / "params.yaml").read_text()
    (demo / "data").mkdir()
    (demo / "artifacts" / "heads.json").write_text("{}")
    assert run("git", "status", "--porcelain") == before

    edited = re.sub(r"top_k: \d+ ", "top_k: 3 ", (clone / "params.yaml").read_text())
    assert edited != (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text(edited)
    run("make", "-s", "demo-project")  # a second time: parameters follow, results stay
    assert (demo / "params.yaml").read_text() == edited
    assert (demo / "data").is_dir()
    assert (demo / "artifacts" / "heads.json").read_text() == "{}"
    assert not (demo / "artifacts" / "demo_mllm" / "demo_mllm").exists()
