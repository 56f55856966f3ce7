"""What a recalibration reads of the project, and how it says what is missing."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from headhunt_svc.data.datasets import load_records, save_labels
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.storage.files import sha256
from helpers.feedback import PARAMS, project


def test_calibration_features_with_labels_and_kinds(marked_site: ModuleType) -> None:
    calibration, validation = project(marked_site).labelled(PARAMS, marked_site.SITE.bundle)
    assert calibration.z.shape == (24 * 12, len(marked_site.SITE.harmless))
    assert calibration.labels.sum() == 12 * 4
    assert calibration.kinds["calibration/1.mp4"] == ("fall",)
    assert calibration.kinds["calibration/0.mp4"] == ()
    assert all(name.startswith("calibration/") for name in calibration.videos)
    assert all(name.startswith("validation/") for name in validation.videos)


def test_a_site_without_the_project_is_told_the_way_out(marked_site: ModuleType, tmp_path: Path) -> None:
    elsewhere = replace(project(marked_site), index=tmp_path / "index.parquet")
    with pytest.raises(ArtifactError, match=r"are not here, .* run this in the folder of the project"):
        elsewhere.labelled(PARAMS, marked_site.SITE.bundle)


def test_the_labels_must_be_those_that_the_bundle_was_made_from(marked_site: ModuleType, tmp_path: Path) -> None:
    whole = project(marked_site)
    records = [replace(r, label="normal", true_spans=()) for r in load_records(whole.index, whole.labels)]
    save_labels(tmp_path / "labels.parquet", records)
    with pytest.raises(ArtifactError, match="are not those that the bundle was made from"):
        replace(whole, labels=tmp_path / "labels.parquet").labelled(PARAMS, marked_site.SITE.bundle)
    without = replace(whole, features=tmp_path / "none")
    with pytest.raises(ArtifactError, match="run `headhunt extract`"):
        without.labelled(PARAMS, marked_site.SITE.bundle)
    with pytest.raises(ArtifactError, match="run `headhunt detect --split test`"):
        replace(whole, test_features=tmp_path / "none").test(PARAMS, marked_site.SITE.bundle)


def test_labels_of_an_earlier_recalibration_are_needed_again(marked_site: ModuleType, tmp_path: Path) -> None:
    made, whole, path = marked_site.SITE.bundle, project(marked_site), tmp_path / "labels.csv"
    path.write_text("segment,label\ncalibration/1.mp4:4,normal\n")
    step = {"from": "a" * 12, "labels_sha256": sha256(path)[:16], "labels": 1}
    corrected = made.model_copy(update={"data": {**made.data, "recalibrated": [step]}})
    with pytest.raises(ConfigError, match=r"recalibrated with labels .* give the same file again"):
        whole.labelled(PARAMS, corrected)
    calibration, _ = replace(whole, corrections=path).labelled(PARAMS, corrected)
    assert calibration.labels.sum() == 12 * 4 - 1
    with pytest.raises(ConfigError, match="is not the file of labels"):
        replace(whole, corrections=path).labelled(PARAMS, made)


def test_test_videos_with_their_labels(marked_site: ModuleType) -> None:
    data = project(marked_site).test(PARAMS, marked_site.SITE.bundle)
    assert (len(data.records), len(data.labels), int(data.labels.sum())) == (24, 24 * 12, 12 * 4)
