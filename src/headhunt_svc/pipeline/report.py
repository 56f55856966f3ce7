"""report: the identification report, from the outputs of identify and fit and the features that they read."""

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import TypeAdapter
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from headhunt_svc.core.fitting import CalibrationCurve
from headhunt_svc.core.identification import Measured, held_out_by_depth, learning_curve
from headhunt_svc.data.datasets import load_records
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.heads_file import load_selection
from headhunt_svc.errors import ArtifactError
from headhunt_svc.params import Params
from headhunt_svc.pipeline import identification_report as page
from headhunt_svc.pipeline.labelled_features import candidates, load_prompts
from headhunt_svc.storage.files import read_json


def report(params: Params, artifacts: Path, features: Path, out: Path) -> None:
    """Write one HTML file: where the heads are, whether prompts and subsamples agree, what they see, what more labels
    and fewer layers would do.

    artifacts: the folder of index.parquet, labels.parquet, heads.json, saliency.csv and calibration.json.

    Raises:
        ArtifactError: one of these is missing, or features are of another model or other prompts.
    """
    selection = load_selection(artifacts / "heads.json")
    try:
        table = pd.read_csv(artifacts / "saliency.csv")
    except (OSError, ValueError) as exc:
        raise ArtifactError(f"{artifacts}/saliency.csv cannot be read ({exc}): run `headhunt identify`") from exc
    calibration = read_json(artifacts / "calibration.json", "headhunt fit")
    curve = TypeAdapter(CalibrationCurve).validate_python(calibration["curve"])
    store, tables = FeatureStore(features), (artifacts / "index.parquet", artifacts / "labels.parquet")
    per_prompt = candidates(load_prompts(params, store, load_records(*tables, "calibration")), params.identify)
    data, heads = per_prompt[params.prompts.scoring], selection.heads
    points = PCA(2).fit_transform(StandardScaler().fit_transform(data.features.select(heads).astype(np.float64)))
    values, k = [d.features.values for d in per_prompt], len(heads)
    growth = learning_curve(values, data.labels, data.videos, k, params.identify)
    (others,) = load_prompts(params, store, load_records(*tables, "validation"), [params.prompts.scoring])
    others = others.of_heads(data.features.heads)
    measured = Measured(others.features.values, others.labels, params.prompts.scoring)
    by_depth = held_out_by_depth(values, data.labels, data.videos, data.features.heads, measured, params.identify)
    figures = [
        page.maps(table, heads),
        page.prompts(table, heads),
        *([page.stability(table, heads)] if "frequency" in table else []),
        page.projection(points, data.labels),
        *([page.learning(growth)] if growth else []),
        *([page.depth(by_depth)] if len(by_depth) > 1 else []),
        page.calibration(curve),
    ]
    page.write_report(out, selection, table, data.labels, len(data.records), figures)
