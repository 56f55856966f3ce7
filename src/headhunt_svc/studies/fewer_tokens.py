"""fewer-tokens: what is lost when the decoder reads a share of the visual tokens.

Controls with as many tokens: places at random instead of those that changed most, every second frame, and frames
averaged in pairs. Heads, scorer, smoothing and threshold are chosen on calibration and validation videos, as the
pipeline does: once with heads hunted anew in each arm, and once with the heads of all tokens, so that chance in the
choice of heads does not count.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from headhunt_svc.core.protocol import Figures
from headhunt_svc.data.datasets import load_records
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.errors import ConfigError
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import Encoded, Family, ModelInputs
from headhunt_svc.model.flops import PICTURE
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.model.token_choice import Choice, Grid, Pictures, Scores, change, n_kept
from headhunt_svc.params import Params, SegmentationParams
from headhunt_svc.pipeline.extract import extract_videos
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.settings import Settings
from headhunt_svc.storage.files import write_json
from headhunt_svc.storage.locks import sole_writer
from headhunt_svc.studies.arms import evaluate_heads, load_stored
from headhunt_svc.studies.measure import TESTS, by_split
from headhunt_svc.types import LABELLED, HeadRef, VideoRecord

SHARES = (0.5, 0.25)


def at_random(pictures: Pictures, grid: Grid) -> Scores:
    """Scores that say nothing about the pictures; the same for the same pictures."""
    rng = torch.Generator().manual_seed(int(pictures.sum(dtype=torch.int64)))
    return torch.rand((len(pictures), *grid), generator=rng).to(pictures.device)


def first_of_pairs(pictures: Pictures, grid: Grid) -> Scores:
    """All places of every second moment."""
    frames, rows, columns = grid
    is_first = (torch.arange(frames, device=pictures.device) % 2 == 0).float()
    return is_first.view(1, frames, 1, 1).expand(len(pictures), frames, rows, columns)


def in_pairs(family: Family) -> Family:
    """The family, with frames that hold the mean visual tokens of two; the last of an odd number stays as it is."""
    whole = copy(family)

    def with_encoded_frames(model: Any, clips: list[list[Encoded]]) -> ModelInputs:
        paired = [
            [
                tuple(torch.stack(levels).mean(0) for levels in zip(*clip[i - i % 2 :][:2], strict=True))
                for i in range(len(clip))
            ]
            for clip in clips
        ]
        return family.with_encoded_frames(model, paired)

    whole.with_encoded_frames = with_encoded_frames  # type: ignore[method-assign]
    return whole


@dataclass(frozen=True, slots=True)
class _Arm:
    """A way to read fewer tokens. how: in words. in_pairs: are frames averaged?"""

    name: str
    how: str
    share: float
    choice: Choice
    segmentation: SegmentationParams
    in_pairs: bool = False


def _arms(params: Params) -> list[_Arm]:
    cut = params.segmentation
    arms = [_Arm("all", "all visual tokens", 1.0, change, cut)]
    for share in SHARES:
        arms.append(_Arm(f"changed {share:g}", "places that changed most, first frame whole", share, change, cut))
        arms.append(_Arm(f"random {share:g}", "random places, first frame whole", share, at_random, cut))
    if cut.frames_per_segment > 1:
        fewer = cut.model_copy(update={"frames_per_segment": cut.frames_per_segment // 2})
        arms.append(_Arm("half of the frames", "as many frames fewer", 1.0, change, fewer))
        arms.append(_Arm("pairs of frames", "means of two frames", 0.5, first_of_pairs, cut, in_pairs=True))
    return arms


def _extract(arm: _Arm, params: Params, videos: Mapping[str, Sequence[VideoRecord]], store: FeatureStore) -> int:
    """Write the features of an arm, those that are there are kept; returns the visual tokens of a segment."""
    extractor: Extractor = load_extractor(params.mllm, arm.segmentation, Settings().device)
    extractor.keep_tokens, extractor.choice = arm.share, arm.choice
    if arm.in_pairs:
        extractor.family = in_pairs(extractor.family)
    key = f"{model_key(params.mllm)} {arm.name}"
    for split, records in videos.items():
        texts = params.prompts.texts if split in LABELLED else (params.prompts.scoring_text,)
        extract_videos(lambda: extractor, key, records, texts, arm.segmentation, store)
    store.finish(record.video_id for records in videos.values() for record in records)
    clip = extractor.clip_of(arm.segmentation.frames_per_segment, *PICTURE)
    grid = extractor.family.token_grid(extractor.config, clip)
    return n_kept(grid, arm.share) if arm.share < 1 else int(np.prod(grid))


def _evaluate(
    params: Params, videos: Mapping[str, list[VideoRecord]], store: FeatureStore, common: Sequence[HeadRef] | None
) -> Figures:
    """Figures with heads hunted anew, and with those of all tokens (common; None for the arm that they come from)."""
    data = load_stored(params, videos, store, dict.fromkeys(TESTS, store))
    heads = identify_heads(data.calibration, params.identify)
    anew = evaluate_heads(data.splits, heads, params)
    same = anew if common is None else evaluate_heads(data.splits, tuple(common), params)
    return {"heads": [list(head) for head in heads], "anew": anew, "same_heads": same}


def fewer_tokens(params: Params, index: Path, labels: Path, work: Path, out: Path) -> dict[str, Any]:
    """Write the figures of every arm to `out`; features are kept in `work`, so that it resumes.

    Raises:
        ConfigError: mllm.keep_tokens is below 1 already.
    """
    if params.mllm.keep_tokens != 1:
        raise ConfigError(f"mllm.keep_tokens is {params.mllm.keep_tokens:g}: the shares are compared with 1")
    videos = by_split(load_records(index, labels))
    result: dict[str, Any] = {}
    common: list[HeadRef] | None = None
    for arm in _arms(params):
        Console(stderr=True).print(f"{arm.name}: {arm.how}")
        folder = work / arm.name.replace(" ", "-")
        with sole_writer(folder):
            store = FeatureStore(folder, "headhunt fewer-tokens")
            tokens = _extract(arm, params, videos, store)
        result[arm.name] = {"how": arm.how, "tokens": tokens, **_evaluate(params, videos, store, common)}
        common = common or [HeadRef(*head) for head in result[arm.name]["heads"]]
        write_json(out, result)
    return result
