"""export: the bundle's ONNX graph at a chosen operating point."""

from pathlib import Path

from headhunt_svc.detector.bundle import load_bundle, save_graph


def export(bundle: Path, out: Path, operating_point: str) -> None:
    """Write the scorer of a bundle and the smoothing of an operating point as one ONNX file.

    Raises:
        ConfigError: no such operating point.
    """
    detector, scorer = load_bundle(bundle)
    save_graph(out, detector, scorer, operating_point)
