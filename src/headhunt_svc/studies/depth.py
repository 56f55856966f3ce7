"""depth: what is lost and what is saved where heads of deeper layers may not be chosen (identify.deepest_layer).

For every limit heads are hunted anew on calibration videos, and scorer, smoothing and threshold are chosen as the
pipeline does. All from stored features: no model runs.
"""

from pathlib import Path
from typing import Any

from rich.progress import track

from headhunt_svc.core.depth import possible_limits
from headhunt_svc.core.protocol import Figures
from headhunt_svc.data.datasets import load_records
from headhunt_svc.data.feature_store import FeatureStore, Source
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.errors import FeatureError
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.flops import PICTURE, SegmentFlops, segment_flops
from headhunt_svc.model.loading import load_layout, model_folder
from headhunt_svc.params import Params
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.storage.files import write_json
from headhunt_svc.studies.arms import AblationData, evaluate_heads, load_stored
from headhunt_svc.studies.measure import by_split
from headhunt_svc.studies.published import changed
from headhunt_svc.types import LABELLED, HeadRef


def depth(params: Params, index: Path, labels: Path, features: Path, tests: Path, out: Path) -> dict[str, Any]:
    """Write the figures of every limit to `out`, from no limit down to the lowest that leaves top_k heads.

    features, tests: all heads on labelled and on test videos, as the stages extract and detect store them.

    Raises:
        ArtifactError: features are missing, of another model or of other prompts.
        ConfigError: identify.top_k is more than the model has heads.
    """
    videos = by_split(load_records(index, labels))
    videos.pop("hard", None)  # no stage stores all heads of these
    labelled, tested = FeatureStore(features), FeatureStore(tests, "headhunt detect --split test")
    key, cut = model_key(params.mllm), params.segmentation.model_dump_json()
    labelled.check([r.video_id for split in LABELLED for r in videos[split]], Source(key, params.prompts.texts, cut))
    tested.check([r.video_id for r in videos.get("test", [])], Source(key, (params.prompts.scoring_text,), cut))
    data = load_stored(params, videos, labelled, {"test": tested})
    layout = load_layout(model_folder(params.mllm), params.mllm.id, params.segmentation)
    result = {"limit": params.identify.deepest_layer, "limits": compare_limits(data, layout, params)}
    write_json(out, result)
    return result


def compare_limits(data: AblationData, layout: Extractor, params: Params) -> list[dict[str, Any]]:
    """A row for each limit: heads, figures and cost, or why too few heads can be chosen. The first has no limit."""
    no_limit = changed(params, "identify", deepest_layer=None).identify
    limits = possible_limits(data.candidates(no_limit), no_limit)
    measured: dict[tuple[HeadRef, ...], Figures] = {}  # several limits may give the same heads
    rows: list[dict[str, Any]] = []
    for limit in track(limits, description="limits"):
        try:
            heads = identify_heads(data.calibration, no_limit.model_copy(update={"deepest_layer": limit}))
        except FeatureError as exc:
            rows.append({"limit": limit, "unavailable": str(exc)})
            continue
        if heads not in measured:
            measured[heads] = evaluate_heads(data.splits, heads, params)
        deepest = max(head.layer for head in heads)
        rows.append(
            {
                "limit": limit,
                "heads": [list(head) for head in heads],
                "layers": deepest + 1,
                "cost": _cost(segment_flops_of(layout, params, deepest)),
                **measured[heads],
            }
        )
    return rows


def segment_flops_of(layout: Extractor, params: Params, deepest: int) -> SegmentFlops:
    """What a segment of 720p footage costs under the scoring prompt, with heads up to a layer."""
    clip = layout.clip_of(params.segmentation.frames_per_segment, *PICTURE)
    return segment_flops(layout, clip, params.prompts.scoring_text, deepest, params.mllm.keep_tokens)


def _cost(flops: SegmentFlops) -> dict[str, float | None]:
    """FLOPs by part."""
    return {
        "vision": flops.vision,
        "projector": flops.projector,
        "linear": sum(flops.linear),
        "attention": sum(flops.attention),
        "decoder": flops.decoder,
        "segment": flops.total,
    }
