"""A file that --cameras names must be there; cameras.yaml, which goes without saying, may be absent."""

from pathlib import Path

import pytest

from headhunt_svc import paths
from headhunt_svc.cli.options import cameras_file
from helpers.commands import command, refusal


def test_only_the_default_file_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    typo = tmp_path / "typo.yaml"
    assert (cameras_file(None), cameras_file(typo)) == (None, typo)
    paths.CAMERAS.write_text("cameras: {yard: {source: rtsp://a}}")
    assert (cameras_file(None), cameras_file(typo)) == (paths.CAMERAS, typo)


def test_questions_refuse_a_mistyped_file(tmp_path: Path) -> None:
    assert "typo.yaml not found" in refusal("events", "questions", "--cameras", "typo.yaml", cwd=tmp_path)
    assert "not found" not in command("events", "questions", cwd=tmp_path).err
