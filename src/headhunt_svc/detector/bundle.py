"""Files of operating points, and of the detector bundle, which is all that serving needs.

Light to import: no model library and no ONNX (the graph is written by detector/export.py, imported when needed).
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator
from safetensors import SafetensorError, safe_open

from headhunt_svc.core.background import check_live
from headhunt_svc.detector.cameras import StoredCamera
from headhunt_svc.detector.cautions import cautions
from headhunt_svc.detector.options import DEFAULT_OPERATING_POINT
from headhunt_svc.detector.scorer_file import load_scorer, save_scorer
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.model.identity import (
    COMMIT,
    LockedFile,
    ModelLock,
    current_lock,
    difference,
    digest_of_older,
    lock_folder,
    snapshot_folder,
)
from headhunt_svc.params import Method, MllmParams, SegmentationParams
from headhunt_svc.sections import first_problem
from headhunt_svc.storage.files import read_json, sha256, text_id, write_bytes, write_json
from headhunt_svc.storage.tensors import tensor_bytes
from headhunt_svc.types import (
    CalibratedPair,
    CalibratedPoint,
    CalibratedPoints,
    Confidence,
    OperatingPoint,
    Scorer,
    Unavailable,
)


def model_revision(mllm: MllmParams) -> str:
    """Name of the exact model that params.yaml names, by content: see model/identity.py.

    Raises:
        ArtifactError: a model of a hub that is not locked.
    """
    return current_lock(mllm).digest


def model_key(mllm: MllmParams, revision: str | None = None) -> str:
    """Name of the model that features come from: its revision (by default the current one) and how it computes."""
    tokens = "" if mllm.keep_tokens == 1 else f" {mllm.keep_tokens:g} of tokens"
    compiled = " compiled" if mllm.compile else ""
    return f"{revision or model_revision(mllm)} {mllm.dtype} {mllm.attention}{tokens}{compiled}"


class StoredPoint(BaseModel):
    """An operating point as bundle.json and locator.json hold it, with the one for live use (causal smoothing)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sigma_segments: float = Field(ge=0)
    threshold: float = Field(ge=0, le=1)
    rule: str | None = None
    causal: "StoredPoint | None" = None

    @model_validator(mode="before")
    @classmethod
    def _omit_figures(cls, row: Any) -> Any:
        """In locator.json a point has its figures on validation videos beside it."""
        return {k: v for k, v in row.items() if not k.startswith("validation_")} if isinstance(row, dict) else row

    @model_serializer(mode="wrap")
    def _omit_none(self, handler: Callable[[object], Any]) -> dict[str, Any]:
        """A point of an older bundle is written as it was read, so that detector_id stays the same."""
        return {k: v for k, v in handler(self).items() if v is not None}

    @classmethod
    def from_calibrated(cls, pair: CalibratedPair) -> "StoredPoint":
        """The point without its figures."""
        return cls.model_validate(_with_figures(pair.offline, pair.causal))


def _with_figures(point: CalibratedPoint, causal: CalibratedPoint | None = None) -> dict[str, Any]:
    """A point as locator.json holds it."""
    return {
        "sigma_segments": point.operating_point.sigma_segments,
        "threshold": point.operating_point.threshold,
        "rule": point.rule,
        **({"causal": _with_figures(causal)} if causal else {}),
        **point.figures,
    }


def save_operating_points(path: Path, points: CalibratedPoints) -> None:
    """Write locator.json: every operating point with its figures on validation videos, or why it is unavailable."""
    rows = {
        name: {"unavailable": p.reason} if isinstance(p, Unavailable) else _with_figures(p.offline, p.causal)
        for name, p in points.items()
    }
    write_json(path, rows)


class StoredPoints(NamedTuple):
    """Operating points by name, and why others are not available."""

    points: dict[str, StoredPoint]
    unavailable: dict[str, str]

    @property
    def fields(self) -> dict[str, Any]:
        """As fields of a bundle."""
        return {"operating_points": self.points, "unavailable": self.unavailable or None}


def load_operating_points(path: Path) -> StoredPoints:
    """Read locator.json.

    Raises:
        ArtifactError: missing or broken.
    """
    rows = read_json(path, "headhunt calibrate")
    try:
        unavailable = {name: str(row["unavailable"]) for name, row in rows.items() if "unavailable" in row}
        rest = {name: StoredPoint.model_validate(row) for name, row in rows.items() if name not in unavailable}
        return StoredPoints(rest, unavailable)
    except (ValidationError, AttributeError, TypeError) as exc:
        raise ArtifactError(f"{path} holds no operating points: run `headhunt calibrate` again") from exc


class Bundle(BaseModel):
    """bundle.json: all that serving needs beside scorer.safetensors; a local model's id is relative to the bundle.

    Fields that default to None are of later versions; where they are None they are left out, so that detector_id stays.
    mllm_revision: digest of the model's content; of an older bundle the hub's commit, or another digest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    mllm: MllmParams
    mllm_is_local: bool
    mllm_revision: str
    segmentation: SegmentationParams
    prompt: str
    description_prompt: str | None = None
    calibration_prompts: tuple[str, ...]
    prompt_set: str | None = None  # None: texts of one's own
    heads: tuple[tuple[int, int], ...]
    rss: tuple[float, ...]
    scorer_sha256: str
    operating_points: dict[str, StoredPoint] = Field(min_length=1)
    data: dict[str, Any]  # version of the data: digest of the labelled videos, and their number per split
    fingerprint: dict[str, str]  # libraries and numerics that features depend on, see fingerprint.py
    package_version: str
    mllm_commit: str | None = None  # of a hub
    mllm_files: tuple[LockedFile, ...] | None = None
    domain: str | None = None  # what the model has seen, where that is known and narrow
    confidence: Confidence | None = None  # in the choice of the heads
    cameras: dict[str, StoredCamera] | None = None  # with a normality or weights of their own, see cameras.py
    unavailable: dict[str, str] | None = None  # operating points that the validation videos do not allow, and why
    method: Method | None = None
    deepest_layer: int | None = None  # heads of deeper layers were no candidates

    @model_validator(mode="after")
    def _fits_together(self) -> "Bundle":
        if len(self.heads) != len(self.rss):
            raise ValueError(f"{len(self.heads)} heads with {len(self.rss)} values of rss")
        if not isinstance(self.data.get("index_sha256"), str) or not isinstance(self.data.get("videos", {}), dict):
            raise ValueError("data names neither a digest nor the videos")
        return self

    @model_serializer(mode="wrap")
    def _omit_later_fields(self, handler: Callable[[object], Any]) -> dict[str, Any]:
        fields = type(self).model_fields
        row = {k: v for k, v in handler(self).items() if v is not None or fields[k].is_required()}
        if self.confidence is not None and self.confidence.alternatives is None and "confidence" in row:
            del row["confidence"]["alternatives"]
        return row

    @property
    def detector_id(self) -> str:
        """Twelve hex digits that name this detector: any change of the bundle changes them."""
        return text_id(self.model_dump_json())

    @property
    def features_id(self) -> str:
        """Twelve hex digits that name what the expert features are of: model, prompt, heads and segmentation.

        Detectors that differ in scorer, cameras or operating points alone share it.
        """
        model = model_key(self.mllm, self.mllm_revision)
        return text_id(json.dumps([model, self.prompt, self.heads, self.segmentation.model_dump_json()]))

    @property
    def cautions(self) -> tuple[str, ...]:
        """What a user must know before trusting the scores."""
        return cautions(self.domain, self.confidence)

    @property
    def default_point(self) -> str:
        """Name of the ONNX graph's operating point: f1, or without labelled anomalies the first that is no camera's."""
        points = self.operating_points
        fleet = points.keys() - (self.cameras or {}).keys()
        return DEFAULT_OPERATING_POINT if DEFAULT_OPERATING_POINT in points else min(fleet or points)

    def operating_point(
        self, operating_point: str, smoothing: Literal["offline", "causal"] = "offline"
    ) -> OperatingPoint:
        """The operating point of that name for this way of smoothing.

        Raises:
            ConfigError: no such operating point; lists the names.
        """
        live = smoothing == "causal"
        stored = {name: point.causal if live else point for name, point in self.operating_points.items()}
        points = {name: point for name, point in stored.items() if point is not None}
        if operating_point not in points:
            names, live_use = ", ".join(sorted(points)) or "none", " for causal smoothing" if live else ""
            reason = (self.unavailable or {}).get(operating_point)
            why = f" ({reason})" if reason else ""
            raise ConfigError(
                f"no operating point {operating_point!r} in this bundle{live_use}{why}; there are: {names}"
            )
        return OperatingPoint(points[operating_point].sigma_segments, points[operating_point].threshold, smoothing)

    def mllm_at(self, folder: Path) -> MllmParams:
        """The model's parameters with the path of a local model resolved."""
        if not self.mllm_is_local:
            return self.mllm
        real = folder.resolve() if folder.is_symlink() else folder  # the path is relative to a link's target
        return self.mllm.model_copy(update={"id": os.path.normpath(real / self.mllm.id)})

    def model_place(self, folder: Path) -> Path:
        """The folder where the model's files are, or belong.

        Raises:
            ArtifactError: an older bundle of a hub's branch or tag.
        """
        mllm = self.mllm_at(folder)
        if self.mllm_is_local:
            return Path(mllm.id)
        if not COMMIT.fullmatch(self._commit):
            raise ArtifactError(
                f"{folder} was made for {mllm.id} at {self._commit}, no commit, which may have moved: run `dvc repro`"
            )
        return snapshot_folder(mllm.id, self._commit)

    @property
    def _commit(self) -> str:
        return self.mllm_commit or self.mllm_revision  # an older bundle of a hub

    def lock_at(self, folder: Path) -> ModelLock:
        """What the model's files must be; an older bundle does not say it: what they are."""
        mllm = self.mllm_at(folder)
        if self.mllm_files is None:
            return lock_folder(mllm, self.model_place(folder), None if self.mllm_is_local else self._commit)
        return ModelLock(
            id=mllm.id,
            revision=mllm.revision,
            commit=self.mllm_commit,
            digest=self.mllm_revision,
            files=self.mllm_files,
        )

    def relocated(self, folder: Path, out: Path) -> "Bundle":
        """The bundle of `folder` as it is written to `out`: the path of a local model is relative to that."""
        if not self.mllm_is_local:
            return self
        where = os.path.relpath(self.mllm_at(folder).id, out)
        return self.model_copy(update={"mllm": self.mllm.model_copy(update={"id": where})})


def check_point(bundle: Bundle, scorer: Scorer, name: str, smoothing: Literal["offline", "causal"]) -> OperatingPoint:
    """The operating point of that name. Raises ConfigError if there is none, or no causal smoothing of these scores."""
    if smoothing == "causal":
        check_live(scorer.background, "causal smoothing")
    return bundle.operating_point(name, smoothing)


def save_graph(path: Path, bundle: Bundle, scorer: Scorer, operating_point: str, **own: str | None) -> None:
    """Write the scorer and the smoothing of an operating point as one ONNX file.

    own: whose normality and correction it has, where these have a name.

    Raises:
        ConfigError: no such operating point.
    """
    from headhunt_svc.detector.export import scorer_graph  # onnx: slow to import

    metadata = {
        "detector_id": bundle.detector_id,
        "mllm": bundle.mllm.id,
        "mllm_revision": bundle.mllm_revision,
        "prompt": bundle.prompt,
        "heads": bundle.heads,
        "operating_point": operating_point,
        **{name: camera for name, camera in own.items() if camera is not None},
        **({"cautions": bundle.cautions} if bundle.cautions else {}),
    }
    graph = scorer_graph(scorer, bundle.operating_point(operating_point), metadata)
    write_bytes(path, graph.SerializeToString(deterministic=True))


def save_bundle(folder: Path, bundle: Bundle, scorer: Scorer, golden: Float32[np.ndarray, "clip features"]) -> None:
    """Write bundle.json, scorer.safetensors, golden.safetensors and scorer.onnx (at the default operating point)."""
    write_bytes(folder / "golden.safetensors", tensor_bytes({"features": golden}))
    save_scorer(folder / "scorer.safetensors", scorer)
    save_graph(folder / "scorer.onnx", bundle, scorer, bundle.default_point)
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
        raise ArtifactError(f"{folder}/bundle.json: {first_problem(exc)}: run `headhunt bundle make`") from exc
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
            golden = np.asarray(f.get_tensor("features"))
        if golden.ndim != 2 or golden.dtype != np.float32:
            raise ValueError(f"{golden.dtype} in {golden.ndim} dimensions")
        return golden
    except (OSError, SafetensorError, ValueError) as exc:
        raise ArtifactError(f"{folder} holds no golden features ({exc}): run `headhunt bundle make`") from exc


def check_model(bundle: Bundle, folder: Path) -> None:
    """Raise ArtifactError if the model on disk is not there, or not the one that the heads were found in."""
    place = bundle.model_place(folder)
    if bundle.mllm_is_local:
        way_out = "put it back, or run `dvc repro` to hunt heads in this model"
    else:
        way_out = f"run `headhunt models pull {bundle.mllm.id} --revision {place.name}`"
    if not place.is_dir():
        raise ArtifactError(f"{folder} needs the model folder {place}, which does not exist: {way_out}")
    if bundle.mllm_files is not None:
        problem = difference(bundle.lock_at(folder), place)
    elif bundle.mllm_is_local and (digest := digest_of_older(place)) != bundle.mllm_revision:
        problem = f"{place} is {digest}"
    else:
        problem = None  # an older bundle of a hub: all it has is the commit
    if problem:
        raise ArtifactError(f"{folder} was made for model {bundle.mllm_revision}, but {problem}: {way_out}")
