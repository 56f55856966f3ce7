"""A changed label and an added video, as DVC sees them: what reruns, and which videos are decoded."""

from collections.abc import Iterator

import pytest

from helpers.bright_project import LEARN, Project, bright_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with bright_project(tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("dvc")) as project:
        first = project.dvc.repro("detect")
        assert sorted(first.ran[:3]) == ["extract", "index", "model"]
        assert first.ran[3:] == [*LEARN, "detect"]
        assert "0 videos from stored features, 10 decoded" in first.said("extract")
        assert "0 videos from stored features, 4 decoded" in first.said("detect")
        yield project


def test_a_changed_label_reruns_what_learns_and_decodes_nothing(project: Project) -> None:
    before, index = project.detectors(), (project.folder / "artifacts" / "index.parquet").read_bytes()
    project.label("calibration_5.mp4", "calibration", anomalous=False)
    done = project.dvc.repro("evaluate")
    assert done.ran == ["index", *LEARN, "detect", "evaluate"]
    assert "didn't change, skipping" in done.said("extract")
    assert "4 videos from stored features, 0 decoded" in done.said("detect")
    assert (project.folder / "artifacts" / "index.parquet").read_bytes() == index
    assert len(project.detectors()) == 1
    assert project.detectors() != before


def test_only_an_added_video_is_decoded(project: Project) -> None:
    project.add("calibration", 6)
    project.add("test", 4)
    done = project.dvc.repro("detect")
    assert "10 videos from stored features, 1 decoded" in done.said("extract")
    assert "4 videos from stored features, 1 decoded" in done.said("detect")
    assert len(project.detectors()) == 1
