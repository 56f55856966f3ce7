"""Bundle -> BentoML's model store -> Bento, in one step and without a network."""

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
    """Put a bundle, with its model if that is a local folder and its test metrics, into the model store.

    Raises:
        ArtifactError: the bundle is broken or its model is another one.
    """
    made, _ = load_bundle(bundle)
    check_model(made, bundle)
    about = {"detector_id": made.detector_id, "mllm_revision": made.mllm_revision}
    with bentoml.models.create(MODEL, labels=about, metadata={"prompt": made.prompt, "data": made.data}) as model:
        shutil.copytree(bundle, model.path_of("detector"))
        if made.mllm_is_local:
            folder = Path(made.mllm_at(bundle).id)
            target = (Path(model.path_of("detector")) / made.mllm.id).resolve()
            if not target.is_relative_to(Path(model.path).resolve()):
                raise ConfigError(f"{bundle} keeps its model in {made.mllm.id}: put it beside the bundle first")
            shutil.copytree(folder, target)
        metrics = bundle.parent / "metrics.json"
        if metrics.exists():
            shutil.copy(metrics, model.path_of("metrics.json"))
    return model


def package(bundle: Path) -> tuple[bentoml.Model, bentoml.Bento]:
    """The bundle as a Bento: code from the working folder's bentofile.yaml, the bundle from the model store.

    Raises:
        ConfigError: no bentofile.yaml here. ArtifactError: see `store`.
    """
    try:
        build: dict[str, Any] = yaml.safe_load(BENTOFILE.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ConfigError(f"{BENTOFILE} not found: run this in a clone of the repository") from exc
    model = store(bundle)
    include = [pattern for pattern in build.pop("include") if not pattern.startswith("artifacts/")]
    bento = bentoml.bentos.build(build_ctx=".", include=include, models=[str(model.tag)], **build)
    return model, bento
