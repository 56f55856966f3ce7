"""bundle: everything that serving needs in one folder, so that training and serving cannot differ."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from headhunt_svc.data.datasets import load_index
from headhunt_svc.detector.bundle import Bundle, load_operating_points, model_key, save_bundle
from headhunt_svc.detector.cautions import domain_of
from headhunt_svc.detector.fingerprint import fingerprint, golden_features
from headhunt_svc.detector.heads_file import load_selection
from headhunt_svc.detector.scorer_file import load_scorer
from headhunt_svc.errors import ArtifactError
from headhunt_svc.model.identity import current_lock
from headhunt_svc.model.loading import load_extractor, model_folder
from headhunt_svc.params import Params
from headhunt_svc.settings import Settings
from headhunt_svc.storage.files import sha256
from headhunt_svc.types import LABELLED, IndexedVideo


def _marks_of(videos: Sequence[IndexedVideo]) -> dict[str, Any]:
    """The marks whose clips are among the videos: their version, and the number of clips."""
    versions = [video.marks for video in videos if video.marks is not None]
    return {"marks": {"version": versions[0], "clips": len(versions)}} if versions else {}


def bundle(params: Params, index: Path, heads: Path, scorer: Path, operating_points: Path, out: Path) -> Bundle:
    """Write the detector bundle.

    Labels are not read: what the scorer learnt from is named by the heads (`data` of heads.json, which `fit` and
    `calibrate` compare with the labels that they read), so bundle.json changes with the label of a calibration or
    validation video, and stays with one of a test video.

    Raises:
        ArtifactError: heads, scorer and model do not belong together.
    """
    selection, fitted = load_selection(heads), load_scorer(scorer)
    lock = current_lock(params.mllm)
    if selection.revision != lock.digest:
        raise ArtifactError(
            f"{heads} was found in model {selection.revision}, params.yaml names {lock.digest}: run `dvc repro`"
        )
    if selection.model != model_key(params.mllm):
        raise ArtifactError(
            f"{heads} was found in {selection.model}, params.yaml names {model_key(params.mllm)}: run `dvc repro`"
        )
    if selection.segmentation != params.segmentation.model_dump_json():
        raise ArtifactError(f"{heads} was found on segments that were cut in another way: run `dvc repro`")
    if selection.prompts != params.prompts.texts:
        raise ArtifactError(f"{heads} was found under other prompts than params.yaml has: run `dvc repro`")
    videos, identify = load_index(index), params.identify
    most = identify.n_heads(sum(video.split == "calibration" for video in videos))
    as_many = identify.top_k == "auto" or most == "auto" or identify.top_k <= len(selection.heads) <= most
    if selection.criteria != identify.criteria or not as_many:
        raise ArtifactError(
            f"{heads} names {len(selection.heads)} heads by criteria {selection.criteria}, params.yaml wants "
            f"{most} by {identify.criteria} (method {params.method}): run `dvc repro`"
        )
    if selection.deepest_layer != identify.deepest_layer:
        limit, params_limit = (
            "no limit" if layer is None else f"{layer}" for layer in (selection.deepest_layer, identify.deepest_layer)
        )
        raise ArtifactError(
            f"{heads} was found with identify.deepest_layer {limit}, params.yaml has {params_limit}: run `dvc repro`"
        )
    if selection.heads != fitted.heads:
        raise ArtifactError(f"{scorer} was fitted on other heads than {heads} names: run `headhunt fit`")
    n_frames = params.segmentation.frames_per_segment
    deepest = max(h.layer for h in fitted.heads)
    with Console(stderr=True).status("loading the model"):
        extractor = load_extractor(params.mllm, params.segmentation, Settings().device, deepest=deepest, lock=lock)
    detector = Bundle(
        mllm=params.mllm,
        mllm_is_local=lock.commit is None,
        mllm_revision=lock.digest,
        mllm_commit=lock.commit,
        mllm_files=lock.files,
        segmentation=params.segmentation,
        prompt=params.prompts.scoring_text,
        description_prompt=params.prompts.describe,
        calibration_prompts=params.prompts.texts,
        prompt_set=params.prompts.origin,
        heads=selection.heads,
        rss=selection.rss,
        scorer_sha256=sha256(scorer),
        **load_operating_points(operating_points).fields,
        data={
            "index_sha256": selection.data,
            "videos": {s: sum(v.split == s for v in videos) for s in LABELLED},
            **_marks_of(videos),
        },
        fingerprint=fingerprint(extractor, params.prompts.scoring_text, n_frames),
        package_version=version("headhunt-svc"),
        domain=domain_of(model_folder(params.mllm, lock)),
        confidence=selection.confidence,
        method=params.method,
        deepest_layer=selection.deepest_layer,
    ).relocated(Path(), out)
    with Console(stderr=True).status("reading the golden clips"):
        golden = golden_features(extractor, detector.prompt, fitted.heads, n_frames)
    save_bundle(out, detector, fitted, golden)
    return detector
