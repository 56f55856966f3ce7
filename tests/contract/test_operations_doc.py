"""docs/operations.md says what the code does."""

import re

from conftest import ROOT
from headhunt_svc.monitoring.config import ALL_KINDS, load_drift
from helpers.verbs import VERBS

DOC = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_signal_and_kind_has_its_place() -> None:
    for name in load_drift(ROOT / "monitoring" / "drift.yaml").limits:
        assert f"`{name}`" in DOC
    assert re.findall(r"^### (\w+)$", DOC, flags=re.MULTILINE) == list(ALL_KINDS)


def test_commands_of_the_page_exist() -> None:
    verbs = set(re.findall(r"headhunt ((?:monitor|bundles|bundle) [a-z]+|recalibrate)", DOC))
    assert {"monitor run", "monitor rebaseline", "bundles rollback", "recalibrate"} <= verbs
    assert verbs <= VERBS


def test_no_target_of_the_page_is_missing() -> None:
    assert "monitor-demo:" in (ROOT / "Makefile").read_text()
    for name in re.findall(r"\]\(([\w./-]+)\)", DOC):
        assert (ROOT / "docs" / name).exists(), name
