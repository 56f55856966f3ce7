"""The method as published, whole and one thing at a time: rows of the ablation beside the detector.

Each row but the first is the detector with one of its deviations from the paper taken back. Two have rows elsewhere:
`expert_paper`, with the paper's criteria, and `scorer_logistic`, without the distance to normal.
"""

from typing import Any

from rich.progress import track

from headhunt_svc.core.protocol import Figures
from headhunt_svc.params import PUBLISHED, Params
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.studies.arms import AblationData, evaluate_heads
from headhunt_svc.types import HeadRef

# row -> what is as published, the section of params.yaml and the parameters that set it
SINGLE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "published_k": ("five heads", "identify", ("top_k", "few_videos")),
    "published_redundancy": ("heads are kept that repeat a better one", "identify", ("max_redundancy",)),
    "published_platt": ("no Platt step, and so no distance to normal", "fit", ("platt", "scorer")),
    "published_scale": ("features of the regression as they are, not standardised", "fit", ("standardised",)),
    "published_balance": ("every segment weighs the same in the regression", "fit", ("balanced",)),
    "published_c": ("C = 1, not cross-validated", "fit", ("grid",)),
    "published_sigma": ("sigma up to 1.5 segments", "calibrate", ("sigma_segments",)),
}


def changed(params: Params, section: str, **values: Any) -> Params:
    """Parameters with other values in one section."""
    return params.model_copy(update={section: getattr(params, section).model_copy(update=values)})


def published_rows(data: AblationData, heads: tuple[HeadRef, ...], params: Params) -> dict[str, Figures]:
    """Figures of the paper's method, and of the detector (`heads`) with one thing as published.

    A row that would be the detector itself is left out: all of them where the detector is the paper's method.
    """
    published = params.as_published()
    rows: dict[str, tuple[str, Params]] = {"paper": ("the whole method as published (method: paper)", published)}
    for name, (words, section, keys) in SINGLE.items():
        one = changed(params, section, **{key: PUBLISHED[section][key] for key in keys})
        rows[name] = (f"the detector, but {words}, as published", one)
    figures: dict[str, Figures] = {}
    for name, (how, one) in track(rows.items(), description="as published"):
        if one.model_copy(update={"method": params.method}) != params:
            experts = heads if one.identify == params.identify else identify_heads(data.calibration, one.identify)
            figures[name] = {"how": how, **evaluate_heads(data.splits, experts, one)}
    return figures
