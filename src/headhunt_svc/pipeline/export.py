"""export: the bundle's ONNX graph at a chosen operating point."""

from pathlib import Path

from headhunt_svc.detector.bundle import load_bundle, onnx_metadata
from headhunt_svc.detector.export import save_graph, scorer_graph


def export(bundle: Path, out: Path, operating_point: str) -> None:
    """Write the scorer of a bundle and the smoothing of an operating point as one ONNX file.

    Raises:
        ConfigError: no such operating point.
    """
    detector, scorer = load_bundle(bundle)
    point = detector.operating_point(operating_point)
    save_graph(out, scorer_graph(scorer, point, onnx_metadata(detector, operating_point)))
