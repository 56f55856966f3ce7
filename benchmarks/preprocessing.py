"""CPU time from the pictures of a segment to what the model takes, beside the textbook way.

    python benchmarks/preprocessing.py --json out.json

Segments of 16 pictures, 720p, for InternVL3's 448 x 448. The textbook way makes the pictures contiguous by colour
before the resize, normalises them in float32 and stacks them. Ours resizes them as they lie in memory and stacks bytes;
with a GPU they are normalised there, without one in the model's thread (the last line). Both alternate, one thread.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from headhunt_svc.detector.batches import stacked
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families.base import IMAGENET

SIZE, SEGMENTS = (448, 448), 2


def textbook(pictures: np.ndarray, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """float32[F, 3, h, w], pictures a few at a time, as this package did it."""
    parts = []
    for some in torch.from_numpy(pictures).split(6):
        x = some.permute(0, 3, 1, 2).contiguous()
        parts.append(functional.interpolate(x, size=SIZE, mode="bicubic", antialias=True))
    return (torch.cat(parts).float() / 255 - mean) / std


def extractor() -> Extractor:
    """An extractor without its model: prepares pictures on the CPU."""
    prepares: Any = Extractor.__new__(Extractor)
    prepares.family = SimpleNamespace(resize_steps=lambda *_: [SIZE])
    prepares.config = prepares.preprocessing = None
    prepares.device, prepares.model = torch.device("cpu"), SimpleNamespace(dtype=torch.float32)
    prepares.mean, prepares.std = (torch.tensor(v).view(3, 1, 1) for v in IMAGENET)
    return prepares  # type: ignore[no-any-return]


def main() -> None:
    """Print the table; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    segments = np.random.default_rng(0).integers(0, 256, (SEGMENTS, 16, 720, 1280, 3), dtype=np.uint8)
    ours, times = extractor(), dict[str, list[float]]()
    steps = "textbook", "ours, host", "ours, with normalising"
    for _ in range(args.rounds + 1):
        start = [time.process_time()]
        expected = torch.stack([textbook(pictures, ours.mean, ours.std) for pictures in segments])
        start.append(time.process_time())
        pictures = stacked([ours.preprocess(pictures) for pictures in segments], pinned=False)
        start.append(time.process_time())
        pixels = ours.normalise(pictures)
        start.append(time.process_time())
        if not torch.equal(pixels, expected):
            raise SystemExit("not the same bits")
        taken = start[1] - start[0], start[2] - start[1], start[3] - start[1]
        for name, lasted in zip(steps, taken, strict=True):
            times.setdefault(name, []).append(lasted / SEGMENTS)
    times = {name: seconds[1:] for name, seconds in times.items()}  # the first round is a warm-up
    figures: dict[str, float] = {}
    print("way                       CPU s a segment   ratio (lowest, median, highest)")
    for name, seconds in times.items():
        ratios = sorted(base / own for base, own in zip(times["textbook"], seconds, strict=True))
        middle = statistics.median(ratios)
        spread = f"{ratios[0]:.2f}  {middle:.2f}  {ratios[-1]:.2f}"
        print(f"{name:25} {statistics.median(seconds):15.4f}   {spread}")
        key = name.replace(",", "").replace(" ", "_")
        figures |= {f"{key}_s": statistics.median(seconds), f"ratio_{key}": middle}
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
