"""Put a detector bundle into BentoML's model store and build the Bento, without a network."""

import shutil
from pathlib import Path
from typing import Any

import bentoml
import yaml

from headhunt_svc.detector.bundle import check_model, load_bundle
from headhunt_svc.errors import ConfigError

MODEL = "headhunt-detector"
BENTOFILE = Path("bentofile.yaml")


def store(bundle: Path) -> bentoml.Model:
    """Copy a bundle into the model store, with its test metrics, and its model if that is a folder. See check_model."""
    contents, _ = load_bundle(bundle)
    check_model(contents, bundle)
    labels = {"detector_id": contents.detector_id, "mllm_revision": contents.mllm_revision}
    metadata = {"prompt": contents.prompt, "data": contents.data}
    with bentoml.models.create(MODEL, labels=labels, metadata=metadata) as model:
        shutil.copytree(bundle, model.path_of("detector"))
        if contents.mllm_is_local:
            folder = Path(contents.mllm_at(bundle).id)
            target = (Path(model.path_of("detector")) / contents.mllm.id).resolve()
            if not target.is_relative_to(Path(model.path).resolve()):
                raise ConfigError(f"{bundle} keeps its model in {contents.mllm.id}: put it beside the bundle first")
            shutil.copytree(folder, target)
        metrics = bundle.parent / "metrics.json"
        if metrics.exists():
            shutil.copy(metrics, model.path_of("metrics.json"))
    return model


def package(bundle: Path) -> tuple[bentoml.Model, bentoml.Bento]:
    """Build a Bento of a bundle: code as the working folder's bentofile.yaml says, bundle by the model store."""
    try:
        build: dict[str, Any] = yaml.safe_load(BENTOFILE.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ConfigError(f"{BENTOFILE} not found: run this in a clone of the repository") from exc
    model = store(bundle)
    include = [pattern for pattern in build.pop("include") if not pattern.startswith("artifacts/")]
    bento = bentoml.bentos.build(build_ctx=".", include=include, models=[str(model.tag)], **build)
    return model, bento
