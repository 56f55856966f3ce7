"""From a stream to a better detector: event, mark, candidate, proof, activation, and the scene no longer alarms."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from types import ModuleType

import numpy as np
import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By

from conftest import COMMANDS, ROOT, benchmark
from headhunt_svc.data.datasets import data_digest, save_index, save_labels
from headhunt_svc.data.feature_store import FeatureStore, Source
from headhunt_svc.detector.bundle import load_bundle, load_golden, model_key, save_bundle
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.detector.scorer_file import save_scorer
from headhunt_svc.events.records import EventFilter, EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.proof import load_proof
from headhunt_svc.prediction_log.windows import WindowQuery, read_window
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.store import Store
from headhunt_svc.types import LABELLED, HeadRef
from helpers.browser import CHROMIUM, DRIVER, axe, browser, click, complaints, text_of, wait_for_text
from helpers.consoles import serving_console

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
WAIT_S = 180  # a busy machine imports torch slowly
FAR = 6.0  # standard deviations along the scorer's weights, of anomalies that are drawn


def make_project(folder: Path, site: ModuleType) -> None:
    """A project whose bundle is the shipped detector, with drawn features of labelled videos that fit its scorer."""
    shipped = ROOT / "artifacts" / "detector"
    old, scorer = load_bundle(shipped)
    assert scorer.normality is not None
    heads, rng = tuple(HeadRef(*head) for head in old.heads), np.random.default_rng(0)
    covariance = np.linalg.inv(scorer.normality.precision)
    along = covariance @ scorer.weight
    move = FAR * along / np.sqrt(scorer.weight @ along)
    records = [site._record(split, i) for split in (*LABELLED, "test") for i in range(16)]
    artifacts = folder / "artifacts"
    save_index(artifacts / "index.parquet", records)
    save_labels(artifacts / "labels.parquet", records)
    model, cut = model_key(old.mllm, old.mllm_revision), old.segmentation.model_dump_json()
    stores = {
        is_test: FeatureStore(folder / "data" / name)
        for is_test, name in ((False, "features"), (True, "test_features"))
    }
    for record in records:
        drawn = rng.multivariate_normal(scorer.normality.mean, covariance, site.N_SEGMENTS)
        z = (drawn + record.truth()[:: site.LENGTH, None] * move).astype(np.float32)
        is_test = record.split == "test"
        prompts = (old.prompt,) if is_test else old.calibration_prompts
        video = site._video(record, heads, z, len(prompts))
        stores[is_test].save(record.video_id, video, "k", Source(model, prompts, cut))
    save_scorer(artifacts / "detector" / "scorer.safetensors", scorer)
    digest = data_digest(r for r in records if r.split in LABELLED)
    made = {"data": {"index_sha256": digest, "videos": dict.fromkeys(LABELLED, 16)}}
    bundle = old.relocated(shipped, artifacts / "detector").model_copy(update=made)
    save_bundle(artifacts / "detector", bundle, scorer, load_golden(shipped))
    shutil.copy(ROOT / "params.yaml", folder)


@pytest.fixture
def project(tmp_path: Path, scene: Path) -> Path:
    """The project, with a camera that shows an explosion again and again."""
    make_project(tmp_path, benchmark("feedback_site"))
    (tmp_path / "cameras.yaml").write_text(
        f"cameras:\n  yard: {{source: {{kind: loop, path: '{scene}'}}, merge_s: 1.6}}\n"
    )
    Deployed(tmp_path / "deployed").activate(tmp_path / "artifacts" / "detector", "first")
    return tmp_path


@pytest.fixture
def watching(project: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = COMMANDS.headhunt("watch", "--bundle", "deployed/current", "--log", "log", "--states", "states")
    env = os.environ | {
        "OMP_NUM_THREADS": "1", "HEADHUNT_EVENTS_FOLDER": "events", "HEADHUNT_LOG_FEATURES": "all",
        "HEADHUNT_LOG_FLUSH_S": "1", "HEADHUNT_PROBE_SHARE": "0",
    }  # fmt: skip
    with (project / "printed.txt").open("wb") as file:
        process = subprocess.Popen(command, cwd=project, env=env, stderr=file)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_for(condition: Callable[[], object]) -> None:
    end = monotonic() + WAIT_S
    while not condition():
        assert monotonic() < end
        sleep(0.2)


def test_a_mark_makes_a_detector_that_no_longer_alarms(
    project: Path, watching: "subprocess.Popen[bytes]", tmp_path_factory: pytest.TempPathFactory
) -> None:
    with EventStore.open(EventSettings(folder=project / "events")) as store:
        places = ("--bundle", "artifacts/detector", "--candidate", "artifacts/candidate", "--deployed", "deployed")
        with serving_console(project, *places) as console, browser(tmp_path_factory.mktemp("profile")) as driver:
            wait_for(lambda: len([e for e in store.list() if e.stop is not None and e.features]) >= 2)
            driver.get(f"{console.url}/events")
            ActionChains(driver).send_keys("j").send_keys("f").perform()  # the latest may go on; the one before is over
            wait_for(lambda: store.list(EventFilter(state=EventState.FALSE_ALARM)))
            driver.get(f"{console.url}/events")
            click(driver, "//button[contains(., 'Learn from 1 mark')]", By.XPATH)
            wait_for_text(driver, "main", "The proof: what it changes", WAIT_S)  # appears by itself
            assert axe(driver) == []
            click(driver, "The proof", By.PARTIAL_LINK_TEXT)
            wait_for_text(driver, "h1", "Proof:", WAIT_S)
            assert axe(driver) == []
            assert "yard" in text_of(driver, "main")
            click(driver, "//button[contains(., 'Use this detector')]", By.XPATH)
            wait_for_text(driver, ".summary", "in use", WAIT_S)
            assert complaints(driver) == []
            libraries = Path(f"/proc/{console.process.pid}/maps").read_text()
            assert "libtorch" not in libraries
        (folder,) = (path for path in (project / "artifacts" / "candidate").iterdir() if path.is_dir())  # not its lock
        proof = load_proof(folder)
        assert proof is not None
        assert Deployed(project / "deployed").history()[-1].detector_id == proof.detector_id

        def rows_of_it() -> int:
            now = datetime.now(UTC)
            query = WindowQuery(now - timedelta(minutes=10), now + timedelta(minutes=1), proof.detector_id)
            window = read_window(Store(str(project / "log")), query)
            return window.cameras["yard"].total if "yard" in window.cameras else 0

        wait_for(lambda: rows_of_it() >= 12)  # more than two rounds of the scene, by the same process
        assert watching.poll() is None
        assert store.list(EventFilter(detector_id=proof.detector_id)) == []
        assert len(store.list()) >= 2
