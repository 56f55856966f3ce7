"""measure: features that only the ablation's arms need, of test videos, of questions, and of an untrained model."""

from pathlib import Path

from headhunt_svc.data.datasets import load_index
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import Params
from headhunt_svc.pipeline.extract import extract_videos
from headhunt_svc.settings import Settings
from headhunt_svc.types import Split, VideoRecord

UNTRAINED_SEED = 0
TESTS: tuple[Split, ...] = ("test", "hard")
LABELLED: tuple[Split, ...] = ("calibration", "validation")


def by_split(index: Path) -> dict[str, list[VideoRecord]]:
    """The videos of every split that there is."""
    splits: tuple[Split, ...] = (*LABELLED, *TESTS)
    found = {s: load_index(index, s) for s in splits}
    return {s: records for s, records in found.items() if records}


def measure(params: Params, index: Path, out: Path) -> None:
    """The stage measure: what the arms need beyond `extract`, in `out`/trained, `out`/untrained and `out`/asked.

    trained: all heads on the test splits. untrained: all heads of random weights on every split. asked: final hidden
    states under the questions of `ablate`, from which the answers' probabilities follow.
    """
    records = by_split(index)
    tests = [r for s in TESTS for r in records.get(s, [])]
    labelled_videos = [r for s in LABELLED for r in records[s]]
    device, cut, key = Settings().device, params.segmentation, model_key(params.mllm)
    scoring, texts = (params.prompts.scoring_text,), params.prompts.texts
    model = load_extractor(params.mllm, cut, device)
    trained, untrained, asked = (FeatureStore(out / name) for name in ("trained", "untrained", "asked"))
    extract_videos(model, key, tests, scoring, cut, trained)
    trained.finish(r.video_id for r in tests)
    spoken = records["validation"] + tests
    extract_videos(model, key, spoken, (*params.ablate.specific, *params.ablate.generic), cut, asked, heads=())
    asked.finish(r.video_id for r in spoken)
    model, key = load_extractor(params.mllm, cut, device, untrained_seed=UNTRAINED_SEED), f"untrained {key}"
    extract_videos(model, key, records["calibration"], texts, cut, untrained)
    extract_videos(model, key, records["validation"] + tests, scoring, cut, untrained)
    untrained.finish(r.video_id for r in labelled_videos + tests)
