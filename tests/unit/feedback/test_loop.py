"""From marks to a bundle with its proof, by the command: what it prints, its exit codes, and what it never imports."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.errors import EXIT_TOO_FEW_MARKS, EXIT_WORSE, OutputError
from headhunt_svc.events.records import EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.loop import NO_LOG, NO_WINDOW, Replayed, recalibrated_with_proof
from headhunt_svc.feedback.marks import MarkQuery
from headhunt_svc.feedback.proof import Proof, Verdict, load_proof, save_proof
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.store import Store
from helpers.commands import command, refusal
from helpers.feedback import DAYS, PARAMS, bundle, lay_out, mark, project

N, EVERY = 400, 50
RUN = "recalibrate", "--from-events"


@pytest.fixture
def folder(marked_site: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the site's project."""
    lay_out(marked_site, tmp_path)
    monkeypatch.delenv("HEADHUNT_EVENTS_FOLDER", raising=False)
    return tmp_path


@pytest.fixture
def store(folder: Path) -> Iterator[EventStore]:
    with EventStore.open(EventSettings(folder=folder / "data" / "events", database=None)) as opened:
        yield opened


def proof_of(folder: Path) -> Proof:
    proof = load_proof(folder / "new")
    assert proof is not None
    return proof


def test_from_marks_to_a_proof_that_replays_the_log(
    marked_site: ModuleType, folder: Path, store: EventStore, tmp_path: Path
) -> None:
    events = mark(marked_site, store)
    mark(marked_site, store, DAYS[:1], 1, EventState.CONFIRMED, anomalous=True, hour=15)
    marked_site.log_days(marked_site.SITE, str(folder / "log"), DAYS[:2], N, EVERY, np.random.default_rng(2))
    now = datetime(2026, 3, 3, 12, tzinfo=UTC)
    replayed = Replayed(Store(str(folder / "log")), 3, now)
    proof = recalibrated_with_proof(
        PARAMS, store, project(marked_site), bundle(marked_site), folder / "new", MarkQuery(), replayed
    )
    assert proof == proof_of(folder)
    assert proof.verdict == Verdict.BETTER
    assert [(row.day, row.before) for row in proof.days] == [(day, N // EVERY) for day in DAYS[:2]]
    after = sum(row.after for row in proof.days)
    assert after == 0
    assert (proof.no_days, proof.no_test, proof.marks) == (None, None, 9)
    assert (proof.windows, proof.no_windows) == ((), NO_WINDOW)
    flipped = [row.event_id for row in proof.flips]
    assert flipped == [event.id for event in events if event.id in flipped]
    assert len(flipped) == 8
    assert proof.detector_id == load_bundle(folder / "new")[0].detector_id
    assert proof.from_detector_id == marked_site.SITE.bundle.detector_id
    step = load_bundle(folder / "new")[0].data["recalibrated"][-1]
    assert step["marks_sha256"] == proof.marks_sha256
    assert f"in the last 2 logged days: 16 events, {after} with the new bundle" in proof.sentences


def test_a_proof_without_log_and_test_videos_says_what_is_missing(
    marked_site: ModuleType, folder: Path, store: EventStore
) -> None:
    mark(marked_site, store)
    (folder / "data" / "test_features").unlink()
    done = command(*RUN, "--out", "new", cwd=folder)
    assert done.code == 0, done.err
    proof = proof_of(folder)
    assert (proof.no_days, proof.days, proof.test) == (NO_LOG, (), ())
    assert "run `headhunt detect --split test`" in (proof.no_test or "")
    assert done.err.count("not measured: ") == 2
    assert "verdict: better" in done.out


def test_the_command_prints_the_proof_and_its_exit_code_says_the_verdict(
    marked_site: ModuleType, folder: Path, store: EventStore
) -> None:
    first = mark(marked_site, store, DAYS[:1])
    done = command(*RUN, "--out", "new", cwd=folder)
    assert done.code == EXIT_TOO_FEW_MARKS, done.err
    assert "verdict: too few marks, about 5 more" in done.out
    assert "ROC-AUC, 24 test videos as yard" in done.out
    assert first[0].id in done.out
    assert "from artifacts/detector; `headhunt bundles activate new` puts it to use" in done.err
    mark(marked_site, store, DAYS[1:])
    damaged = folder / "out" / "monitor" / "verdicts" / "verdict.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{}")
    done = command(*RUN, "--out", "new", "--log", "log", cwd=folder)
    assert done.code == 0, done.err
    why = "verdicts/verdict.json is not a verdict (start: Field required): run `headhunt monitor run`"
    assert f"not measured: {damaged.relative_to(folder).parents[1]}/{why}" in done.err
    assert "has no rows of yard" in done.err
    shown = command("bundle", "show", "--bundle", "new", cwd=folder).out
    assert "correction yard" in shown
    assert "8 marks" in shown
    without = command(*RUN, "--out", "other", "--without", first[0].id, "--since", "2026-03-01", cwd=folder)
    assert without.code == 0, without.err
    assert load_bundle(folder / "other")[0].data["recalibrated"][-1]["marks"] == 7


def test_a_bundle_that_is_worse_is_activated_only_on_purpose(
    marked_site: ModuleType, folder: Path, store: EventStore
) -> None:
    mark(marked_site, store, anomalous=True)
    assert command(*RUN, "--out", "new", cwd=folder).code == EXIT_WORSE
    text = refusal("bundles", "activate", "new", cwd=folder)
    assert "its proof says that it is worse (test videos scored as yard" in text
    assert "--anyway uses it" in text
    assert not (folder / "deployed").exists()
    done = command("bundles", "activate", "new", "--anyway", "--why", "cars are harmless here", cwd=folder)
    assert done.code == 0, done.err
    assert Deployed(folder / "deployed").history()[-1].detector_id == proof_of(folder).detector_id


def test_the_bundle_in_use_is_corrected_and_events_of_those_before_count(
    marked_site: ModuleType, folder: Path, store: EventStore
) -> None:
    mark(marked_site, store)
    assert command(*RUN, "--out", "new", cwd=folder).code == 0
    assert command("bundles", "activate", "new", cwd=folder).code == 0
    done = command(*RUN, "--out", "next", cwd=folder)
    assert "from deployed/current" in done.err
    assert "no camera's scores change" in done.out
    assert load_bundle(folder / "next")[0].cameras == load_bundle(folder / "new")[0].cameras


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--out", "new"), "give a file of labels, or --from-events"),
        (("labels.csv", "--out", "new", "--camera", "yard"), "--camera; they go with --from-events"),
        (
            (
                "labels.csv",
                "--out",
                "new",
                "--window",
                "2026",
                "--monitor",
                "m",
                "--config",
                "d",
                "--cameras",
                "c",
                "--log",
                "l",
                "--days",
                "7",
            ),
            "--log, --days, --monitor, --window, --config, --cameras; they go with --from-events",
        ),
        ((*RUN[1:], "--out", "new", "--log", "log", "--monitor", "typo"), "--monitor typo: there is no such folder"),
        ((*RUN[1:], "--out", "new", "--monitor", "typo"), "name it with --log"),
        ((*RUN[1:], "--out", "new", "--config", "typo.yaml"), "name it with --log"),
        ((*RUN[1:], "--out", "new", "--log", "log", "--config", "typo.yaml"), "typo.yaml not found"),
        ((*RUN[1:], "--out", "new", "--cameras", "typo.yaml"), "typo.yaml not found"),
    ],
)
def test_wrong_options_are_refused(args: tuple[str, ...], message: str, folder: Path) -> None:
    done = command("recalibrate", *args, cwd=folder)
    assert done.code == 2
    assert message in " ".join(done.err.replace("│", " ").split())


def test_unmarked_events_and_wrong_times_are_refused(marked_site: ModuleType, folder: Path, store: EventStore) -> None:
    mark(marked_site, store, state=None)
    assert "no marked event can be learnt from" in refusal(*RUN, "--out", "new", cwd=folder)
    assert "--since" in command(*RUN, "--out", "new", "--since", "soon", cwd=folder).err


def test_the_model_is_never_loaded(marked_site: ModuleType, folder: Path, store: EventStore) -> None:
    """A whole recalibration with its proof, in a process of its own."""
    mark(marked_site, store)
    (folder / "cameras.yaml").write_text("cameras: {yard: {source: rtsp://yard, merge_s: 1e5}}")
    marked_site.log_days(
        marked_site.SITE, str(folder / "log"), [datetime.now(UTC).date()], N, EVERY, np.random.default_rng(2)
    )
    code = (
        "import json, sys\n"
        "from headhunt_svc.cli.main import app\n"
        "try:\n    app(sys.argv[1:])\nfinally:\n"
        "    loaded = sorted(name for name in ('torch', 'transformers', 'onnxruntime') if name in sys.modules)\n"
        "    open('modules.json', 'w').write(json.dumps([len(sys.modules), loaded]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *RUN, "--out", "new", "--log", "log"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    n, loaded = json.loads((folder / "modules.json").read_text())
    assert (n > 500, loaded) == (True, [])
    assert [day.before for day in proof_of(folder).days] == [1]  # as the camera's merge_s has it


def test_bundle_marks_and_proof_are_of_one_run(
    marked_site: ModuleType, folder: Path, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark(marked_site, store, DAYS[:1], 1)

    def run() -> Proof:
        return recalibrated_with_proof(
            PARAMS, store, project(marked_site), bundle(marked_site), folder / "new", MarkQuery(), Replayed(None)
        )

    def save_alone(out: Path, proof: Proof) -> None:
        monkeypatch.setattr("headhunt_svc.feedback.loop.save_proof", save_proof)
        with pytest.raises(OutputError, match=r"another process writes to .*new: wait for it"):
            run()
        assert load_bundle(out)[0].detector_id == proof.detector_id
        save_proof(out, proof)

    monkeypatch.setattr("headhunt_svc.feedback.loop.save_proof", save_alone)
    assert run() == proof_of(folder)
