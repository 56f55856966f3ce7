"""Side by side in one run: a step of pre-training with its clips in padded rows, and in one row without padding.

    python benchmarks/pretraining.py            # some minutes on one core; it renders 400 windows first

Both compute the same up to rounding. Time is processor time of one thread. Below, what other levers could save at most.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AttentionInterface

from headhunt_svc.demo.params import DEMO_PARAMS, PretrainParams, load_demo_params
from headhunt_svc.demo.pool import make_chunk
from headhunt_svc.demo.pretraining import N_FRAMES, Trainer

WINDOWS = 400  # 300 of them are held out


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def speak(trainer: Trainer, step: int) -> float:
    """Processor time of one step of `speak`."""
    AttentionInterface.register("packed", trainer.attention)
    return seconds(lambda: trainer.step("speak", step))


def shares(trainer: Trainer) -> dict[str, float]:
    """Seconds that parts of a step take: what a cache of vision features, or another optimiser, could save at most."""
    rng = np.random.default_rng(0)
    batch = trainer.params.speak.batch
    pixels, _, _ = trainer._clips(rng, batch, N_FRAMES)
    with torch.no_grad():
        vision = seconds(lambda: trainer._visual(pixels))
    for p in trainer.all:
        p.grad = torch.randn_like(p)
    muon, adamw = seconds(lambda: trainer.muon.step(1e-6)), seconds(trainer.adamw.step)
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
    parser.add_argument("--params", type=Path, default=DEMO_PARAMS.with_name("params-wide.yaml"))
    parser.add_argument("--steps", type=int, default=6, help="pairs of steps")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    params: PretrainParams = load_demo_params(options.params).pretrain.model_copy(update={"processes": 1})
    whole = params.speak.model_copy(update={"short": None, "easy_steps": 0})  # steps as most of them are
    params = params.model_copy(update={"speak": whole})
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        rendering = seconds(lambda: make_chunk(work, 0, WINDOWS, params.model.image_size, 1, params.world))
        padded, ragged = (Trainer(params.model_copy(update={"ragged": r}), work, work) for r in (False, True))
        pairs = [(speak(padded, i), speak(ragged, i)) for i in range(options.steps + 1)][1:]  # the first warms up
        parts = shares(ragged)
    figures = {
        "params": sum(p.numel() for p in ragged.model.parameters()),
        "heads": params.model.n_layers * params.model.n_heads,
        "window_ms": 1000 * rendering / WINDOWS,
        "padded_s": statistics.median(a for a, _ in pairs),
        "ragged_s": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
        **{f"{name}_s": value for name, value in parts.items()},
    }
    for name, value in figures.items():
        print(f"{name:10} {value:.3f}" if isinstance(value, float) else f"{name:10} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
