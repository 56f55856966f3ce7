"""measure: features that only the ablation needs: of hard videos, under questions, and of an untrained model."""

from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from headhunt_svc.data.datasets import load_index
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import Params
from headhunt_svc.pipeline.extract import extract_videos
from headhunt_svc.settings import Settings
from headhunt_svc.storage.locks import sole_writer
from headhunt_svc.types import LABELLED, IndexedVideo, Split

UNTRAINED_SEED = 0
TESTS: tuple[Split, ...] = ("test", "hard")
Video = TypeVar("Video", bound=IndexedVideo)


def by_split(videos: Iterable[Video]) -> dict[str, list[Video]]:
    """The videos of every split that is not empty."""
    listed = list(videos)
    return {s: members for s in (*LABELLED, *TESTS) if (members := [v for v in listed if v.split == s])}


def measure(params: Params, index: Path, out: Path) -> None:
    """The stage measure: writes the arms' features beyond those of `extract`, in three folders of `out`.

    trained: all heads on the split `hard` (the stage detect keeps those of `test`). untrained: all heads of random
    weights on every split. asked: final hidden states under the questions of `ablate`, from which the answers'
    probabilities follow.
    """
    records = by_split(load_index(index))
    tests = [r for s in TESTS for r in records.get(s, [])]
    labelled_videos = [r for s in LABELLED for r in records[s]]
    device, segmentation, key = Settings().device, params.segmentation, model_key(params.mllm)
    scoring, texts = (params.prompts.scoring_text,), params.prompts.texts
    model = cache(partial(load_extractor, params.mllm, segmentation, device))
    with sole_writer(out):
        trained, untrained, answers = (FeatureStore(out / name) for name in ("trained", "untrained", "asked"))
        hard = records.get("hard", [])
        extract_videos(model, key, hard, scoring, segmentation, trained)
        trained.finish(r.video_id for r in hard)
        questioned = records["validation"] + tests
        extract_videos(
            model, key, questioned, (*params.ablate.specific, *params.ablate.generic), segmentation, answers, heads=()
        )
        answers.finish(r.video_id for r in questioned)
        key = f"untrained {key}"
        model = cache(partial(load_extractor, params.mllm, segmentation, device, untrained_seed=UNTRAINED_SEED))
        extract_videos(model, key, records["calibration"], texts, segmentation, untrained)
        extract_videos(model, key, records["validation"] + tests, scoring, segmentation, untrained)
        untrained.finish(r.video_id for r in labelled_videos + tests)
