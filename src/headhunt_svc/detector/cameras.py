"""Cameras of a bundle whose normal footage is known: cameras/NAME-DIGEST.safetensors each, and the scorer of each.

A file has the mean and the factor of core/camera_normality.NormalFootage; bundle.json has its digest and how strongly
it is shrunk towards the fleet. It is of features, so it stays when the scorer is fitted anew. The digest in its name
lets the file of a renewed camera lie beside the old one until bundle.json names it.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from headhunt_svc.core.camera_normality import SHRINKAGE, NormalFootage, Shrinkage, camera_scorer
from headhunt_svc.errors import ArtifactError
from headhunt_svc.names import label
from headhunt_svc.storage.files import sha256, write_bytes
from headhunt_svc.storage.tensors import tensor_bytes
from headhunt_svc.types import Scorer

FLEET = "fleet"  # what is normal on average over all cameras; no camera may have this name
DIGITS = 12  # of the digest in the name of a file


class StoredCamera(BaseModel):
    """A camera in bundle.json: digest of its file, and what is not in it (see core/camera_normality.py)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    segments: int = Field(ge=1)
    mean_strength: float = Field(ge=0)
    covariance_strength: float = Field(gt=0)
    typical: float | None = Field(None, gt=0, exclude_if=lambda distance: distance is None)

    @property
    def shrinkage(self) -> Shrinkage:
        """How strongly the fleet counts beside this camera."""
        return Shrinkage(self.mean_strength, self.covariance_strength)


def camera_file(folder: Path, name: str, digest: str) -> Path:
    """The file of a camera in the folder of a bundle, whatever its name is; digest: of its content."""
    return folder / "cameras" / f"{quote(label(name), safe='')}-{digest[:DIGITS]}.safetensors"


def save_camera(folder: Path, name: str, footage: NormalFootage, shrinkage: Shrinkage = SHRINKAGE) -> StoredCamera:
    """Write the file of a camera into the folder of a bundle; returns what bundle.json says about it."""
    content = tensor_bytes({"mean": footage.mean, "factor": footage.factor})
    digest = hashlib.sha256(content).hexdigest()
    write_bytes(camera_file(folder, name, digest), content)
    return StoredCamera(
        sha256=digest,
        segments=footage.segments,
        mean_strength=shrinkage.mean,
        covariance_strength=shrinkage.covariance,
        typical=footage.typical,
    )


def load_camera(folder: Path, name: str, camera: StoredCamera) -> NormalFootage:
    """Read the file of a camera.

    Raises:
        ArtifactError: missing, broken, or of another bundle.
    """
    path = camera_file(folder, name, camera.sha256)
    try:
        if sha256(path) != camera.sha256:
            raise ArtifactError(f"{path} is not the one that this bundle was made with: run `headhunt bundle conform`")
        with safe_open(path, "np") as f:
            mean, factor = f.get_tensor("mean"), f.get_tensor("factor")
        if (mean.ndim, factor.ndim) != (1, 2) or {mean.dtype, factor.dtype} != {np.dtype(np.float32)}:
            raise ValueError(f"mean {mean.dtype}{list(mean.shape)}, factor {factor.dtype}{list(factor.shape)}")
        return NormalFootage(camera.segments, mean, factor, camera.typical)
    except (OSError, SafetensorError, ValueError) as exc:
        raise ArtifactError(f"{path} cannot be read as a camera ({exc}): run `headhunt bundle conform`") from exc


def copy_cameras(folder: Path, out: Path, cameras: Mapping[str, StoredCamera] | None) -> None:
    """Take the files of all cameras over into the folder of another bundle.

    Raises:
        ArtifactError: see load_camera.
    """
    for name, camera in (cameras or {}).items():
        save_camera(out, name, load_camera(folder, name, camera), camera.shrinkage)


def remove_other_cameras(folder: Path, cameras: Mapping[str, StoredCamera] | None) -> None:
    """Delete the files of cameras that bundle.json, already written, names no more."""
    named = {camera_file(folder, name, camera.sha256) for name, camera in (cameras or {}).items()}
    for path in (folder / "cameras").glob("*.safetensors"):
        if path not in named:
            path.unlink()


class CameraScorers:
    """The scorer of every camera of a bundle; that of the fleet for all others."""

    def __init__(self, fleet: Scorer, footage: Mapping[str, tuple[NormalFootage, Shrinkage]]) -> None:
        self._fleet, self._footage = fleet, footage
        self._scorers: dict[str, Scorer] = {}

    @classmethod
    def load(cls, folder: Path, fleet: Scorer, cameras: Mapping[str, StoredCamera] | None) -> "CameraScorers":
        """Read the cameras of a bundle.

        Raises:
            ArtifactError: see load_camera; or a camera has other features than the scorer.
        """
        footage = {}
        for name, camera in (cameras or {}).items():
            normal = load_camera(folder, name, camera)
            if len(normal.mean) != len(fleet.weight):
                raise ArtifactError(
                    f"{camera_file(folder, name, camera.sha256)} has {len(normal.mean)} features, the scorer "
                    f"{len(fleet.weight)}: run `headhunt bundle conform`"
                )
            footage[name] = normal, camera.shrinkage
        return cls(fleet, footage)

    def normality(self, camera: str | None) -> str | None:
        """What the distance to normal of a camera's videos is measured from: its own name, or FLEET.

        None: the bundle knows no camera, or its scorer has no distance.
        """
        if not self._footage or self._fleet.normality is None:
            return None
        return camera if camera in self._footage else FLEET

    def scorer(self, camera: str | None) -> Scorer:
        """The scorer for a camera's videos; made when it is first needed."""
        if camera is None or camera not in self._footage:
            return self._fleet
        if camera not in self._scorers:
            self._scorers[camera] = camera_scorer(self._fleet, *self._footage[camera])
        return self._scorers[camera]
