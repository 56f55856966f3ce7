"""The table of the pipeline's stages, from which every dvc.yaml is made: this repository's, and those of projects.

`python -m headhunt_svc.pipeline.stages > dvc.yaml`, a part of `make format`, writes this repository's. A project that
`headhunt init` makes has no source code beside it: its first stage writes a fingerprint of the code behind every stage
(`code_fingerprints`), and each stage depends on its own.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headhunt_svc import paths
from headhunt_svc.model.families import plugins
from headhunt_svc.params import Params
from headhunt_svc.storage.files import sha256

PACKAGE = Path(__file__).parents[1]
DEMO_PARAMS = "demo/params.yaml"
PROMPT_SETS = "prompts.yaml"

# Code that stages have in common, as folders and files of this package
_BASE = ("errors.py", "names.py", "params.py", "sections.py", "types.py")
_FOOTAGE = (*_BASE, "core", "data", "storage", "video")
_FEATURES = (*_FOOTAGE, "detector")
_DETECTOR = (*_FEATURES, "settings.py")
_MODEL = (*_DETECTOR, "model")
_IDENTITY = "model/identity.py"
_LABELLED = "pipeline/labelled_features.py"
_PLOTS = "pipeline/plots.py"
_STORED = ("pipeline/files.py", "pipeline/shards.py")
_SCENES = tuple(f"demo/{name}.py" for name in ("params", "people", "rendering", "scenes", "shapes", "things"))

FOOTAGE = "${dataset.root}"  # from params.yaml
ANNOTATIONS = "${dataset.annotations}"
MARKS = "${dataset.marks}"
CORPUS = ("${corpus.annotations}", "${corpus.root}")


@dataclass(frozen=True)
class Stage:
    """One stage. Its outputs below artifacts/ are kept by git, those below data/ by DVC's cache.

    runs: the module whose function the command calls. code: what else of the package that module imports.
    demo: the section of the demo's parameters that it reads; a stage with one belongs to the embedded default alone.
    """

    command: str
    runs: str
    code: tuple[str, ...]
    deps: tuple[Path | str, ...] = ()
    params: tuple[str, ...] = ()
    outs: tuple[Path | str, ...] = ()
    metrics: tuple[Path, ...] = ()
    plots: tuple[Path, ...] = ()
    desc: str | None = None
    demo: str | None = None
    frozen: bool = False

    def files(self) -> list[str]:
        """Files and folders of the package with the code that this stage runs, and the prompt sets if it reads them."""
        prompt_sets = [PROMPT_SETS] if "prompts" in self.params else []
        return sorted({*self.code, *prompt_sets, f"{self.runs.replace('.', '/')}.py"})


STAGES = {
    "pretrain": Stage(
        "demo pretrain",
        "demo.pretraining",
        desc="the embedded MLLM, from scratch; it takes hours and its output is in git, so it is frozen"
        " (docs/demo-model.md)",
        demo="pretrain",
        frozen=True,
        code=(
            "errors.py",
            "names.py",
            "sections.py",
            "storage",
            *_SCENES,
            "demo/assets/tokenizer.json",
            "demo/wide",
            *(
                f"demo/{name}.py"
                for name in (
                    "attention",
                    "checkpoints",
                    "conversation",
                    "model",
                    "muon",
                    "pool",
                    "precision",
                    "questions",
                    "recognition",
                    "skills",
                    "targets",
                    "trainer",
                )
            ),
        ),
        outs=(paths.DEMO_MLLM,),
    ),
    "corpus": Stage(
        "demo corpus",
        "demo.corpus",
        desc="the embedded default's videos with frame-level truth",
        demo="corpus",
        code=(*_FOOTAGE, *_SCENES),
        outs=CORPUS,
    ),
    "model": Stage(
        "models lock --keep",
        "pipeline.model",
        desc="the exact content of the model that params.yaml names, and links to it, whose targets DVC hashes",
        code=(*_BASE, "model", "storage"),
        deps=(paths.DEMO_MLLM,),
        params=("mllm",),
        outs=(paths.MODEL_LOCK, paths.MODEL_LINKS),
    ),
    "index": Stage(
        "index",
        "pipeline.index",
        code=_FOOTAGE,
        deps=(ANNOTATIONS, FOOTAGE, MARKS),
        params=("dataset",),
        outs=(paths.INDEX, paths.LABELS),
    ),
    "extract": Stage(
        "extract",
        "pipeline.extract",
        code=(*_MODEL, *_STORED),
        deps=(paths.MODEL_LOCK, paths.INDEX, FOOTAGE, MARKS),
        params=("mllm", "prompts", "segmentation"),
        outs=(paths.FEATURES,),
    ),
    "identify": Stage(
        "identify",
        "pipeline.identify",
        code=(*_DETECTOR, _IDENTITY, _LABELLED, _PLOTS),
        deps=(paths.INDEX, paths.LABELS, paths.MODEL_LOCK, paths.FEATURES),
        params=("identify", "label", "method", "mllm", "prompts", "segmentation"),
        outs=(paths.HEADS, paths.SALIENCY, paths.SALIENCY.with_suffix(".png")),
    ),
    "fit": Stage(
        "fit",
        "pipeline.fit",
        code=(*_FEATURES, _IDENTITY, _LABELLED),
        deps=(paths.HEADS, paths.INDEX, paths.LABELS, paths.MODEL_LOCK, paths.FEATURES),
        params=("fit", "label", "method", "mllm", "prompts", "segmentation"),
        outs=(paths.CALIBRATION, paths.SCORER),
    ),
    "calibrate": Stage(
        "calibrate",
        "pipeline.calibrate",
        code=(*_FEATURES, _IDENTITY, _LABELLED),
        deps=(paths.HEADS, paths.INDEX, paths.LABELS, paths.MODEL_LOCK, paths.SCORER, paths.FEATURES),
        params=("calibrate", "label", "method", "mllm", "prompts", "segmentation"),
        outs=(paths.OPERATING_POINTS,),
    ),
    "bundle": Stage(
        "bundle make",
        "pipeline.bundle",
        code=_MODEL,
        deps=(paths.MODEL_LOCK, paths.HEADS, paths.INDEX, paths.OPERATING_POINTS, paths.SCORER),
        params=("identify", "method", "mllm", "prompts", "segmentation"),
        outs=(paths.BUNDLE,),
    ),
    "detect": Stage(
        "detect --split test",
        "pipeline.detect",
        code=(*_MODEL, *_STORED, "pipeline/stored_scores.py", _PLOTS, "prediction_log"),
        deps=(paths.MODEL_LOCK, paths.BUNDLE, paths.INDEX, FOOTAGE),
        outs=(paths.REPORTS, paths.TEST_FEATURES),
    ),
    "evaluate": Stage(
        "evaluate",
        "pipeline.evaluate",
        code=(*_DETECTOR, _IDENTITY, "pipeline/files.py", _PLOTS),
        deps=(paths.BUNDLE, paths.INDEX, paths.LABELS, paths.REPORTS),
        params=("dataset", "evaluate"),
        metrics=(paths.METRICS,),
        plots=tuple(paths.PLOTS / f"{name}.png" for name in ("curves", "kinds", "timelines")),
    ),
    "measure": Stage(
        "measure",
        "studies.measure",
        desc="what the ablation's arms need (all heads on hard videos, text answers, an untrained model)",
        code=(*_MODEL, *_STORED, "pipeline/extract.py"),
        deps=(paths.MODEL_LOCK, paths.INDEX, FOOTAGE),
        params=("ablate.generic", "ablate.specific", "mllm", "prompts", "segmentation"),
        outs=(paths.MEASURED,),
    ),
    "ablate": Stage(
        "ablate",
        "studies.ablate",
        desc="the expert heads beside everything that they must beat",
        code=(
            *_MODEL,
            *_STORED,
            *("pipeline/extract.py", "pipeline/fit.py", "pipeline/identify.py", _LABELLED, _PLOTS),
            *(f"studies/{name}.py" for name in ("alternatives", "arms", "figures", "measure", "published", "sweeps")),
        ),
        deps=(
            *(paths.MODEL_LOCK, paths.BUNDLE, paths.INDEX, paths.LABELS),
            *(paths.FEATURES, paths.TEST_FEATURES, paths.MEASURED),
        ),
        params=(
            "ablate",
            "calibrate",
            "evaluate",
            "fit",
            "identify",
            "label",
            "method",
            "mllm",
            "prompts",
            "segmentation",
        ),
        metrics=(paths.ABLATION,),
        outs=(paths.ABLATION.with_suffix(".md"),),
        plots=tuple(paths.PLOTS / f"{name}.png" for name in ("ablation", "sweeps")),
    ),
    "generalise": Stage(
        "generalise",
        "studies.generalisation",
        desc="what the scorer makes of kinds of anomaly and of cameras that it was not fitted on",
        code=(
            *_DETECTOR,
            *(_IDENTITY, _LABELLED, _PLOTS, "pipeline/fit.py", "pipeline/identify.py", "studies/figures.py"),
        ),
        deps=(paths.HEADS, paths.INDEX, paths.LABELS, paths.MODEL_LOCK, paths.FEATURES),
        params=("fit", "identify", "label", "mllm", "prompts", "segmentation"),
        metrics=(paths.GENERALISATION,),
        outs=(paths.GENERALISATION.with_suffix(".md"),),
    ),
    "report": Stage(
        "report",
        "pipeline.report",
        desc="which heads, why these, and how far that holds, as one HTML file",
        code=(*_DETECTOR, _IDENTITY, "pipeline/identification_report.py", _LABELLED, _PLOTS, "pipeline/templates"),
        deps=(
            paths.CALIBRATION,
            paths.HEADS,
            paths.INDEX,
            paths.LABELS,
            paths.MODEL_LOCK,
            paths.SALIENCY,
            paths.FEATURES,
        ),
        params=("identify", "label", "method", "mllm", "prompts", "segmentation"),
        outs=(paths.IDENTIFICATION,),
    ),
    "reference": Stage(
        "monitor reference",
        "pipeline.reference",
        desc="what normal held-out footage looks like to the detector, for the monitor",
        code=(*_MODEL, "monitoring", "prediction_log"),
        deps=(paths.MODEL_LOCK, paths.BUNDLE, paths.INDEX, paths.LABELS, FOOTAGE),
        outs=(paths.REFERENCE,),
    ),
}


def repository_pipeline() -> dict[str, Any]:
    """The content of this repository's dvc.yaml: stages depend on the source files beside it."""
    source = Path("src", PACKAGE.name)
    demo_params = str(source / DEMO_PARAMS)
    stages = {}
    for name, stage in STAGES.items():
        read: list[Any] = [*stage.params, *([{demo_params: [stage.demo]}] if stage.demo else [])]
        deps = [dep for dep in stage.deps if dep != MARKS]  # the embedded default has none
        stages[name] = _entry(stage, (*deps, *(source / file for file in stage.files())), read)
    return {"vars": [demo_params], "stages": stages}  # vars: where the corpus goes


def sections_with_defaults() -> list[str]:
    """Sections that params.yaml may leave out and DVC cannot: it reads them in what the stage `code` writes."""
    return [name for name, field in Params.model_fields.items() if not field.is_required()]


def project_pipeline(params: Params, corpus: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The content of a project's dvc.yaml: stages depend on what the stage `code` writes about the installed package.

    corpus: where the embedded default's videos go, if the project is to render them.
    """
    without: set[Path | str] = {paths.DEMO_MLLM}  # no stage makes it here; the stage model follows any model by links
    if params.dataset.annotations is None:
        without.add(ANNOTATIONS)  # the layout `folders` has none
    if params.dataset.marks is None:
        without.add(MARKS)
    code = {
        "cmd": "headhunt code",
        "desc": "the code behind each stage and the default parameters, as installed: so an upgrade is noticed",
        "always_changed": True,
        "outs": _outs([paths.CODE]),
    }
    stages = {
        name: _entry(stage, [dep for dep in stage.deps if dep not in without], _params_of_project(name, stage))
        for name, stage in STAGES.items()
        if not stage.frozen and (corpus is not None or stage.demo is None)
    }
    variables = {} if corpus is None else {"vars": [{"corpus": dict(corpus)}]}
    return {**variables, "stages": {"code": code, **stages}}


def _params_of_project(name: str, stage: Stage) -> list[Any]:
    own = [param for param in stage.params if param.split(".")[0] not in sections_with_defaults()]
    others = [f"params.{param}" for param in stage.params if param not in own]
    return [*own, {str(paths.CODE): [f"code.{name}", *others]}]


def _entry(stage: Stage, deps: Iterable[Path | str], params: list[Any]) -> dict[str, Any]:
    entry = {
        "desc": stage.desc,
        "frozen": stage.frozen,
        "cmd": f"headhunt {stage.command}",
        "deps": [str(dep) for dep in deps],
        "params": params,
        "outs": _outs(stage.outs),
        "metrics": _outs(stage.metrics),
        "plots": _outs(stage.plots),
    }
    return {key: value for key, value in entry.items() if value}


def _outs(outs: Iterable[Path | str]) -> list[Any]:
    """persist: what still fits is kept, so that a stage can be stopped and resumed."""
    folders = {"artifacts": {"cache": False}, "data": {"persist": True}}
    # a model is never copied into DVC's cache, and its lock is kept: a branch that moved is noticed, not followed
    files = {path: {"cache": False, "persist": True} for path in (paths.MODEL_LOCK, paths.MODEL_LINKS)}
    options = {str(out): files.get(Path(out)) or folders.get(Path(out).parts[0]) for out in outs}
    return [{out: option} if option else out for out, option in options.items()]


def code_fingerprints() -> dict[str, str]:
    """A fingerprint for each stage of the code that it runs, as installed; code of another stage does not change it.

    A model family of another distribution counts by that distribution's version.
    """
    hashes: dict[Path, str] = {}
    fingerprints = {}
    for name, stage in STAGES.items():
        listed = [PACKAGE / file for file in (*stage.files(), *([DEMO_PARAMS] if stage.demo else []))]
        inside = [file for path in listed for file in (path.rglob("*") if path.is_dir() else [path])]
        files = sorted(file for file in inside if file.is_file() and "__pycache__" not in file.parts)
        hashes |= {file: sha256(file) for file in files if file not in hashes}
        lines = "".join(f"{file.relative_to(PACKAGE).as_posix()} {hashes[file]}\n" for file in files)
        if "model" in stage.code:
            lines += "".join(f"{plugin.model_type} {plugin.distribution}\n" for plugin in plugins() if plugin.added)
        fingerprints[name] = hashlib.sha256(lines.encode()).hexdigest()[:16]
    return fingerprints


class _Plain(yaml.SafeDumper):
    """Indents the entries of lists, as DVC's documentation does, and repeats equal values instead of linking them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(pipeline: dict[str, Any], comment: str) -> str:
    """The text of a dvc.yaml."""
    return f"# {comment}\n{yaml.dump(pipeline, Dumper=_Plain, sort_keys=False, width=1000)}"


def repository_yaml() -> str:
    """The text of this repository's dvc.yaml."""
    return as_yaml(
        repository_pipeline(), "Made by `make format` from src/headhunt_svc/pipeline/stages.py: edit that file"
    )


if __name__ == "__main__":
    print(repository_yaml(), end="")
