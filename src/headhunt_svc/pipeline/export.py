"""export: the bundle's ONNX graph at a chosen operating point."""

from pathlib import Path

from headhunt_svc.detector.bundle import load_bundle, save_graph
from headhunt_svc.detector.cameras import CameraScorers
from headhunt_svc.errors import ConfigError


def export(bundle: Path, out: Path, operating_point: str, camera: str | None = None) -> None:
    """Write a scorer of a bundle, that of the fleet or of a camera, and the smoothing of a point as one ONNX file.

    Raises:
        ConfigError: no such operating point, or no such camera.
    """
    detector, scorer = load_bundle(bundle)
    if camera is not None and camera not in (detector.cameras or {}):
        names = ", ".join(sorted(detector.cameras or {})) or "none"
        raise ConfigError(f"no camera {camera!r} in {bundle}; there are: {names}")
    cameras = CameraScorers.load(bundle, scorer, detector.cameras)
    own = {"normality": cameras.normality(camera), "correction": cameras.correction(camera)}
    save_graph(out, detector, cameras.scorer(camera), operating_point, **own)
