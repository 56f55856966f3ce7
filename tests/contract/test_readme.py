"""Commands and code of the README and of its next page are run as they stand, on footage of the names that they use."""

import base64
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import yaml

from conftest import HEADHUNT, ROOT, STAGES, headhunt, write_video
from headhunt_svc.events.store import EventStore
from headhunt_svc.serve.api import create_app
from headhunt_svc.settings import EventSettings
from headhunt_svc.studies.figures import summary, with_interval, words
from helpers.events import new
from helpers.feedback import lay_out, mark
from helpers.server import Server

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("own-footage", "results", "service", "jobs", "events")
OWN_FOOTAGE, RESULTS, SERVICE, JOBS, EVENTS = (
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in PAGES
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README + OWN_FOOTAGE, flags=re.DOTALL)


COMMANDS = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "artifacts").symlink_to(ROOT / "artifacts")
    write_video(folder / "yard.mp4", 40)
    write_video(folder / "footage" / "b.mp4", 40)
    return folder


FROM_MARKS = "--from-events"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("headhunt") and FROM_MARKS not in c])
def test_headhunt_commands(project: Path, command: str) -> None:
    done = headhunt(*command.split()[1:], cwd=project)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [c for c in COMMANDS if FROM_MARKS in c])
def test_commands_that_need_marks(marked_site: ModuleType, tmp_path: Path, command: str) -> None:
    lay_out(marked_site, tmp_path)
    with EventStore.open(EventSettings(folder=tmp_path / "data" / "events", database=None)) as store:
        mark(marked_site, store)
    done = headhunt(*command.split()[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_installed_command(project: Path) -> None:
    """The first command, as a shell starts it: all others are run in forks, which saves them the imports."""
    command = [HEADHUNT, *next(c for c in COMMANDS if c.startswith("headhunt")).split()[1:]]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


CURLS = [
    line.split("  #")[0].strip()
    for text in (README, SERVICE, JOBS, EVENTS)
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("curl ")
]


@pytest.fixture(scope="module")
def job(server: Server, footage: Path) -> str:
    """A job that waits: no worker is there."""
    video = write_video(footage / "waits.mp4", 40)
    made = httpx.post(f"{server.url}/v1/jobs", json={"inputs": [str(video)]}, timeout=60)
    assert made.status_code == 202, made.text
    return str(made.json()["job_id"])


@pytest.fixture(scope="module")
def event(server: Server, footage: Path) -> str:
    """A stored event with a picture and a clip."""
    with EventStore.open(EventSettings(folder=server.home / "events")) as store:
        record = store.add(new(camera="yard"), merge_s=0, picture=b"a picture")
        return store.attach_clip(record.id, write_video(footage / "event.mp4", 10)).id


@pytest.mark.parametrize("command", CURLS)
def test_curl_commands(project: Path, server: Server, footage: Path, job: str, event: str, command: str) -> None:
    for folder in (project, footage):
        write_video(folder / "yard.mp4", 40)
    picture = base64.b64encode(bytes(96 * 96 * 3)).decode()
    segment = {"width": 96, "height": 96, "fps": 10, "frames": [picture] * 8}
    (project / "segment.json").write_text(json.dumps(segment))
    served = {"http://127.0.0.1:3000": server.url, "/srv/footage": str(footage)}
    names = {**served, "/JOB": f"/{job}", "/EVENT": f"/{event}"}
    for name, here in names.items():
        command = command.replace(name, here)
    done = subprocess.run(
        [*shlex.split(command), "--fail-with-body", "-sS"], cwd=project, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_route_has_a_curl_line() -> None:
    paths = [f"/v1{path}" for path in create_app().openapi()["paths"]]
    for path in (*paths, "/v1/openapi.json", "/readyz"):
        asked = re.escape(path).replace(r"\{job_id\}", "JOB").replace(r"\{event_id\}", "EVENT") + r"['? ]"
        assert any(re.search(asked, f"{c} ") for c in CURLS), path


def test_python(project: Path) -> None:
    for code in blocks("python"):
        done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def test_make_targets_exist() -> None:
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", README, flags=re.MULTILINE):
        assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0, target


def intervals(page: str) -> set[str]:
    return set(re.findall(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", page))


def test_the_tables_are_those_of_the_artifacts() -> None:
    metrics, ablation = (json.loads((ROOT / "artifacts" / f"{n}.json").read_text()) for n in ("metrics", "ablation"))
    assert ablation["detector_id"] == metrics["detector_id"]
    for kind, row in metrics["by_kind"].items():
        assert re.search(rf"{kind} +{row['roc_auc']:.3f} +{row['average_precision']:.3f}\n", RESULTS)
    hard = next(iter(ablation["arms"].values()))["hard"]
    groups = {words(name): row for name, row in metrics.get("groups", {}).items() if "undefined" not in row}
    for name, row in ({"hard": hard} | groups).items():
        cells = (with_interval(row, key) for key in ("roc_auc", "average_precision"))
        assert re.search(f"\n  {name} +{' +'.join(map(re.escape, cells))}\n", RESULTS)
    rows = [metrics, hard, *groups.values(), *(arm["test"] for arm in ablation["arms"].values())]
    expected = {with_interval(row, key) for row in rows for key in ("roc_auc", "average_precision")}
    of_artifacts = RESULTS.partition("## Kinds and cameras that are left out")[0]  # what follows is of studies
    assert intervals(of_artifacts) == expected
    for name, arm in ablation["arms"].items():
        assert re.search(rf"{words(name)} .* {arm['test']['f1']:.3f} +{arm['hard']['roc_auc']:.3f}", RESULTS)
    for arm in ablation["arms"].values():
        for few in arm.get("low_label", {}).values():
            assert f"{few['mean']:.3f}" in RESULTS


def test_the_small_table_is_that_of_the_artifacts() -> None:
    header, rows = summary(json.loads((ROOT / "artifacts" / "ablation.json").read_text()), "roc_auc")
    for row in (header, *rows):
        assert re.search(f"^ *{' +'.join(map(re.escape, row))} *$", README, flags=re.MULTILINE)
    assert intervals(README) == {cell for row in rows for cell in row if "[" in cell}


def test_the_learning_curve_is_that_of_the_artifacts() -> None:
    curve = json.loads((ROOT / "artifacts" / "ablation.json").read_text())["arms"]["expert_robust"]["low_label"]
    rows = [f"| {n} | {few['mean']:.3f} ± {few['std']:.3f} |" for n, few in curve.items()]
    assert re.findall(r"\| \d+ \| \d\.\d+ ± .*", OWN_FOOTAGE) == rows


def test_params_and_annotations_of_the_pages_are_valid() -> None:
    from headhunt_svc.data.datasets import Annotation
    from headhunt_svc.params import Params

    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    for block in blocks("yaml"):
        raw |= yaml.safe_load(block.replace("<commit>", "0123abc"))
    assert Params.model_validate(raw).dataset.root == Path("data/yard")
    for block in blocks("json"):
        for line in block.splitlines():
            Annotation.model_validate_json(line)


def test_dvc_runs_the_verbs_that_the_pipeline_test_runs() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert [s["cmd"] for s in stages.values()] == ["headhunt demo pretrain", *(f"headhunt {s}" for s in STAGES)]


def test_own_footage_enters_through_params_alone(tmp_path: Path) -> None:
    """`dvc add`, then `dvc repro` of a stage would run on the new footage and leave the embedded corpus out."""
    project = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(project)], check=True)
    for name in ("dvc.yaml", "params.yaml"):
        (project / name).write_text((ROOT / name).read_text())
    params = (project / "params.yaml").read_text()
    for name in ("root: data/demo", "annotations: data/demo.jsonl"):
        assert name in params
        params = params.replace(name, name.replace("demo", "yard"))
    (project / "params.yaml").write_text(params)
    write_video(project / "data" / "yard" / "a.mp4", 20)
    (project / "data" / "yard.jsonl").touch()

    def dvc(*args: str) -> str:
        done = subprocess.run([sys.executable, "-m", "dvc", *args], cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    dvc("add", "data/yard")
    planned = dvc("repro", "--dry", "extract")
    assert "Running stage 'index'" in planned
    assert "'corpus'" not in planned
    assert dvc("status", "pretrain").strip().endswith("up to date.")  # the weights are those of dvc.lock


def test_the_plots_page_works_offline(tmp_path: Path) -> None:
    project = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(project)], check=True)
    (project / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    pictures = [Path(next(iter(p))) for p in stages["evaluate"]["plots"]]
    for picture in pictures:
        (project / picture).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "docs" / "images" / "event.png", project / picture)
    done = subprocess.run([sys.executable, "-m", "dvc", "plots", "show"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (project / "dvc_plots" / "index.html").read_text()
    assert "http" not in page
    for picture in pictures:
        assert f"static/workspace_{'_'.join(picture.parts)}" in page
