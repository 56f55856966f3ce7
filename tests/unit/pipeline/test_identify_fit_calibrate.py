"""identify, fit and calibrate on stored features that are made up: no model, no videos."""

import base64
import csv
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from headhunt_svc.cli.bundle import print_bundle
from headhunt_svc.cli.pipeline import print_selection
from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.data.datasets import data_digest, load_records, save_labels
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.bundle import load_bundle, save_bundle
from headhunt_svc.detector.heads_file import load_selection
from headhunt_svc.detector.scorer_file import load_scorer
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.params import Params
from headhunt_svc.pipeline.bundle import bundle as make_bundle
from headhunt_svc.pipeline.calibrate import calibrate
from headhunt_svc.pipeline.fit import fit
from headhunt_svc.pipeline.identify import identify
from headhunt_svc.pipeline.recalibrate import recalibrate
from headhunt_svc.pipeline.report import report
from helpers.projects import (
    HEADS,
    KNOWS,
    N_SEGMENTS,
    inputs_of,
    limited,
    lock,
    project_params,
    record,
    run,
    write_bundle,
    write_project,
)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    return project_params()


@pytest.fixture
def folder(params: Params, tmp_path: Path) -> Path:
    write_project(tmp_path, params)
    return tmp_path


@pytest.fixture
def bundle(params: Params, folder: Path) -> Path:
    return write_bundle(folder, params)


@pytest.mark.parametrize("criteria", ["paper", "robust"])
def test_identify_writes_heads_with_their_confidence(
    criteria: str, params: Params, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = params.identify.model_copy(update={"criteria": criteria})
    params = params.model_copy(update={"identify": chosen})
    run(params, folder)
    selection = load_selection(folder / "heads.json")
    assert selection.heads[0] == HEADS[KNOWS]
    assert selection.criteria == criteria
    assert selection.confidence is not None
    assert selection.confidence.frequency[0] == 1.0
    assert selection.confidence.verdict == "trustworthy"
    table = pd.read_csv(folder / "saliency.csv")
    assert table["frequency"].sum() == pytest.approx(2)
    assert table.loc[KNOWS, "rss"] == pytest.approx(selection.rss[0])
    assert set(table.columns) >= {"layer", "head", "mean", "instability", "rss", "lda", "kl", "mmd", "nmi"}
    print_selection(selection, folder / "heads.json")
    assert "heads were chosen in over 90 % of 8 subsamples" in capsys.readouterr().out
    curve = json.loads((folder / "calibration.json").read_text())["curve"]
    assert sum(curve["counts"]) == 12 * N_SEGMENTS
    assert curve["observed"][0] < 0.1 < 0.9 < curve["observed"][-1]


class Pictures(HTMLParser):
    """What the page shows, and everything that it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "data", "action"):
                (self.images if tag == "img" else self.links).append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("criteria", ["paper", "robust"])
def test_the_report_is_one_file_that_says_what_heads_json_says(criteria: str, params: Params, folder: Path) -> None:
    chosen = params.identify.model_copy(update={"criteria": criteria, "subsamples": 4})
    params = params.model_copy(update={"identify": chosen})
    run(params, folder)
    report(params, folder, folder / "features", folder / "identification.html")
    text = (folder / "identification.html").read_text(encoding="utf-8")
    page = Pictures()
    page.feed(text)
    confidence = load_selection(folder / "heads.json").confidence
    assert confidence is not None
    assert confidence.words in page.text
    assert page.links == []
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:;" in text
    with (folder / "saliency.csv").open() as f:  # a spreadsheet finds numbers in it, no formula
        names, *rows = csv.reader(f)
    assert all(re.fullmatch("[a-z][a-z_0-9]*", name) for name in names)
    assert all(np.isfinite(float(cell or 0)) for row in rows for cell in row)
    assert len(page.images) == 7
    for image in page.images:
        kind, data = image.split(",", 1)
        assert kind == "data:image/png;base64"
        with Image.open(BytesIO(base64.b64decode(data))) as picture:
            assert np.asarray(picture.convert("L")).std() > 5  # something is drawn
    if criteria == "robust":
        report(params, folder, folder / "features", folder / "again.html")
        assert (folder / "again.html").read_text(encoding="utf-8") == text


def test_a_limit_on_layers_is_kept_by_all_that_is_made_under_it(
    params: Params, folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Layer 1 holds the head that knows. A project without a limit writes what it wrote before there were any."""
    free = (folder / "heads.json").read_bytes()
    assert "deepest_layer" not in json.loads(free)
    assert "deepest_layer" not in json.loads((bundle / "bundle.json").read_text())
    identify(
        limited(params, 2), *inputs_of(folder), folder / "heads.json"
    )  # the last layer: the same choice, which says so
    same = json.loads((folder / "heads.json").read_text())
    assert same.pop("deepest_layer") == 2
    assert same == json.loads(free)

    run(limited(params, 0), folder)
    selection = load_selection(folder / "heads.json")
    assert {head.layer for head in selection.heads} == {0}
    assert selection.deepest_layer == 0
    assert selection.confidence is not None
    assert selection.confidence.alternatives is not None
    assert selection.confidence.alternatives.all_auc < 0.75  # rivals, too, are heads of layer 0, and none knows
    assert len(pd.read_csv(folder / "saliency.csv")) == 4
    print_selection(selection, folder / "heads.json")
    assert "among heads of layers 0 to 0 (identify.deepest_layer)" in capsys.readouterr().out
    report(limited(params, 0), folder, folder / "features", folder / "identification.html")
    page = Pictures()
    page.feed((folder / "identification.html").read_text(encoding="utf-8"))
    assert "4 heads, only heads of layers 0 to 0 (identify.deepest_layer)" in page.text
    assert len(page.images) == 6  # there is no curve of one limit

    files = (folder / "index.parquet", folder / "heads.json", folder / "scorer.safetensors", folder / "locator.json")
    for layer, words in ((None, "no limit"), (1, "1")):
        with pytest.raises(ArtifactError, match=f"found with identify.deepest_layer 0, params.yaml has {words}: run"):
            make_bundle(limited(params, layer), *files, folder / "new")
    with pytest.raises(ConfigError, match=r"deepest_layer is 3, but the last layer whose heads can be read is 2"):
        identify(limited(params, 3), *inputs_of(folder), folder / "heads.json")


def test_features_of_another_model_are_refused(params: Params, folder: Path) -> None:
    other = params.model_copy(update={"mllm": params.mllm.model_copy(update={"revision": "def"})})
    with pytest.raises(
        ArtifactError, match=r"a/model at def is neither a folder nor locked .*: run `headhunt models lock`"
    ):
        identify(other, *inputs_of(folder), folder / "heads.json")
    lock("sha256:def")
    refusal = r"model 'sha256:abc float32 sdpa', params\.yaml asks for 'sha256:def float32 sdpa'"
    with pytest.raises(ArtifactError, match=refusal):
        identify(params, *inputs_of(folder), folder / "heads.json")
    lock("sha256:abc")
    texts = params.prompts.model_copy(update={"texts": params.prompts.texts[:2]})
    with pytest.raises(ArtifactError, match="of prompts"):
        identify(params.model_copy(update={"prompts": texts}), *inputs_of(folder), folder / "heads.json")
    cut = params.segmentation.model_copy(update={"length_s": 3.2})
    with pytest.raises(ArtifactError, match="of segmentation"):
        identify(params.model_copy(update={"segmentation": cut}), *inputs_of(folder), folder / "heads.json")


def relabel(folder: Path, video_id: str) -> str:
    """Label a video as normal; returns the name of the labelled data."""
    records = load_records(folder / "index.parquet", folder / "labels.parquet")
    changed = [record(r.video_id, r.split, False) if r.video_id == video_id else r for r in records]
    assert changed != records
    save_labels(folder / "labels.parquet", changed)
    return data_digest(r for r in changed if r.split != "test")


def test_heads_name_the_labels_that_they_were_made_from(params: Params, folder: Path) -> None:
    run(params, folder)
    first = (folder / "heads.json").read_bytes()
    relabel(folder, "test/1.mp4")  # no detector is made from it
    run(params, folder)
    assert (folder / "heads.json").read_bytes() == first
    for video in ("validation/1.mp4", "calibration/1.mp4"):
        name = relabel(folder, video)
        for stage in (
            lambda: fit(params, *inputs_of(folder), folder / "heads.json", folder / "scorer.safetensors"),
            lambda: calibrate(
                params, *inputs_of(folder), folder / "heads.json", folder / "scorer.safetensors", folder / "l.json"
            ),
        ):
            with pytest.raises(
                ArtifactError, match=r"heads\.json is of other labels .*: run `headhunt identify` again"
            ):
                stage()
        run(params, folder)
        assert load_selection(folder / "heads.json").data == name


def test_a_bundle_names_the_prompt_set(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prompts of one's own leave no trace, so that bundles from before there were sets keep their id."""
    detector, scorer = load_bundle(bundle)
    assert "prompt_set" not in json.loads((bundle / "bundle.json").read_text())
    named = detector.model_copy(update={"prompt_set": "safety@1"})
    save_bundle(bundle, named, scorer, np.ones((2, 8), np.float32))
    assert load_bundle(bundle)[0] == named
    assert named.detector_id != detector.detector_id
    print_bundle(bundle, bundle / "none.json")
    assert re.search(r"^prompt set +safety@1$", capsys.readouterr().out, flags=re.MULTILINE)


def best_f1(scores: np.ndarray, truth: np.ndarray, sigmas: tuple[float, ...]) -> tuple[float, float, float]:
    """F1, sigma and threshold of the best point; scores and truth [video, segment], all segments of one length."""
    grid = [(sigma, (i + 0.5) / 99) for sigma in sigmas for i in range(99)]
    ones = np.ones_like(scores)

    def f1(sigma: float, threshold: float) -> float:
        smoothed = scores
        if sigma > 0:
            weights = gaussian_filter1d(ones, sigma, axis=1, mode="constant")
            smoothed = gaussian_filter1d(scores, sigma, axis=1, mode="constant") / weights
        return float(f1_score(truth.ravel(), (smoothed > threshold).ravel(), zero_division=0))

    return max(((f1(*point), *point) for point in grid), key=lambda row: row[0])


def test_the_method_of_the_paper_is_as_published(
    params: Params, folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five heads by its criteria, scikit-learn's regression on features as they are, the best sigma and threshold."""
    published = params.as_published()
    run(published, folder)
    selection, scorer = load_selection(folder / "heads.json"), load_scorer(folder / "scorer.safetensors")
    assert (selection.criteria, len(selection.heads), selection.heads[0]) == ("paper", 5, HEADS[KNOWS])
    table = pd.read_csv(folder / "saliency.csv")
    best = table.sort_values("rss", ascending=False)[["layer", "head"]].head(5)
    assert [tuple(h) for h in selection.heads] == [tuple(row) for row in best.to_numpy().tolist()]

    store, prompt = FeatureStore(folder / "features"), params.prompts.scoring
    names = {s: [f"{s}/{i}.mp4" for i in range(12)] for s in ("calibration", "validation")}
    z = {s: store.under_prompt(n, prompt).select(selection.heads).astype(np.float64) for s, n in names.items()}
    truth = np.array([[i % 2 == 1 and 3 <= k < 6 for k in range(N_SEGMENTS)] for i in range(12)])
    oracle = LogisticRegression(C=1.0).fit(z["calibration"], truth.ravel())
    scores = oracle.predict_proba(z["validation"])[:, 1]
    np.testing.assert_allclose(apply_scorer(scorer, z["validation"]), scores, atol=1e-9)

    raw = apply_scorer(scorer, z["validation"]).reshape(12, N_SEGMENTS)
    f1, sigma, threshold = best_f1(raw, truth, published.calibrate.sigma_segments)
    row = json.loads((folder / "locator.json").read_text())["f1"]
    assert (row["sigma_segments"], row["threshold"]) == (sigma, pytest.approx(threshold))
    assert row["validation_f1"] == pytest.approx(f1)

    files = (folder / "index.parquet", folder / "heads.json", folder / "scorer.safetensors", folder / "locator.json")
    with pytest.raises(
        ArtifactError, match=r"5 heads by criteria paper, params.yaml wants 2 by robust .method default"
    ):
        make_bundle(params, *files, folder / "new")
    few = params.identify.model_copy(update={"criteria": "paper", "few_videos": 24})  # of 12 videos: twice as many
    with pytest.raises(ArtifactError, match=r"names 5 heads by criteria paper, params.yaml wants 4 by paper"):
        make_bundle(params.model_copy(update={"identify": few}), *files, folder / "new")
    detector, fitted = load_bundle(bundle)
    save_bundle(bundle, detector.model_copy(update={"method": "paper"}), fitted, np.ones((2, 8), np.float32))
    print_bundle(bundle, bundle / "none.json")
    assert re.search(r"^method +paper \(HeadHunt-VAD as published\)$", capsys.readouterr().out, flags=re.MULTILINE)
    (folder / "labels.csv").write_text("segment,label\ncalibration/1.mp4:4,anomalous\n")
    with pytest.raises(ConfigError, match=r"was made with method paper, params.yaml has method: default"):
        recalibrate(params, folder / "labels.csv", *inputs_of(folder), bundle, folder / "new")


def test_no_bundle_states_what_its_heads_were_not_hunted_with(params: Params, folder: Path) -> None:
    run(params, folder)
    files = (folder / "index.parquet", folder / "heads.json", folder / "scorer.safetensors", folder / "locator.json")
    prompts = params.prompts.model_copy(update={"texts": ("Is anything wrong here?", *params.prompts.texts[1:])})
    with pytest.raises(ArtifactError, match=r"heads.json was found under other prompts than params.yaml has"):
        make_bundle(params.model_copy(update={"prompts": prompts}), *files, folder / "new")
    cut = params.segmentation.model_copy(update={"length_s": 3.2})
    with pytest.raises(ArtifactError, match=r"heads.json was found on segments that were cut in another way"):
        make_bundle(params.model_copy(update={"segmentation": cut}), *files, folder / "new")
    int8 = params.mllm.model_copy(update={"dtype": "int8"})
    with pytest.raises(
        ArtifactError, match=r"found in sha256:abc float32 sdpa, params.yaml names sha256:abc int8 sdpa"
    ):
        make_bundle(params.model_copy(update={"mllm": int8}), *files, folder / "new")
