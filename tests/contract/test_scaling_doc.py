"""docs/scaling.md and docs/jobs.md name what there is, and their arithmetic is that of the measured figure."""

import re
import subprocess
import sys

import yaml

from conftest import ROOT
from headhunt_svc.settings import JobSettings, Settings
from helpers.verbs import VERBS

SCALING, JOBS, PERFORMANCE = (
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("scaling.md", "jobs.md", "performance.md")
)


def test_settings_and_commands_exist() -> None:
    known = {f"HEADHUNT_JOBS_{n.upper()}" for n in JobSettings.model_fields}
    known |= {f"HEADHUNT_{n.upper()}" for n in Settings.model_fields}
    for name in re.findall(r"HEADHUNT_[A-Z_]*[A-Z]", SCALING + JOBS):
        assert any(k.startswith(name) for k in known), name
    for name in JobSettings.model_fields:
        assert f"HEADHUNT_JOBS_{name.upper()}" in JOBS, name
    assert set(re.findall(r"headhunt ((?:jobs )?[a-z]+)", SCALING + JOBS)) <= VERBS


def test_the_manifest_starts_a_worker_of_the_image() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", SCALING, flags=re.DOTALL)
    pod = yaml.safe_load(block)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    python, *rest = container["command"]
    assert python == "python"
    assert subprocess.run([sys.executable, *rest, "--help"], cwd=ROOT, capture_output=True).returncode == 0
    mounted = {v["name"]: v["mountPath"] for v in container["volumeMounts"]}
    folder = next(e["value"] for e in container["env"] if e["name"] == "HEADHUNT_JOBS_FOLDER")
    assert folder in mounted.values()
    assert set(mounted) == {v["name"] for v in pod["volumes"]}


def test_the_estimate_follows_from_the_measurement() -> None:
    (measured,) = re.findall(r"\| two \(batch 8\)[^|]*\| ([\d.]+) \|", PERFORMANCE)
    assert f"two workers score {measured} hours" in SCALING
    found = re.findall(r"\| ([\d.]+) \| (?:10,000 / [\d.]+ = )?(\d+)", SCALING)
    rates, gpus = [float(rate) for rate, _ in found], [int(n) for _, n in found]
    assert rates == [float(measured), 2 * float(measured), 2 * float(measured)]
    for rate, n, share in zip(rates, gpus, (1, 1, 8 / 24), strict=True):
        assert 0 <= n - 10_000 * share / rate < 1
