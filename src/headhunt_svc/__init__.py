"""Video anomaly detection from the attention heads of a frozen multimodal LLM (HeadHunt-VAD, AAAI 2026).

    from headhunt_svc import Detector

    detector = Detector.load(Path("artifacts/detector"))
    report = detector.detect(Path("clip.mp4"))

The names in `__all__` are the public interface. Each is imported on first use, so that `import headhunt_svc` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headhunt_svc.detector.options import Options
    from headhunt_svc.detector.pipeline import Detector
    from headhunt_svc.detector.report import Report
    from headhunt_svc.errors import HeadHuntError
    from headhunt_svc.serve.client import Client
    from headhunt_svc.video.opening import open_video

    __version__: str

__all__ = ["Client", "Detector", "HeadHuntError", "Options", "Report", "__version__", "open_video"]

_MODULES = {
    "Client": "serve.client",
    "Detector": "detector.pipeline",
    "HeadHuntError": "errors",
    "Options": "detector.options",
    "Report": "detector.report",
    "open_video": "video.opening",
}

if not TYPE_CHECKING:  # a type checker would take every name for one that exists

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("headhunt-svc")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
