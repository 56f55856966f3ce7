"""Cameras of a bundle: cameras/NAME-DIGEST.safetensors each, and the scorer of each.

A file has what is normal for the camera (mean and factor of core/camera_normality.NormalFootage), and where people
have marked its events the weights and the bias that replace the fleet's. bundle.json has its digest, and how strongly
the footage is shrunk towards the fleet. The footage is of features, so it stays when the scorer is fitted anew. The
digest in its name lets the file of a renewed camera lie beside the old one until bundle.json names it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError, safe_open

from headhunt_svc.core.camera_normality import SHRINKAGE, NormalFootage, Shrinkage, camera_scorer
from headhunt_svc.errors import ArtifactError
from headhunt_svc.names import label
from headhunt_svc.storage.files import sha256, write_bytes
from headhunt_svc.storage.tensors import tensor_bytes
from headhunt_svc.types import Scorer

FLEET = "fleet"  # what is normal on average over all cameras; no camera may have this name
DIGITS = 12  # of the digest in the name of a file


@dataclass(frozen=True, slots=True)
class Margin:
    """Weights and bias of one camera, learnt from marks of its events, in place of the fleet's.

    marks: number of marked events.
    """

    weight: Float64[np.ndarray, " features"]
    bias: float
    marks: int


@dataclass(frozen=True, slots=True)
class CameraParts:
    """What a camera has of its own. footage: what is normal for it; conformed: the same before marks, if there was."""

    footage: NormalFootage | None
    shrinkage: Shrinkage = SHRINKAGE
    margin: Margin | None = None
    conformed: NormalFootage | None = None

    @property
    def unmarked(self) -> "CameraParts | None":
        """The camera without what was learnt from marks; None where nothing is left."""
        if self.margin is None:
            return self
        return None if self.conformed is None else CameraParts(self.conformed, self.shrinkage)


class StoredFootage(BaseModel):
    """Normal footage in bundle.json: what is not in the camera's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segments: int = Field(ge=1)
    typical: float | None = Field(None, gt=0)


class StoredCamera(BaseModel):
    """A camera in bundle.json: digest of its file, and what is not in it (see core/camera_normality.py).

    segments: of normal footage, and harmless ones that count in its scatter; none of either: it has no normality of its
    own. marks: of how many events its weights were learnt; None: it has none of its own. conformed: the normal footage
    before marks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    segments: int = Field(ge=0)
    harmless: int = Field(0, ge=0, exclude_if=lambda harmless: not harmless)
    mean_strength: float = Field(ge=0)
    covariance_strength: float = Field(gt=0)
    typical: float | None = Field(None, gt=0, exclude_if=lambda distance: distance is None)
    marks: int | None = Field(None, ge=1, exclude_if=lambda marks: marks is None)
    conformed: StoredFootage | None = Field(None, exclude_if=lambda footage: footage is None)

    @model_validator(mode="after")
    def _has_something(self) -> "StoredCamera":
        if self.marks is None and (self.segments == 0 or self.harmless or self.conformed is not None):
            raise ValueError("a camera without marks has normal footage, and none from before marks")
        return self

    @property
    def shrinkage(self) -> Shrinkage:
        """How strongly the fleet counts beside this camera."""
        return Shrinkage(self.mean_strength, self.covariance_strength)


def camera_file(folder: Path, name: str, digest: str) -> Path:
    """The file of a camera in the folder of a bundle, whatever its name is; digest: of its content."""
    return folder / "cameras" / f"{quote(label(name), safe='')}-{digest[:DIGITS]}.safetensors"


def save_camera(folder: Path, name: str, camera: CameraParts) -> StoredCamera:
    """Write the file of a camera into the folder of a bundle; returns what bundle.json says about it."""
    footage, margin, conformed = camera.footage, camera.margin, camera.conformed
    tensors: dict[str, np.ndarray] = {}
    for prefix, normal in (("", footage), ("conformed_", conformed)):
        if normal is not None:
            tensors |= {f"{prefix}mean": normal.mean, f"{prefix}factor": normal.factor}
    if margin is not None:
        tensors |= {"weight": margin.weight, "bias": np.array([margin.bias], np.float64)}
    content = tensor_bytes(tensors)
    digest = hashlib.sha256(content).hexdigest()
    write_bytes(camera_file(folder, name, digest), content)
    return StoredCamera(
        sha256=digest,
        segments=footage.segments if footage else 0,
        harmless=footage.harmless if footage else 0,
        mean_strength=camera.shrinkage.mean,
        covariance_strength=camera.shrinkage.covariance,
        typical=footage.typical if footage else None,
        marks=margin.marks if margin else None,
        conformed=StoredFootage(segments=conformed.segments, typical=conformed.typical) if conformed else None,
    )


def load_camera(folder: Path, name: str, camera: StoredCamera) -> CameraParts:
    """Read the file of a camera.

    Raises:
        ArtifactError: missing, broken, or of another bundle.
    """
    path = camera_file(folder, name, camera.sha256)
    try:
        if sha256(path) != camera.sha256:
            raise ArtifactError(f"{path} is not the one that this bundle was made with: run `headhunt bundle conform`")
        with safe_open(path, "np") as f:
            tensors = {key: f.get_tensor(key) for key in f.keys()}
        footage, of_before, conformed = None, camera.conformed, None
        if camera.segments + camera.harmless:
            footage = _footage(tensors, "", camera.segments, camera.typical, camera.harmless)
        if of_before is not None:
            conformed = _footage(tensors, "conformed_", of_before.segments, of_before.typical)
        return CameraParts(footage, camera.shrinkage, _margin(tensors, camera.marks), conformed)
    except (OSError, SafetensorError, ValueError, KeyError) as exc:
        raise ArtifactError(f"{path} cannot be read as a camera ({exc}): run `headhunt bundle conform`") from exc


def _footage(
    tensors: Mapping[str, np.ndarray], prefix: str, segments: int, typical: float | None, harmless: int = 0
) -> NormalFootage:
    mean, factor = tensors[f"{prefix}mean"], tensors[f"{prefix}factor"]
    if (mean.ndim, factor.ndim) != (1, 2) or {mean.dtype, factor.dtype} != {np.dtype(np.float32)}:
        raise ValueError(f"mean {mean.dtype}{list(mean.shape)}, factor {factor.dtype}{list(factor.shape)}")
    return NormalFootage(segments, mean, factor, typical, harmless)


def _margin(tensors: Mapping[str, np.ndarray], marks: int | None) -> Margin | None:
    if marks is None:
        return None
    weight, bias = tensors["weight"], tensors["bias"]
    if (weight.ndim, bias.shape) != (1, (1,)) or {weight.dtype, bias.dtype} != {np.dtype(np.float64)}:
        raise ValueError(f"weight {weight.dtype}{list(weight.shape)}, bias {bias.dtype}{list(bias.shape)}")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ValueError("weight or bias are not finite")
    return Margin(weight, float(bias[0]), marks)


def copy_cameras(folder: Path, out: Path, cameras: Mapping[str, StoredCamera] | None) -> None:
    """Take the files of all cameras over into the folder of another bundle.

    Raises:
        ArtifactError: see load_camera.
    """
    for name, camera in (cameras or {}).items():
        save_camera(out, name, load_camera(folder, name, camera))


def remove_other_cameras(folder: Path, cameras: Mapping[str, StoredCamera] | None) -> None:
    """Delete the files of cameras that bundle.json, already written, names no more."""
    named = {camera_file(folder, name, camera.sha256) for name, camera in (cameras or {}).items()}
    for path in (folder / "cameras").glob("*.safetensors"):
        if path not in named:
            path.unlink()


class CameraScorers:
    """The scorer of every camera of a bundle; that of the fleet for all others."""

    def __init__(self, fleet: Scorer, cameras: Mapping[str, CameraParts]) -> None:
        self._fleet, self._cameras = fleet, cameras
        self._scorers: dict[str, Scorer] = {}

    @classmethod
    def load(cls, folder: Path, fleet: Scorer, cameras: Mapping[str, StoredCamera] | None) -> "CameraScorers":
        """Read the cameras of a bundle.

        Raises:
            ArtifactError: see load_camera; or a camera has other features than the scorer.
        """
        loaded = {}
        for name, camera in (cameras or {}).items():
            loaded[name] = load_camera(folder, name, camera)
            for n in _features(loaded[name]):
                if n != len(fleet.weight):
                    raise ArtifactError(
                        f"{camera_file(folder, name, camera.sha256)} has {n} features, the scorer "
                        f"{len(fleet.weight)}: run `headhunt bundle conform`"
                    )
        return cls(fleet, loaded)

    def normality(self, camera: str | None) -> str | None:
        """What the distance to normal of a camera's videos is measured from: its own name, or FLEET.

        None: the bundle knows the normal footage of no camera, or its scorer has no distance.
        """
        own = {name for name, parts in self._cameras.items() if parts.footage is not None}
        if not own or self._fleet.normality is None:
            return None
        return camera if camera in own else FLEET

    def correction(self, camera: str | None) -> str | None:
        """The camera's name, where marks of its events have given it weights of its own."""
        return None if camera is None or self.margin(camera) is None else camera

    def margin_scorer(self, camera: str) -> Scorer:
        """The fleet's scorer with the weights of a camera, if it has some, and the fleet's normality."""
        return _with_margin(self._fleet, self.margin(camera))

    def margin(self, camera: str) -> Margin | None:
        """Weights of the camera's own, where marks of its events have given it some."""
        parts = self._cameras.get(camera)
        return None if parts is None else parts.margin

    def scorer(self, camera: str | None) -> Scorer:
        """The scorer for a camera's videos; made when it is first needed."""
        if camera is None or camera not in self._cameras:
            return self._fleet
        if camera not in self._scorers:
            self._scorers[camera] = scorer_of(self._fleet, self._cameras[camera])
        return self._scorers[camera]


def scorer_of(fleet: Scorer, camera: CameraParts) -> Scorer:
    """The scorer of a camera: weights, bias and normality of its own, where it has some."""
    scorer = _with_margin(fleet, camera.margin)
    return scorer if camera.footage is None else camera_scorer(scorer, camera.footage, camera.shrinkage)


def _with_margin(fleet: Scorer, margin: Margin | None) -> Scorer:
    return fleet if margin is None else replace(fleet, weight=margin.weight, bias=margin.bias)


def _features(camera: CameraParts) -> set[int]:
    """The numbers of features of its parts."""
    footage = [len(normal.mean) for normal in (camera.footage, camera.conformed) if normal is not None]
    return {*footage, *([] if camera.margin is None else [len(camera.margin.weight)])}
