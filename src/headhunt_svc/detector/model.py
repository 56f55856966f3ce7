"""The model of a bundle: got from the hub where it is missing, and compared with what the heads were found in."""

from pathlib import Path

from headhunt_svc.detector.bundle import Bundle, check_model
from headhunt_svc.model import hub
from headhunt_svc.model.identity import ModelLock


def fetch_model(bundle: Bundle, folder: Path) -> ModelLock:
    """Download what is missing of a hub's model, with progress, and check all of it; what the files must be.

    Raises:
        ArtifactError: it is not the model that the heads were found in, or a local one is not there.
        ModelError, UnreachableError: it cannot be downloaded.
    """
    if not bundle.mllm_is_local and bundle.mllm_files is not None:
        hub.fetch(bundle.lock_at(folder))
    check_model(bundle, folder)
    return bundle.lock_at(folder)
