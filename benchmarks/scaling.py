"""GPUs and cores for a number of cameras, at each setting: InternVL3-8B's architecture, 16 frames a segment of 1.6 s.

    python benchmarks/scaling.py                                          # calculated
    python benchmarks/scaling.py --gpu-json out/benchmarks/COMMIT/gpu.json    # with what benchmarks/gpu.sh measured

The rate of a setting that the file lacks is calculated: that of the plain engine, by the FLOPs of the two. So it says
what the setting brings if it runs at the same share of the card. Cores are measured here: processor time from a 720p
file of 2 Mbit/s to pictures of the model's size, with all checks, one thread; those of the GPU's machine differ.
"""

import argparse
import json
import math
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
from extraction import SIZES, Engine, build, online_flops
from preprocessing import extractor
from pydantic import BaseModel, Field
from rich.console import Console
from rich.table import Table
from throughput import LENGTH_S, make_video

from headhunt_svc.detector.batches import pixel_batches
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.opening import open_video

SIZE = SIZES["8b"]
MEASURED_HOURS = 12.7  # the model alone, one H200, bf16: throughput.py --size 8b --batch 8 --workers 1 2
STEPS = {  # names are those of gpu.py
    "eager": Engine(),
    "half of the tokens": Engine(keep_tokens=0.5),
    "a quarter of the tokens": Engine(keep_tokens=0.25),
    "deepest layer 17": Engine(deepest=17),
    "half of the tokens, deepest layer 17": Engine(keep_tokens=0.5, deepest=17),
    "compiled": Engine(compiled=True),
    "float8, compiled": Engine(compiled=True, dtype="float8"),
    "half of the tokens, compiled": Engine(keep_tokens=0.5, compiled=True),
    "all together": Engine(keep_tokens=0.5, compiled=True, dtype="float8", deepest=17),
}


@cache
def model_without_weights() -> tuple[Extractor, torch.Tensor]:
    """The architecture and a batch: FLOPs are counted from shapes."""
    return build(SIZE, "meta")


def hours_by_flops(plain_hours: float, engine: Engine) -> float | None:
    """Hours of footage an hour at the plain engine's FLOP/s; None where the setting changes how fast these are."""
    if engine.compiled or engine.dtype:
        return None
    plain, own = (online_flops(e, SIZE, *model_without_weights()) for e in (Engine(), engine))
    return plain_hours * plain / own


def cores_a_camera(length_s: float, seconds: int, rounds: int) -> float:
    """Processor seconds a second of footage, from a file to pictures of the model's size."""
    params = SegmentationParams(length_s=length_s, frames_per_segment=SIZE.frames)
    with tempfile.TemporaryDirectory(prefix="headhunt-scaling-") as folder:
        path, taken = make_video(Path(folder) / "v.mp4", seconds), []
        for _ in range(rounds):
            start = time.process_time()
            with open_video(path) as video:
                for _batch in pixel_batches(video, params, extractor(), 8):
                    pass
            taken.append(time.process_time() - start)
    return min(taken) / seconds


class Step(BaseModel):
    """What gpu.py measured of one engine."""

    segments_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class GpuFigures(BaseModel):
    """The file that gpu.py writes."""

    card: str
    steps: dict[str, Step]
    failed: dict[str, str]


def measured_steps(file: Path, parser: argparse.ArgumentParser) -> dict[str, Step]:
    """The steps that were measured on a GPU, the plain engine among them; ends with exit code 2 where they are not."""
    try:
        figures = GpuFigures.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        parser.error(f"{file} is not what benchmarks/gpu.sh writes: {exc}")
    steps = {name: step for name, step in figures.steps.items() if name not in figures.failed}
    if figures.card == "none":
        parser.error(f"{file} is of a dry run, without a GPU: run benchmarks/gpu.sh on one")
    if unknown := sorted(set(steps) - set(STEPS)):
        parser.error(f"{file} has steps that are not known here: {', '.join(unknown)}")
    if "eager" not in steps:
        parser.error(f"{file} lacks the step eager, which the others are calculated from: run benchmarks/gpu.sh again")
    return steps


def positive(text: str) -> int:
    """A whole number above 0."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def main() -> None:
    """Print the table; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu-json", type=Path, help="figures of benchmarks/gpu.sh")
    parser.add_argument("--cameras", type=positive, default=10_000)
    parser.add_argument("--seconds", type=positive, default=16, help="length of the video that cores are measured with")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    steps = measured_steps(args.gpu_json, parser) if args.gpu_json else {}
    plain = steps["eager"].segments_per_s * LENGTH_S if steps else MEASURED_HOURS
    cores = {f"{n:g}": cores_a_camera(n * LENGTH_S, args.seconds, args.rounds) for n in (1, 2)}
    figures: dict[str, float] = {f"cores_a_camera_{n}": value for n, value in cores.items()}
    table = Table("setting", "hours a GPU-hour", "GPUs", "8 h a day", "cores", "cores a GPU", "source")
    for name, engine in STEPS.items():
        if name in steps:
            hours, source = steps[name].segments_per_s * LENGTH_S, "measured"
        elif engine == Engine():
            hours, source = plain, "measured"
        elif (counted := hours_by_flops(plain, engine)) is not None:
            hours, source = counted, "calculated"
        else:
            table.add_row(name, *["-"] * 5, "needs --gpu-json")
            continue
        for factor, words in (("1", ""), ("2", ", segments of 3.2 s")):
            rate, needed = hours * float(factor), args.cameras * cores[factor]
            gpus = math.ceil(args.cameras / rate)
            row = (
                f"{rate:.1f}",
                f"{gpus}",
                f"{math.ceil(args.cameras / rate / 3)}",
                f"{needed:.0f}",
                f"{needed / gpus:.1f}",
            )
            table.add_row(name + words, *row, source if factor == "1" else "calculated")
            figures[f"{name}{words}"] = rate
    Console(width=120).print(table)
    decoded = 1 / cores["1"]
    print(f"one core decodes and prepares {decoded:.1f} hours of footage an hour ({1 / cores['2']:.1f} at 3.2 s)")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
