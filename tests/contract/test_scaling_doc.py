"""docs/scaling.md and docs/jobs.md name what there is, and their arithmetic is that of the measured figure."""

import json
import math
import re
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, benchmark
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
    assert set(re.findall(r"headhunt ((?:jobs )?[a-z-]+)", SCALING + JOBS)) <= VERBS


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


def test_the_table_follows_from_what_was_measured() -> None:
    scaling = benchmark("scaling")
    (alone,) = re.findall(r"\| the model alone \| ([\d.]+) \|", PERFORMANCE)
    assert float(alone) == scaling.MEASURED_HOURS
    (two,) = re.findall(r"\| two workers \| ([\d.]+) \|", PERFORMANCE)
    assert f"two workers on one H200: {two} hours an hour" in SCALING
    assert f"so {math.ceil(10_000 / float(two))} GPUs instead of {math.ceil(10_000 / float(alone))}" in SCALING
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| (\d+) \| (\d+) \| \d+ \|", SCALING, flags=re.MULTILINE)
    assert len(rows) == 2 * sum(scaling.hours_by_flops(1.0, engine) is not None for engine in scaling.STEPS.values())
    for name, hours, all_day, eight_hours in rows:
        setting, is_longer, _ = name.partition(", segments of 3.2 s")
        rate = scaling.hours_by_flops(float(alone), scaling.STEPS[setting]) * (2 if is_longer else 1)
        assert abs(float(hours) - rate) < 0.051
        assert 0 <= int(all_day) - 10_000 / rate < 1
        assert 0 <= int(eight_hours) - 10_000 / rate / 3 < 1


def test_fewer_tokens_and_layers_cost_what_is_written_down_by_hand() -> None:
    scaling = benchmark("scaling")
    vision = 24 * 16 * 1024 * (24 * 1024**2 + 4 * 1024 * 1024) + 16 * 256 * 2 * (4096 + 3584) * 3584

    def decoder(tokens: int, layers: int) -> int:
        matrices = 2 * tokens * 3584 * (3584 + 2 * 512), 2 * tokens * 3584 * (3584 + 3 * 18944)
        return layers * sum(matrices) + matrices[0] + (layers + 1) * 2 * tokens**2 * 3584

    whole = vision + decoder(4156, 22)
    for name, tokens, layers in (("half of the tokens", 2108, 22), ("deepest layer 17", 4156, 17)):
        expected = whole / (vision + decoder(tokens, layers))
        assert abs(scaling.hours_by_flops(1.0, scaling.STEPS[name]) / expected - 1) < 0.01


def test_what_no_gpu_has_measured_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scaling, parser = benchmark("scaling"), ArgumentParser()
    file = tmp_path / "gpu.json"
    good = {
        "card": "H200",
        "steps": {"eager": {"segments_per_s": 8.0}, "compiled": {"segments_per_s": 9.0}},
        "failed": {},
    }
    file.write_text(json.dumps(good))
    assert scaling.measured_steps(file, parser)["compiled"].segments_per_s == 9.0
    for change, says in (
        ({"card": "none"}, "dry run"),
        ({"failed": {"eager": "out of memory"}}, "lacks the step eager"),
        ({"steps": {"eager": {"segments_per_s": -3.0}}}, "greater than 0"),
        ({"steps": {"eagre": {"segments_per_s": 8.0}}}, "not known here: eagre"),
        ({"steps": None}, "steps"),
    ):
        file.write_text(json.dumps(good | change))
        with pytest.raises(SystemExit) as end:
            scaling.measured_steps(file, parser)
        assert end.value.code == 2
        assert says in capsys.readouterr().err
