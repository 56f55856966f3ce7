"""recalibrate with labels of segments, on stored features that are made up: no model, no videos."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from headhunt_svc import paths
from headhunt_svc.cli.bundle import print_bundle
from headhunt_svc.cli.bundle import recalibrate as recalibrate_command
from headhunt_svc.core.camera_normality import NormalFootage
from headhunt_svc.core.fitting import FittedScorer
from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.detector.bundle import load_bundle, save_bundle
from headhunt_svc.detector.cameras import CameraParts, Margin, save_camera
from headhunt_svc.errors import ArtifactError, ConfigError, DatasetError, OutputError
from headhunt_svc.params import Params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.recalibrate import recalibrate
from headhunt_svc.storage.files import sha256
from headhunt_svc.storage.locks import sole_writer
from helpers.projects import N_SEGMENTS, inputs_of, limited, paths_of, project_params, write_bundle, write_project


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


def test_a_bundle_says_its_limit_and_keeps_it_when_recalibrated(
    params: Params, folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector, scorer = load_bundle(bundle)
    deep = detector.model_copy(update={"deepest_layer": 1})
    assert deep.detector_id != detector.detector_id
    save_bundle(bundle, deep, scorer, np.ones((2, 8), np.float32))
    print_bundle(bundle, bundle / "none.json")
    assert re.search(r"^chosen among +heads of layers 0 to 1 ", capsys.readouterr().out, flags=re.MULTILINE)
    (folder / "labels.csv").write_text("segment,label\ncalibration/1.mp4:4,anomalous\n")
    recalibrate(limited(params, 1), folder / "labels.csv", *inputs_of(folder), bundle, folder / "new")
    new, _ = load_bundle(folder / "new")
    assert (new.heads, new.deepest_layer) == (deep.heads, 1)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_recalibrate_learns_new_labels_and_says_where_it_comes_from(
    form: str, params: Params, folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every label turned round: the scorer turns round, heads and golden features stay."""
    turned = [
        (f"{s}/{i}.mp4:{k}", "normal" if i % 2 == 1 and 3 <= k < 6 else "anomalous")
        for s in ("calibration", "validation")
        for i in range(12)
        for k in range(N_SEGMENTS)
    ]
    path = folder / f"labels.{form}"
    lines = ["segment,label", *(f"{s},{y}" for s, y in turned)]
    if form == "jsonl":
        lines = [json.dumps({"segment": s, "label": y}) for s, y in turned]
    path.write_text("\n".join(lines))
    old, old_scorer = load_bundle(bundle)
    recalibrate(params, path, *inputs_of(folder), bundle, folder / "new")
    new, scorer = load_bundle(folder / "new")
    z = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32)
    assert np.corrcoef(apply_scorer(old_scorer, z), apply_scorer(scorer, z))[0, 1] < -0.8
    assert new.heads == old.heads
    assert (new.domain, new.confidence, new.cautions) == ("parking lots", old.confidence, old.cautions)
    assert new.confidence is not None
    assert new.detector_id != old.detector_id
    assert new.data["recalibrated"] == [
        {"from": old.detector_id, "labels_sha256": sha256(path)[:16], "labels": len(turned)}
    ]
    assert (folder / "new" / "golden.safetensors").read_bytes() == (bundle / "golden.safetensors").read_bytes()
    print_bundle(folder / "new", folder / "none.json")
    assert f"192 labels ({sha256(path)[:16]}), from detector {old.detector_id}" in capsys.readouterr().out


def test_recalibrate_keeps_cameras_and_says_which_points_are_to_be_conformed_again(
    params: Params, folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, scorer = load_bundle(bundle)
    camera = save_camera(
        bundle, "north yard", CameraParts(NormalFootage.measure(np.random.default_rng(0).normal(size=(30, 8))))
    )
    points = old.operating_points | dict.fromkeys(("north yard", "door"), old.operating_points["f1"])
    update = {"cameras": {"north yard": camera}, "operating_points": points}
    save_bundle(bundle, old.model_copy(update=update), scorer, np.ones((2, 8), np.float32))
    (folder / "labels.csv").write_text("segment,label\ncalibration/1.mp4:4,anomalous\n")
    distance = params.model_copy(update={"fit": params.fit.model_copy(update={"scorer": "normality"})})
    recalibrate(distance, folder / "labels.csv", *inputs_of(folder), bundle, folder / "new")
    new, _ = load_bundle(folder / "new")
    assert new.cameras == {"north yard": camera}
    assert not {"north yard", "door"} & new.operating_points.keys()
    with pytest.raises(ConfigError, match="before: run `headhunt bundle conform --again --name 'north yard'`"):
        new.operating_point("north yard")
    recalibrate(distance, folder / "labels.csv", *inputs_of(folder), folder / "new", folder / "again")
    again, _ = load_bundle(folder / "again")
    assert again.unavailable == new.unavailable
    assert {"north yard", "door"} <= (again.unavailable or {}).keys()

    logistic = params.model_copy(update={"fit": params.fit.model_copy(update={"scorer": "logistic"})})
    monkeypatch.setattr("headhunt_svc.cli.bundle.load_params", lambda _: logistic)
    monkeypatch.setattr("headhunt_svc.cli.bundle.paths", SimpleNamespace(**vars(paths) | paths_of(folder)))
    recalibrate_command(folder / "plain", folder / "labels.csv", bundle=bundle)
    assert load_bundle(folder / "plain")[0].cameras is None
    assert not (folder / "plain" / "cameras").exists()
    captured = capsys.readouterr()
    assert "the cameras north yard are left out: the new scorer has no distance to normal" in captured.err
    assert "normality north yard" not in captured.out


def test_new_labels_leave_out_weights_from_marks_and_say_so(
    params: Params, folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, scorer = load_bundle(bundle)
    footage = NormalFootage.measure(np.random.default_rng(0).normal(size=(30, 8)))
    margin = Margin(scorer.weight, scorer.bias, 2)
    cameras = {
        "yard": save_camera(bundle, "yard", CameraParts(footage, margin=margin, conformed=footage)),
        "door": save_camera(bundle, "door", CameraParts(footage, margin=margin)),
    }
    save_bundle(bundle, old.model_copy(update={"cameras": cameras}), scorer, np.ones((2, 8), np.float32))
    (folder / "labels.csv").write_text("segment,label\ncalibration/1.mp4:4,anomalous\n")
    distance = params.model_copy(update={"fit": params.fit.model_copy(update={"scorer": "normality"})})
    monkeypatch.setattr("headhunt_svc.cli.bundle.load_params", lambda _: distance)
    monkeypatch.setattr("headhunt_svc.cli.bundle.paths", SimpleNamespace(**vars(paths) | paths_of(folder)))
    recalibrate_command(folder / "new", folder / "labels.csv", bundle=bundle)
    assert load_bundle(folder / "new")[0].cameras == {"yard": save_camera(folder, "yard", CameraParts(footage))}
    captured = capsys.readouterr()
    assert "the weights of door, yard from marks are left out" in captured.err
    assert "correction yard" not in captured.out
    print_bundle(bundle, folder / "none.json")
    assert "weights of its own, from marks of 2 of its events" in capsys.readouterr().out


def test_the_same_labels_give_the_same_scorer(params: Params, folder: Path, bundle: Path) -> None:
    path = folder / "labels.csv"
    path.write_text("segment,label\ncalibration/1.mp4:4,anomalous\ncalibration/0.mp4:0,normal\n")
    recalibrate(params, path, *inputs_of(folder), bundle, folder / "new")
    np.testing.assert_allclose(load_bundle(folder / "new")[1].weight, load_bundle(bundle)[1].weight)
    assert load_bundle(folder / "new")[0].operating_points == load_bundle(bundle)[0].operating_points


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("segment,label\ntest/3.mp4:1,normal\n", "test/3.mp4: in labels for calibration and in test; what is"),
        ("segment,label\nnew.mp4:1,normal\n", "labels videos that are not in .*: new.mp4"),
        ("segment,label\ncalibration/1.mp4:8,normal\n", "calibration/1.mp4:8 is labelled, but .* segments 0 to 7"),
        ("segment,label\ncalibration/1.mp4,normal\n", "labels.csv:2: segment: String should match"),
        ("segment,label\na.mp4:1,normal\na.mp4:1,normal\n", "labels.csv:3: a.mp4:1 is labelled twice"),
        ("segment,label\na.mp4:1,normal\na.mp4:2,odd\n", "labels.csv:3: label: Input should be 'normal' or 'anomal"),
        ("segment,label\n", "holds no labels"),
    ],
)
def test_labels_that_cannot_be_used_are_named(text: str, says: str, params: Params, folder: Path, bundle: Path) -> None:
    (folder / "labels.csv").write_text(text)
    with pytest.raises(DatasetError, match=says):
        recalibrate(params, folder / "labels.csv", *inputs_of(folder), bundle, folder / "new")
    assert not (folder / "new").exists()


def test_what_another_process_does_to_the_bundle_meanwhile_is_not_lost(
    params: Params, folder: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "labels.csv").write_text("segment,label\ncalibration/1.mp4:4,anomalous\n")
    old, scorer = load_bundle(bundle)
    changed = old.model_copy(update={"operating_points": old.operating_points | {"gate": old.operating_points["f1"]}})

    def fit_while_a_camera_is_added(*arguments: Any) -> FittedScorer:
        save_bundle(bundle, changed, scorer, np.ones((2, 8), np.float32))
        return fit_heads(*arguments)

    monkeypatch.setattr("headhunt_svc.pipeline.recalibrate.fit_heads", fit_while_a_camera_is_added)
    with pytest.raises(ArtifactError, match=r"another process has changed .*: nothing is written, run the same"):
        recalibrate(params, folder / "labels.csv", *inputs_of(folder), bundle, bundle)
    assert load_bundle(bundle)[0] == changed
    assert not (bundle / "locator.json").exists()


def test_no_other_process_writes_the_new_bundle_meanwhile(
    params: Params, folder: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "labels.csv").write_text("segment,label\ncalibration/1.mp4:4,anomalous\n")
    written = []

    def alone(out: Path, *parts: Any) -> None:
        with pytest.raises(OutputError, match="another process writes to"), sole_writer(out):
            pass
        save_bundle(out, *parts)
        written.append(out)

    monkeypatch.setattr("headhunt_svc.pipeline.recalibrate.save_bundle", alone)
    recalibrate(params, folder / "labels.csv", *inputs_of(folder), bundle, bundle)
    assert written == [bundle]
