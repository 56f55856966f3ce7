"""Which places of its peak's pictures spoke for an event, with the picture that shows them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8

from headhunt_svc.errors import ArtifactError
from headhunt_svc.storage.tensors import load_tensors, save_tensors

SUFFIX = ".places.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """What each place adds to the logit of a segment's raw score (model/attribution.py).

    shares: of the segment's pictures, or of pairs of them where the model looks at pairs.
    picture: the middle one, JPEG.
    """

    detector_id: str
    raw: float
    shares: Float32[np.ndarray, "picture row column"]
    picture: bytes

    @property
    def total(self) -> Float[np.ndarray, "row column"]:
        """The same of all pictures together."""
        return np.asarray(self.shares.sum(0, dtype=np.float64))


def save_places(path: Path, places: Places) -> None:
    """Write places, durably. Raises OutputError."""
    arrays = {"shares": places.shares, "picture": np.frombuffer(places.picture, np.uint8)}
    save_tensors(path, arrays, {"detector_id": places.detector_id, "raw": places.raw}, durable=True)


def load_places(path: Path) -> Places:
    """Read places. Raises ArtifactError: missing or damaged; the message is the reason."""
    facts, arrays = load_tensors(path)
    try:
        picture: UInt8[np.ndarray, " byte"] = arrays["picture"]
        return Places(str(facts["detector_id"]), float(facts["raw"]), arrays["shares"], picture.tobytes())
    except (KeyError, TypeError, ValueError) as exc:
        raise ArtifactError(f"not the places of an event ({exc})") from exc
