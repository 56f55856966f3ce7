"""A project with own footage and a model of a hub, from its lock to events; then branch, cache and network change."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conftest import HEADHUNT, ROOT, write_video
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.heads_file import load_selection
from headhunt_svc.detector.report import Report, load_report
from headhunt_svc.errors import EXIT_TOO_FEW_MARKS, EXIT_WORSE
from headhunt_svc.events.records import EventRecord
from headhunt_svc.feedback.proof import load_proof
from headhunt_svc.model.identity import read_lock
from helpers.forked import Commands
from helpers.hub import Hub, files_of, serving_hub
from helpers.models import save_tiny

NAME = "owner/tiny-qwen"
WEIGHTS = "model.safetensors"
STAGES = ["models lock", "index", "extract", "identify", "fit", "calibrate", "bundle make", "detect --split test"]


class Project:
    """A folder in which commands run with the hub's address, or the environment that is given."""

    def __init__(self, folder: Path, hub: Hub, home: Path) -> None:
        self.folder, self.hub, self.home = folder, hub, home
        self.commands = Commands(hub.env(home))

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = [str(HEADHUNT), *args]
        return subprocess.CompletedProcess(
            command, *self.commands.run(command, self.folder, self.hub.env(self.home), 300)
        )

    def elsewhere(self, home: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """With another cache."""
        return subprocess.run(
            [HEADHUNT, *args],
            cwd=self.folder,
            env=self.hub.env(home, **env),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def detect(self) -> subprocess.CompletedProcess[str]:
        return self.run("detect", "yard.mp4", "--out", "out")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The project after all stages."""
    folder = tmp_path_factory.mktemp("project")
    with serving_hub() as hub:
        hub.add(NAME, files_of(save_tiny("qwen3_vl", tmp_path_factory.mktemp("model"))))
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params |= {
            "mllm": {"id": NAME, "revision": "main"},
            "dataset": {"root": "footage", "annotations": "annotations.jsonl"},
            "segmentation": {"length_s": 1.0, "frames_per_segment": 4},
            "prompts": {"texts": ["what happens?", "describe the scene."]},
            "identify": {"top_k": 2, "subsamples": 4},
        }
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        lines = []
        for i in range(16):
            split, odd = ("calibration", "calibration", "validation", "test")[i // 4], i % 2 == 1
            write_video(folder / "footage" / f"{i}.mp4", 40 + i, size=(96, 64))
            spans = [[1.0, 2.5]] if odd else []
            label = "fall" if odd else "normal"
            lines.append({"video": f"{i}.mp4", "split": split, "label": label, "spans": spans, "unit": "seconds"})
        (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, lines)))
        write_video(folder / "yard.mp4", 30)
        made = Project(folder, hub, tmp_path_factory.mktemp("home"))
        for stage in STAGES:
            done = made.run(*stage.split())
            assert done.returncode == 0, f"{stage}: {done.stderr[-2000:]}"
        yield made
        made.commands.close()


def test_everything_names_the_content_and_the_bundle_the_commit(project: Project) -> None:
    lock = read_lock(project.folder / "artifacts" / "model.json")
    assert lock.commit == project.hub.repos[NAME].branches["main"]
    assert load_selection(project.folder / "artifacts" / "heads.json").revision == lock.digest
    bundle, _ = load_bundle(project.folder / "artifacts" / "detector")
    assert (bundle.mllm_is_local, bundle.mllm_revision, bundle.mllm_commit) == (False, lock.digest, lock.commit)
    assert bundle.mllm_files == lock.files
    reports = list((project.folder / "data" / "reports").rglob("*.json"))
    assert {json.loads(r.read_text())["lineage"]["mllm_revision"] for r in reports} == {lock.digest}
    assert len(reports) == 4


def test_limits_on_layers_are_compared_without_a_pass(project: Project) -> None:
    done = project.run("depth")
    assert done.returncode == 0, done.stderr
    result = json.loads((project.folder / "out" / "depth.json").read_text())
    rows = result["limits"]
    assert [row["limit"] for row in rows] == [3, 2, 1, 0]
    heads = load_selection(project.folder / "artifacts" / "heads.json").heads
    assert rows[0]["heads"] == [list(head) for head in heads]  # without limit, the project's own
    assert all(max(layer for layer, _ in row["heads"]) <= row["limit"] for row in rows)
    assert all(row["test"]["n_videos"] == 4 for row in rows)
    assert rows[-1]["cost"]["segment"] < rows[0]["cost"]["segment"]
    assert "Choose a limit by the validation videos" in done.stdout


def test_a_mark_of_an_event_corrects_its_camera_and_no_other(project: Project) -> None:
    """detect --events -> mark -> recalibrate --from-events -> the same video of that camera scores less, and of others
    the same to the bit."""

    def scored(name: str, *args: str) -> Report:
        done = project.run("detect", "yard.mp4", "--out", name, *args)
        assert done.returncode == 0, done.stderr
        return load_report(project.folder / name / "yard.mp4.json")

    before = scored("before", "--camera", "yard", "--events", "--threshold", "0")
    listed = project.run("events", "list", "--json").stdout.splitlines()
    event = EventRecord.model_validate_json(listed[0])
    assert (len(listed), event.camera, event.features) == (1, "yard", True)
    assert project.run("events", "mark", event.id, "false_alarm", "--by", "anna").returncode == 0
    done = project.run("recalibrate", "--from-events", "--out", "next")
    assert done.returncode in (0, EXIT_WORSE, EXIT_TOO_FEW_MARKS), done.stderr
    assert "verdict: " in done.stdout
    proof = load_proof(project.folder / "next")
    assert proof is not None
    assert (proof.marks, [split.videos for split in proof.test], proof.no_test) == (1, [4], None)
    after = scored("after", "--camera", "yard", "--bundle", "next")
    assert (after.correction, after.detector_id) == ("yard", proof.detector_id)
    assert max(s.raw for s in after.scores) < max(s.raw for s in before.scores)
    other = scored("other", "--camera", "door", "--bundle", "next")
    assert other.correction is None
    assert [s.raw for s in other.scores] == [s.raw for s in before.scores]


def test_the_model_was_asked_for_once_and_fetched_once(project: Project) -> None:
    paths = [access.path for access in project.hub.log]
    assert len([p for p in paths if p.startswith("/api/")]) == 1
    assert project.hub.fetched[WEIGHTS] == len(next(iter(project.hub.repos[NAME].commits.values()))[WEIGHTS])
    project.hub.log.clear()
    assert project.detect().returncode == 0
    assert project.hub.log == []


def test_another_machine_gets_the_bundles_commit_although_the_branch_has_moved(
    project: Project, tmp_path: Path
) -> None:
    repo, old = project.hub.repos[NAME], project.hub.repos[NAME].branches["main"]
    before = (project.folder / "artifacts" / "model.json").read_text()
    repo.commit(repo.commits[old] | {WEIGHTS: repo.commits[old][WEIGHTS][:-1] + b"\1"})
    project.hub.log.clear()
    offline = project.elsewhere(tmp_path, "detect", "yard.mp4", "--out", "out", HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert "is not in the cache" in offline.stderr
    assert offline.stderr.count("\n") == 1
    assert project.hub.log == []
    done = project.elsewhere(tmp_path, "detect", "yard.mp4", "--out", "out")
    assert done.returncode == 0, done.stderr
    commits = {access.path.split("/")[4] for access in project.hub.log if access.path.startswith("/lfs/")}
    assert commits == {old}

    moved = project.run("models", "lock")
    assert moved.returncode == 2
    assert f"main moved from {old} to {repo.branches['main']}; heads were hunted in {old}" in moved.stderr
    assert project.run("models", "lock", "--update").returncode == 0
    fit = project.run("fit")
    assert fit.returncode == 2
    assert "run `headhunt" in fit.stderr
    assert project.detect().returncode == 0  # the bundle stays with its own commit
    (project.folder / "artifacts" / "model.json").write_text(before)


def test_a_changed_file_in_the_cache_is_refused(project: Project) -> None:
    bundle, _ = load_bundle(project.folder / "artifacts" / "detector")
    (path,) = project.home.glob(f"hub/models--*/snapshots/{bundle.mllm_commit}/{WEIGHTS}")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.resolve().write_bytes(bytes(content))
    refused = project.detect()
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"was made for model {bundle.mllm_revision}, but" in refused.stderr
    assert f"{WEIGHTS} is another file" in refused.stderr
    way_out = f"headhunt models pull {NAME} --revision {bundle.mllm_commit}"
    assert f"run `{way_out}`" in refused.stderr
    assert project.run(*way_out.split()[1:]).returncode == 0
    assert project.detect().returncode == 0
