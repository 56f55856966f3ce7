"""What `headhunt init` writes, and what it refuses."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from headhunt_svc.data.datasets import read_annotations
from headhunt_svc.demo.params import load_demo_params
from headhunt_svc.demo.shipped import shipped
from headhunt_svc.errors import ConfigError
from headhunt_svc.params import Params, load_params
from headhunt_svc.pipeline import project, stages
from headhunt_svc.pipeline.project import DVC_MISSING, Project, demo_project, own_project, write_project
from headhunt_svc.pipeline.stages import STAGES, code_fingerprints, project_pipeline, sections_with_defaults
from helpers.distributions import install

PARAMS = load_params(shipped() / "params.yaml")
CORPUS = load_demo_params().corpus.places()


@pytest.fixture
def without_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "find_spec", lambda name: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("model", ["org/model-hf", "yes", "a: b # c", "möbel", "true"])
def test_parameters_are_what_was_given(tmp_path: Path, without_dvc: None, model: str) -> None:
    footage = tmp_path / "my: footage # 1"
    footage.mkdir()
    folder = tmp_path / "p"
    assert write_project(folder, own_project(shipped(), footage, model, "1e3", folder)) == DVC_MISSING
    params = load_params(folder / "params.yaml")
    assert (params.mllm.id, params.mllm.revision) == (model, "1e3")
    assert params.dataset.root == footage
    assert params.dataset.annotations == Path("annotations.jsonl")
    assert [p.name for p in (folder / "artifacts").iterdir()] == ["code.json"]
    assert {a.split for a in read_annotations(folder / "annotations.example.jsonl")} == {
        "calibration",
        "validation",
        "test",
    }


def test_relative_folders_are_seen_from_the_project(
    tmp_path: Path, without_dvc: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("videos", "weights", "p/inside"):
        Path(name).mkdir(parents=True)
    for footage, root in (("videos", "../videos"), ("p/inside", "inside"), (str(tmp_path / "p/inside"), "inside")):
        texts = own_project(shipped(), Path(footage), "weights", None, Path("p")).texts
        params = Params.model_validate(yaml.safe_load(texts["params.yaml"]))
        assert (params.dataset.root, params.mllm.id) == (Path(root), "../weights")


@pytest.mark.parametrize("where", ["anomalous", "test/anomalous"])
def test_footage_in_two_folders_needs_no_annotations(tmp_path: Path, without_dvc: None, where: str) -> None:
    folder, footage = tmp_path / "p", tmp_path / "footage"
    (footage / where).mkdir(parents=True)
    write_project(folder, own_project(shipped(), footage, None, None, folder))
    dataset = load_params(folder / "params.yaml").dataset
    assert (dataset.layout, dataset.annotations) == ("folders", None)
    assert "annotations" not in (folder / "dvc.yaml").read_text()  # DVC refuses what params.yaml does not have


def test_the_embedded_model_is_copied(tmp_path: Path, without_dvc: None) -> None:
    folder = tmp_path / "p"
    write_project(folder, own_project(shipped(), None, None, None, folder))
    assert contents(folder / "artifacts" / "demo_mllm") == contents(shipped() / "artifacts" / "demo_mllm")
    assert load_params(folder / "params.yaml").mllm.id == "artifacts/demo_mllm"
    assert "knows rendered scenes only" in (folder / "README.md").read_text()


def test_nothing_is_overwritten(tmp_path: Path, without_dvc: None) -> None:
    (tmp_path / "artifacts" / "demo_mllm").mkdir(parents=True)
    for name in ("README.md", "dvc.yaml"):
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=r"README.md; artifacts/demo_mllm; dvc.yaml in the way"):
        write_project(tmp_path, demo_project(shipped(), CORPUS))
    assert contents(tmp_path) == before


def test_footage_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        own_project(shipped(), tmp_path / "nowhere", None, None, tmp_path)


@pytest.mark.parametrize("demo", [False, True])
def test_an_update_writes_what_belongs_to_the_package(tmp_path: Path, without_dvc: None, demo: bool) -> None:
    def made() -> Project:
        return demo_project(shipped(), CORPUS) if demo else own_project(shipped(), None, None, None, tmp_path)

    write_project(tmp_path, made(), update=True)  # as a new project, where none is
    new = contents(tmp_path)
    edited = ["dvc.yaml", "params.yaml", "README.md", "artifacts/demo_mllm/config.json"]
    edit = new["params.yaml"].decode() + "# edited"
    for name in edited:
        (tmp_path / name).write_text(edit)
    write_project(tmp_path, made(), update=True)
    kept = edited[2:3] if demo else edited[1:]
    assert contents(tmp_path) == new | {name: edit.encode() for name in kept}


@pytest.mark.parametrize(("repository", "config"), [(None, "no_scm"), (".", ""), ("above", ""), ("ignoring", "no_scm")])
def test_dvc_is_set_up_with_git_where_git_keeps_the_folder(tmp_path: Path, repository: str | None, config: str) -> None:
    folder = tmp_path if repository == "." else tmp_path / "p"
    if repository:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    if repository == "ignoring":
        (tmp_path / ".gitignore").write_text("p/\n")
    assert write_project(folder, own_project(shipped(), None, "org/model", None, folder)) is None
    assert config in (folder / ".dvc" / "config").read_text()
    assert ("no_scm" in (folder / ".dvc" / "config").read_text()) == (config == "no_scm")


def test_a_stage_has_a_fingerprint_of_the_code_that_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "headhunt_svc"
    shutil.copytree(stages.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = code_fingerprints()
    monkeypatch.setattr(stages, "PACKAGE", package)
    assert code_fingerprints() == before  # the same code in another place

    def changed_by(file: str) -> set[str]:
        (package / file).parent.mkdir(exist_ok=True)
        with (package / file).open("a") as f:
            f.write("# a comment\n")
        now = code_fingerprints()
        changed = {name for name in STAGES if now[name] != before[name]}
        before.update(now)
        return changed

    assert changed_by("serve/api.py") == changed_by("core/__pycache__/x.pyc") == set()
    assert changed_by("pipeline/index.py") == {"index"}
    assert changed_by("demo/params.yaml") == {"pretrain", "corpus"}
    assert changed_by("prompts.yaml") == {name for name, stage in STAGES.items() if "prompts" in stage.params}
    assert changed_by("core/scoring.py") == set(STAGES) - {"pretrain", "model"}


def test_a_family_of_another_distribution_counts_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [code_fingerprints()]
    for version in ("1.0", "1.1"):
        with monkeypatch.context() as patch:
            patch.syspath_prepend(install(tmp_path / version, "acme-families", version, {"kestrel": "acme:Mine"}))
            states.append(code_fingerprints())
    assert len({state["extract"] for state in states}) == len({state["detect"] for state in states}) == 3
    assert len({state["index"] for state in states}) == len({state["fit"] for state in states}) == 1
    assert code_fingerprints() == states[0]


def test_stages_of_a_project_depend_on_nothing_of_a_clone() -> None:
    pipelines = [project_pipeline(PARAMS), project_pipeline(PARAMS, CORPUS)]
    for pipeline in pipelines:
        entries = [o for s in pipeline["stages"].values() for o in s.get("outs", [])]
        outs = {next(iter(o)) if isinstance(o, dict) else o for o in entries}
        for name, stage in pipeline["stages"].items():
            for dep in stage.get("deps", []):
                assert dep in outs | {"artifacts/demo_mllm", "${dataset.root}", "${dataset.annotations}"}, (
                    f"{name}: {dep}"
                )
    assert set(pipelines[1]["stages"]) - set(pipelines[0]["stages"]) == {"corpus"}


def test_parameters_with_defaults_come_from_the_package() -> None:
    """DVC fails on a parameter that is not in params.yaml."""
    given = set(Params.model_fields) - set(sections_with_defaults())
    for stage in project_pipeline(PARAMS)["stages"].values():
        assert {p for p in stage.get("params", []) if isinstance(p, str)} <= given
