"""Small outputs of the stages: heads, scorer, locator, and the detector bundle that serving needs."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from headhunt_svc.detector.options import DEFAULT_OPERATING_POINT
from headhunt_svc.errors import ArtifactError, ConfigError, FeatureError
from headhunt_svc.params import MllmParams, SegmentationParams
from headhunt_svc.storage.files import read_json, sha256, text_id, write_file, write_json
from headhunt_svc.types import Confidence, HeadRef, HeadSelection, OperatingPoint, Scorer

if TYPE_CHECKING:  # scikit-learn takes a second to import, and reading a bundle needs none
    from headhunt_svc.core.calibration import Choice
    from headhunt_svc.core.scoring import FittedScorer


def model_revision(params: MllmParams) -> str:
    """What names the exact weights: the hub revision, or a digest of a local folder's files.

    Raises:
        ConfigError: a hub id without a revision.
    """
    folder = Path(params.id)
    if folder.is_dir():
        kinds = ("*.safetensors", "config.json", "tokenizer*.json", "*.jinja", "preprocessor_config.json")
        return "sha256:" + sha256(*sorted(p for k in kinds for p in folder.glob(k)))[:16]
    if not params.revision:
        raise ConfigError(f"mllm.revision is missing: pin the commit of {params.id}, so that the heads stay its heads")
    return params.revision


def model_key(mllm: MllmParams) -> str:
    """The model that features are of: its revision and how it computes."""
    return f"{model_revision(mllm)} {mllm.dtype} {mllm.attention}"


def save_selection(path: Path, selection: HeadSelection) -> None:
    """Write heads.json."""
    write_json(
        path,
        {
            "mllm": {"id": selection.mllm_id, "revision": selection.revision},
            "prompts": selection.prompts,
            "criteria": selection.criteria,
            "heads": [
                {"layer": h.layer, "head": h.head, "rss": r}
                for h, r in zip(selection.heads, selection.rss, strict=True)
            ],
            "confidence": asdict(selection.confidence) if selection.confidence else None,
        },
    )


def load_selection(path: Path) -> HeadSelection:
    """Read heads.json.

    Raises:
        ArtifactError: missing, broken, or of an older version.
    """
    raw = read_json(path, "headhunt identify")
    try:
        heads = tuple(HeadRef(h["layer"], h["head"]) for h in raw["heads"])
        rss = tuple(float(h["rss"]) for h in raw["heads"])
        found = raw["confidence"]
        sure = found and Confidence(**found | {"frequency": tuple(found["frequency"])})
        about = raw["mllm"]
        return HeadSelection(
            heads, rss, tuple(raw["prompts"]), about["id"], about["revision"], raw["criteria"], sure or None
        )
    except (KeyError, TypeError) as exc:
        raise ArtifactError(f"{path} cannot be read as chosen heads ({exc!r}): run `headhunt identify`") from exc


def save_scorer(path: Path, scorer: Scorer) -> None:
    """Write scorer.safetensors: weight float64[K * d_head]; bias and heads as metadata."""
    about = {"about": json.dumps({"heads": scorer.heads, "bias": scorer.bias})}
    write_file(path, lambda p: save_file({"weight": np.ascontiguousarray(scorer.weight)}, p, metadata=about))


def save_calibration(path: Path, fitted: "FittedScorer") -> None:
    """Write calibration.json: C, and how the probabilities fare on videos that were held out."""
    write_json(path, {"c": fitted.c, "held_out_auc": fitted.held_out_auc, "curve": asdict(fitted.curve)})


def load_scorer(path: Path) -> Scorer:
    """Read scorer.safetensors.

    Raises:
        ArtifactError: missing or broken.
    """
    try:
        with safe_open(path, "np") as f:
            about, weight = json.loads(f.metadata()["about"]), f.get_tensor("weight")
        return Scorer(tuple(HeadRef(*h) for h in about["heads"]), weight, float(about["bias"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as exc:
        raise ArtifactError(f"{path} cannot be read as a scorer ({exc}): run `headhunt fit`") from exc


class SigmaTau(BaseModel):
    """Smoothing width and threshold, and by what rule they were chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sigma_segments: float = Field(ge=0)
    threshold: float = Field(ge=0, le=1)
    rule: str | None = None

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A point of an older bundle is written as it was read, so that the detector keeps its name."""
        return {k: v for k, v in handler(self).items() if v is not None}


class NamedPoint(SigmaTau):
    """A named (sigma, tau) for whole videos, and the one for live use, where smoothing is causal."""

    causal: SigmaTau | None = None


PointOrWhy: TypeAlias = "tuple[Choice, Choice | None] | str"


def operating_point(offline: "Choice | FeatureError", causal: "Choice | FeatureError") -> PointOrWhy:
    """A point of locator.json, or why there is none."""
    if isinstance(offline, FeatureError):
        return str(offline)
    return offline, None if isinstance(causal, FeatureError) else causal


def point_of(offline: "Choice", causal: "Choice | None") -> NamedPoint:
    """A point of a bundle."""

    def pair(choice: "Choice") -> dict[str, Any]:
        at = choice.locator
        return {"sigma_segments": at.sigma_segments, "threshold": at.threshold, "rule": choice.rule}

    return NamedPoint(**pair(offline), causal=SigmaTau(**pair(causal)) if causal else None)


def save_locators(path: Path, points: Mapping[str, PointOrWhy]) -> None:
    """Write locator.json: every operating point with what it gave on validation videos, or why there is none."""

    def about(choice: "Choice") -> dict[str, Any]:
        return {
            "validation_f1": choice.f1,
            "validation_found": choice.found,
            "validation_false_alarms_per_hour": choice.false_alarms_per_hour,
        }

    rows: dict[str, Any] = {}
    for name, point in points.items():
        if isinstance(point, str):
            rows[name] = {"unavailable": point}
            continue
        offline, causal = point
        rows[name] = point_of(offline, causal).model_dump() | about(offline)
        if causal is not None:
            rows[name]["causal"] |= about(causal)
    write_json(path, rows)


def load_locators(path: Path) -> dict[str, NamedPoint]:
    """Read locator.json: operating points by name.

    Raises:
        ArtifactError: missing or broken.
    """

    def known(row: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in row.items() if not k.startswith("validation_")}

    raw = read_json(path, "headhunt calibrate")
    points = {name: row for name, row in raw.items() if "unavailable" not in row}
    try:
        return {
            name: NamedPoint.model_validate(known(row) | ({"causal": known(row["causal"])} if "causal" in row else {}))
            for name, row in points.items()
        }
    except ValidationError as exc:
        raise ArtifactError(f"{path} holds no operating points: run `headhunt calibrate` again") from exc


class Bundle(BaseModel):
    """bundle.json: all that serving needs beside scorer.safetensors; a local model's id is relative to the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    mllm: MllmParams
    mllm_is_local: bool
    mllm_revision: str
    segmentation: SegmentationParams
    prompt: str
    calibration_prompts: tuple[str, ...]
    heads: tuple[tuple[int, int], ...]
    rss: tuple[float, ...]
    scorer_sha256: str
    operating_points: dict[str, NamedPoint]
    data: dict[str, Any]  # version of the data set: digest of the index, videos per split
    fingerprint: dict[str, str]  # what features depend on beside the checkpoint, see fingerprint.py
    package_version: str

    @property
    def detector_id(self) -> str:
        """Twelve hex digits that name this detector: any change in it changes them."""
        return text_id(self.model_dump_json())

    @property
    def default_point(self) -> str:
        """The operating point of the ONNX graph: f1, or without labelled anomalies the first there is."""
        return (
            DEFAULT_OPERATING_POINT if DEFAULT_OPERATING_POINT in self.operating_points else min(self.operating_points)
        )

    def operating_point(
        self, operating_point: str, smoothing: Literal["offline", "causal"] = "offline"
    ) -> OperatingPoint:
        """The (sigma, tau) of that name for this way of smoothing.

        Raises:
            ConfigError: no such operating point; lists those there are.
        """
        points = {
            name: found
            for name, p in self.operating_points.items()
            if (found := p if smoothing == "offline" else p.causal) is not None
        }
        if operating_point not in points:
            known = ", ".join(sorted(points)) or "none"
            live = " for causal smoothing" if smoothing == "causal" else ""
            raise ConfigError(f"no operating point {operating_point!r} in this bundle{live}; there are: {known}")
        return OperatingPoint(points[operating_point].sigma_segments, points[operating_point].threshold, smoothing)

    def mllm_at(self, folder: Path) -> MllmParams:
        """The model's parameters with the path of a local model resolved."""
        if not self.mllm_is_local:
            return self.mllm
        return self.mllm.model_copy(update={"id": os.path.normpath(_real(folder) / self.mllm.id)})


def _real(folder: Path) -> Path:
    """Where a linked bundle is: its model's path starts there. Any other path stays as it was given."""
    return folder.resolve() if folder.is_symlink() else folder


def onnx_metadata(bundle: Bundle, operating_point: str) -> dict[str, Any]:
    """What the ONNX file says about itself."""
    return {
        "detector_id": bundle.detector_id,
        "mllm": bundle.mllm.id,
        "mllm_revision": bundle.mllm_revision,
        "prompt": bundle.prompt,
        "heads": bundle.heads,
        "operating_point": operating_point,
    }


def save_bundle(folder: Path, bundle: Bundle, scorer: Scorer, golden: Float32[np.ndarray, "clip features"]) -> None:
    """Write bundle.json, scorer.safetensors, golden.safetensors and scorer.onnx (at the default operating point)."""
    from headhunt_svc.detector.export import save_graph, scorer_graph  # imports onnx, which only writing needs

    write_file(folder / "golden.safetensors", lambda p: save_file({"features": np.ascontiguousarray(golden)}, p))
    save_scorer(folder / "scorer.safetensors", scorer)
    point = bundle.default_point
    graph = scorer_graph(scorer, bundle.operating_point(point), onnx_metadata(bundle, point))
    save_graph(folder / "scorer.onnx", graph)
    write_json(folder / "bundle.json", bundle.model_dump(mode="json"))


def load_bundle(folder: Path) -> tuple[Bundle, Scorer]:
    """Read a bundle and check that its parts belong together.

    Raises:
        ArtifactError: missing, broken, or made of parts of different detectors.
    """
    raw = read_json(folder / "bundle.json", "make demo` or `headhunt bundle make")
    try:
        bundle = Bundle.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtifactError(f"{folder}/bundle.json: {where}: {first['msg']}: run `headhunt bundle make`") from exc
    scorer = load_scorer(folder / "scorer.safetensors")
    if sha256(folder / "scorer.safetensors") != bundle.scorer_sha256:
        raise ArtifactError(f"{folder}: scorer.safetensors is not the one this bundle was made with")
    return bundle, scorer


def load_golden(folder: Path) -> Float32[np.ndarray, "clip features"]:
    """The golden features of a bundle.

    Raises:
        ArtifactError: missing or broken.
    """
    try:
        with safe_open(folder / "golden.safetensors", "np") as f:
            return np.asarray(f.get_tensor("features"))
    except (OSError, SafetensorError) as exc:
        raise ArtifactError(f"{folder} holds no golden features ({exc}): run `headhunt bundle make`") from exc


def check_model(bundle: Bundle, folder: Path) -> None:
    """Raise ArtifactError if the model on disk is not the one that the heads were found in."""
    if not bundle.mllm_is_local:
        return  # a hub revision is a commit: it cannot change
    mllm = bundle.mllm_at(folder)
    if not Path(mllm.id).is_dir():
        raise ArtifactError(
            f"{folder} needs the model folder {mllm.id}, which does not exist: put it back, or run `dvc repro`"
        )
    found = model_revision(mllm)
    if found != bundle.mllm_revision:
        raise ArtifactError(
            f"{folder} was made for model {bundle.mllm_revision}, but {mllm.id} is {found}: "
            "run `dvc repro` to hunt heads in this model, or put the old one back"
        )
