"""What a step of pre-training takes, and its parts: what each lever could save at most.

    python benchmarks/pretraining.py            # one to three minutes on one core; it renders 400 windows first

Time is processor time of one thread.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from headhunt_svc.demo import muon
from headhunt_svc.demo import trainer as training
from headhunt_svc.demo.params import DEMO_PARAMS, PretrainParams, load_demo_params
from headhunt_svc.demo.pool import make_chunk
from headhunt_svc.demo.trainer import N_FRAMES, Trainer

WINDOWS = 400  # 300 of them are held out


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def step_in(dtype: torch.dtype, trainer: Trainer) -> float:
    """Processor time of a step of `speak` whose matrix products are in dtype: the second, as the first warms up."""

    def chosen(_: torch.device) -> torch.dtype:
        return dtype

    with patch.object(training, "product_dtype", chosen), patch.object(muon, "product_dtype", chosen):
        return [seconds(partial(trainer.step, "speak", i)) for i in range(2)][1]


def parts(trainer: Trainer) -> dict[str, float]:
    """Seconds: what a cache of vision features, or another optimiser, could save at most; and a step of `see`."""
    rng = np.random.default_rng(0)
    batch = trainer.params.speak.batch
    pixels, _, _ = trainer._clips(rng, batch, N_FRAMES)
    with torch.no_grad():
        vision = seconds(lambda: trainer._visual(pixels))
    for p in trainer.all:
        p.grad = torch.randn_like(p)
    rates = [1e-6] * len(trainer.muon.parameters)
    muon, adamw = seconds(lambda: trainer.muon.step(rates)), seconds(trainer.adamw.step)
    for p in trainer.all:
        p.grad = None  # else `see` would also move the language model
    return {
        "see": seconds(lambda: trainer.step("see", 1)),
        "clips": seconds(lambda: trainer._clips(rng, batch, N_FRAMES)),
        "vision": vision,
        "muon": muon,
        "adamw": adamw,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=DEMO_PARAMS)
    parser.add_argument(
        "--steps", type=int, default=6, help="steps of `speak`, and of `speak` with the vision tower; the medians count"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    params: PretrainParams = load_demo_params(options.params).pretrain.model_copy(update={"processes": 1})
    whole = params.speak.model_copy(
        update={"short": None, "easy": (), "vision_from": 0.5, "steps": 2 * options.steps + 2}
    )
    params = params.model_copy(update={"speak": whole})  # whole clips; in the second half the vision tower learns
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        rendering = seconds(lambda: make_chunk(work, 0, WINDOWS, params.model.image_size, 1))
        trainer = Trainer(params, work, work)
        steps = [seconds(partial(trainer.step, "speak", i)) for i in range(whole.steps)]
        rest = parts(trainer)
        formats = {dtype: step_in(dtype, trainer) for dtype in (torch.bfloat16, torch.float32)}
    figures = {
        "params": sum(p.numel() for p in trainer.model.parameters()),
        "heads": params.model.n_layers * params.model.n_heads,
        "window_ms": 1000 * rendering / WINDOWS,
        "speak_s": statistics.median(steps[1 : options.steps + 1]),  # the first warms up
        "speak_with_tower_s": statistics.median(steps[options.steps + 2 :]),
        **{f"{name}_s": value for name, value in rest.items()},
        **{f"speak_{str(dtype).removeprefix('torch.')}_s": value for dtype, value in formats.items()},
        "bfloat16_by_float32": formats[torch.bfloat16] / formats[torch.float32],
    }
    for name, value in figures.items():
        print(f"{name:19} {value:.3f}" if isinstance(value, float) else f"{name:19} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
