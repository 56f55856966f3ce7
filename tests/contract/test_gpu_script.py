"""benchmarks/gpu.sh runs without a GPU up to the speed, and a step that fails is named while the others run."""

import importlib
import json
import os
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from conftest import ROOT, benchmark

OWN = "online_s", "segments_per_s", "cameras", "share_of_matmul", "weights_mib", "first_pass_s"


def test_dry_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "benchmarks" / "gpu.sh", "--dry-run", "--out", tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(next(tmp_path.rglob("gpu-dry-run.json")).read_text())
    assert list(results["steps"]) == list(benchmark("gpu").STEPS)
    assert results["failed"] == {}
    for name, figures in results["steps"].items():
        assert all(figures[key] > 0 for key in OWN), name
        assert ("eager_because" in figures) == ("compiled" in name or "together" in name)
    assert "reached" not in done.stdout  # a dry run says nothing of goals


def test_a_step_that_fails_is_named_and_later_ones_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = benchmark("gpu")
    ran: list[str] = []

    def compare(engine: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        ran.append(engine.name)
        if engine.dtype:
            raise RuntimeError("out of memory")
        own = {f"{key}_{engine.name}": 1.0 for key in OWN}
        return own | ({"eager_because": ["decoder: no reason"]} if engine.keep_tokens != 1 else {})

    monkeypatch.setattr(gpu, "compare", compare)
    monkeypatch.setattr(gpu, "device_figures", lambda device, size: {"card": "a card", "matmul_tflops": 1.0})
    console = Console(record=True, width=200)
    failed = gpu.run(False, tmp_path / "new" / "gpu.json", console)
    assert ran == [engine.name for engine in gpu.STEPS.values()]
    assert failed == {
        "float8, compiled": "out of memory",
        "half of the tokens": "not compiled: decoder: no reason",
        "half of the tokens, compiled": "not compiled: decoder: no reason",
        "all together": "out of memory",
    }
    assert json.loads((tmp_path / "new" / "gpu.json").read_text())["failed"] == failed
    assert "failed: float8, compiled: out of memory" in console.export_text()
    monkeypatch.setattr(gpu, "LIMIT_S", -1.0)
    assert set(gpu.run(False, tmp_path / "gpu.json", console).values()) == {"no time was left"}


def test_flops_are_of_the_layers_that_run() -> None:
    """Against the sum by hand for InternVL3-8B: 22 whole layers, and of the 23rd what its heads need."""
    extraction = benchmark("extraction")
    size, engine = extraction.SIZES["8b"], extraction.Engine
    model = extraction.build(size, "meta")
    text = len(model[0].token_ids(extraction.PROMPTS[0], model[0].clip(model[1]))) - 4096
    plain = extraction.online_flops(engine(), size, *model) / 1e12
    assert plain == pytest.approx(11.56 + 0.23 + (42.62 + 0.14) * (4096 + text) / 4156 + 2.85, rel=0.003)
    fewer = plain - extraction.online_flops(engine(deepest=17), size, *model) / 1e12
    assert fewer == pytest.approx(5 * (42.62 / 22 + 2.85 / 23), rel=0.02)


def test_a_function_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark("apart")  # puts the folder on the path; what other processes call must be imported by name
    module = importlib.import_module("apart")
    monkeypatch.setattr(module, "PRELOADED", [])
    apart = module.apart
    assert apart(tmp_path.name.upper) == tmp_path.name.upper()
    with pytest.raises(RuntimeError, match=r"FileNotFoundError: .*nothing"):
        apart((tmp_path / "nothing").read_text)
    with pytest.raises(RuntimeError, match="took more than 0 s"):
        apart((tmp_path).exists, 1e-9)
    with pytest.raises(RuntimeError, match="ended with exit code 1"):
        apart(partial(os._exit, 1))
