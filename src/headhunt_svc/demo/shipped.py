"""Where the embedded default is: setup.py copies it into wheels; an editable install finds it in the clone."""

from pathlib import Path

from headhunt_svc import paths
from headhunt_svc.errors import ArtifactError

IN_WHEEL = Path(__file__).parent / "assets" / "shipped"
CLONE = Path(__file__).parents[3]


def shipped() -> Path:
    """The folder with the demo's params.yaml and artifacts/: the embedded model and the published figures.

    Raises:
        ArtifactError: the package was installed without them.
    """
    folder = IN_WHEEL if IN_WHEEL.is_dir() else CLONE
    if not (folder / paths.DEMO_MLLM).is_dir():
        raise ArtifactError(f"{IN_WHEEL} not found: install headhunt-svc from its wheel, or work in a clone")
    return folder
