"""What one GPU scores online with each lever, InternVL3-8B's architecture, in at most eight minutes (by gpu.sh).

    benchmarks/gpu.sh              # figures: out/benchmarks/COMMIT/gpu.json
    benchmarks/gpu.sh --dry-run    # the same steps at a tiny size without a GPU and without compiling: do they run?

Each step is a process of its own, and takes its rounds in turn with the plain engine. A step that fails is named, later
ones still run, and the exit code is 1. Weights are random.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from extraction import SIZES, Engine, compare, device_figures
from rich.console import Console
from rich.table import Table
from run_all import OUT, commit

LIMIT_S = 440.0  # of all steps
STEPS = {
    "eager": Engine(),
    "compiled": Engine(compiled=True),
    "float8, compiled": Engine(compiled=True, dtype="float8"),
    "half of the tokens": Engine(keep_tokens=0.5),
    "half of the tokens, compiled": Engine(keep_tokens=0.5, compiled=True),
    "deepest layer 17": Engine(deepest=17),
    "all together": Engine(keep_tokens=0.5, compiled=True, dtype="float8", deepest=17),
}
GOALS = {  # what the levers shall reach on one H200
    "compiled": ("share_of_matmul", 0.75),
    "half of the tokens, compiled": ("cameras", 25.0),
    "all together": ("cameras", 38.0),
}
WORDS = {"share_of_matmul": "of the ceiling", "cameras": "cameras"}


def tiny(engine: Engine) -> Engine:
    """The engine of a dry run: without a GPU there is no float8, and the tiny model has four layers."""
    return replace(
        engine, dtype="int8" if engine.dtype == "float8" else engine.dtype, deepest=1 if engine.deepest else None
    )


def run(dry: bool, figures: Path, console: Console) -> dict[str, str]:
    """Run all steps and write their figures after each; why steps failed, by name."""
    name, device, batch, rounds = ("tiny", "cpu", 2, 1) if dry else ("8b", "cuda", 8, 7)
    size, end, failed = SIZES[name], time.monotonic() + LIMIT_S, dict[str, str]()
    results: dict[str, Any] = device_figures(device, size) | {"steps": {}, "failed": failed}
    for i, (step, engine) in enumerate(STEPS.items(), start=1):
        console.print(f"{i} of {len(STEPS)}: {step}")
        used = tiny(engine) if dry else engine
        try:
            left = end - time.monotonic()
            if left <= 0:
                raise RuntimeError("no time was left")
            own = compare(used, size, device, batch, rounds, ceiling=results["matmul_tflops"], limit_s=left)
            results["steps"][step] = {key.replace(f"_{used.name}", ""): value for key, value in own.items()}
            if reasons := own.get("eager_because"):
                if not dry:  # which asks whether the steps run
                    raise RuntimeError(f"not compiled: {reasons[0]}")
                console.print(f"not compiled: {reasons[0]}", markup=False)
        except Exception as exc:  # whatever it is, the other steps run
            failed[step] = f"{exc}"
            console.print(f"failed: {step}: {exc}", markup=False)
        figures.parent.mkdir(parents=True, exist_ok=True)
        figures.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print_steps(results, {} if dry else GOALS, f"{'dry run, ' if dry else ''}card: {results['card']}", Console())
    return failed


def print_steps(results: dict[str, Any], goals: dict[str, tuple[str, float]], title: str, console: Console) -> None:
    """The table of all steps, beside the goals."""
    columns = ("segments/s", "cameras", "of the ceiling", "beside eager", "goal")
    table = Table("step", *columns, title=f"{title}, {results['matmul_tflops']:.3g} TFLOP/s in a matrix product")
    for step in STEPS:
        own = results["steps"].get(step)
        if own is None or step in results["failed"]:
            table.add_row(step, *["failed"] * 4)
            continue
        key, least = goals.get(step, ("", 0.0))
        goal = f"{least:g} {WORDS[key]}: {'reached' if own[key] >= least else 'missed'}" if key else ""
        ratio = f"{own['ratio']:.2f}" if "ratio" in own else "1.00"
        row = f"{own['segments_per_s']:.2f}", f"{own['cameras']:.1f}", f"{own['share_of_matmul']:.2f}", ratio
        table.add_row(step, *row, goal)
    console.print(table)


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="a tiny size, without a GPU")
    parser.add_argument("--out", type=Path, default=OUT, help="has a folder for each commit")
    arguments = parser.parse_args()
    if not arguments.dry_run and not torch.cuda.is_available():
        parser.error("there is no CUDA device: --dry-run runs the steps without one")
    if arguments.dry_run:
        os.environ["CXX"] = "false"  # compiling takes a minute in all: the steps run as on a machine without a compiler
    figures = arguments.out / commit() / ("gpu-dry-run.json" if arguments.dry_run else "gpu.json")
    console = Console(stderr=True)
    failed = run(arguments.dry_run, figures, console)
    console.print(f"figures: {figures}", soft_wrap=True)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
