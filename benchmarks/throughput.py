"""Hours of footage that a device scores in an hour, from video files to reports, and what holds it back.

    python benchmarks/throughput.py --size 8b --batch 8 --workers 1 2 --json out.json     # for a GPU
    python benchmarks/throughput.py --size tiny --seconds 20                              # seconds on 2 cores

Times real time (hours an hour) of three things on the same video, H.264, 1280 x 720, 2 Mbit/s (checked): decoding
and preprocessing alone, the model alone, and the whole Detector with 1, 2, ... workers, each a process with a model of
its own, as `headhunt worker` is. Weights are random (see extraction.py): time does not depend on them.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import av
import numpy as np
import torch
from extraction import PROMPTS, SIZES, Size, build
from rich.console import Console
from rich.table import Table

from headhunt_svc.detector.batches import PixelBatch, pixel_batches
from headhunt_svc.detector.bundle import Bundle, StoredPoint
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.params import MllmParams, SegmentationParams
from headhunt_svc.types import HeadRef, Scorer
from headhunt_svc.video.opening import open_video

FPS, WIDTH, HEIGHT = 25, 1280, 720
RATE = 2_000_000  # bits a second, as cameras of this size send
LENGTH_S = 1.6
WAIT_S = 600


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture with detail at every scale, as natural ones have (amplitude 1 / frequency): uint8[h, w, 3]."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    frequency[0, 0] = 1.0
    spectrum = np.fft.fft2(rng.standard_normal((3, height, width))) / frequency
    picture = np.fft.ifft2(spectrum).real
    return np.asarray(np.clip(110 + 45 * picture / picture.std(), 0, 255).transpose(1, 2, 0), np.uint8)


def make_video(path: Path, seconds: int) -> Path:
    """A camera that stands still: a textured scene, people-sized things that move their own ways, noise of a sensor.

    Raises:
        SystemExit: it has not about the rate of such a camera, RATE: decoding would cost something else.
    """
    rng = np.random.default_rng(0)
    scene = _texture(rng, HEIGHT, WIDTH)
    things = [(_texture(rng, h, h // 2), rng.uniform(0, 6.28), rng.uniform(0.2, 0.9)) for h in range(80, 240, 16)]
    grain = [rng.normal(0, 2, (HEIGHT, WIDTH, 1)).round().astype(np.int16) for _ in range(8)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"preset": "veryfast", "maxrate": "3M", "bufsize": "2M"}
        )
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", RATE
        for i in range(seconds * FPS):
            picture = scene.copy()
            for n, (thing, phase, speed) in enumerate(things):
                height, width = thing.shape[:2]
                x = int((WIDTH - width) * (0.5 + 0.5 * np.sin(phase + speed * i / FPS)))
                y = int((HEIGHT - height) * (n + 0.5 + 0.4 * np.cos(phase + 2 * i / FPS)) / len(things))
                picture[y : y + height, x : x + width] = thing
            noisy = np.clip(picture + grain[i % len(grain)], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
        container.mux(stream.encode(None))
    rate = 8 * path.stat().st_size / seconds
    if not 0.75 * RATE < rate < 1.25 * RATE:
        raise SystemExit(f"{path} has {rate / 1e6:.2f} Mbit/s, not about {RATE / 1e6:g}")
    return path


def detector(size: Size, device: str, batch: int) -> Detector:
    """A detector of random weights that reads ten heads, the deepest in layer `size.deepest`."""
    extractor, _ = build(size, device)
    heads = tuple(HeadRef(size.deepest - i % (size.deepest + 1), i % size.heads) for i in range(min(10, size.heads)))
    scorer = Scorer(heads, np.random.default_rng(0).normal(0, 0.01, len(heads) * extractor.d_head), 0.0)
    bundle = Bundle(
        mllm=MllmParams(id="random"),
        mllm_is_local=False,
        mllm_revision="random",
        segmentation=SegmentationParams(length_s=LENGTH_S, frames_per_segment=size.frames),
        prompt=PROMPTS[0],
        calibration_prompts=tuple(PROMPTS),
        heads=tuple((h.layer, h.head) for h in heads),
        rss=(0.0,) * len(heads),
        scorer_sha256="",
        operating_points={"f1": StoredPoint(sigma_segments=1.0, threshold=0.5)},
        data={"index_sha256": ""},
        fingerprint={},
        package_version="",
    )
    return Detector(bundle, scorer, extractor, batch)


def alone(made: Detector, path: Path) -> dict[str, float]:
    """Times real time of decoding (with preprocessing) alone, and of the model alone on the same batches."""
    size = made.batch_segments
    with open_video(path) as video:
        start = time.perf_counter()
        kept: list[PixelBatch] = []
        n = 0
        for batch in pixel_batches(video, made.bundle.segmentation, made.extractor, size):
            n += len(batch.segments)
            if len(kept) < 4 and len(batch.segments) == size:
                kept.append(batch)
        decoding = n * LENGTH_S / (time.perf_counter() - start)
    reader = made.model_reader()
    reader.read(kept[0])  # warm-up
    start = time.perf_counter()
    for batch in kept:
        reader.read(batch)
    return {"decoding_x": decoding, "model_x": len(kept) * size * LENGTH_S / (time.perf_counter() - start)}


_ready: Barrier  # of the workers of one round; a process gets it when it starts


def begin(ready: Barrier) -> None:
    """In every process of a pool."""
    global _ready
    _ready = ready


def work(path: Path, name: str, device: str, batch: int) -> dict[str, float]:
    """One worker: wait for the others, detect."""
    made = detector(SIZES[name], device, batch)
    found = alone(made, path) if _ready.parties == 1 else {}
    made.detect(path.with_name("short.mp4"))
    _ready.wait(WAIT_S)
    start = time.perf_counter()
    report = made.detect(path)
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    return found | {"seconds": time.perf_counter() - start, "footage_s": report.duration_s, "gib": peak}


def main() -> None:
    """Print the table; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=8, help="segments a forward pass")
    parser.add_argument("--seconds", type=int, default=120, help="length of the video")
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    figures: dict[str, float] = {}
    table = Table("what", "hours of footage an hour", title=f"size {args.size}, batch {args.batch}")
    with tempfile.TemporaryDirectory(prefix="headhunt-throughput-") as folder:
        path = make_video(Path(folder) / "v.mp4", args.seconds)
        make_video(Path(folder) / "short.mp4", 20)
        for n in args.workers:
            with ProcessPoolExecutor(n, context, begin, (context.Barrier(n),)) as pool:
                workers = [pool.submit(work, path, args.size, args.device, args.batch) for _ in range(n)]
                found = [worker.result() for worker in workers]
            figures |= {k: v for k, v in found[0].items() if k.endswith("_x")}
            figures[f"workers_{n}_x"] = sum(f["footage_s"] for f in found) / max(f["seconds"] for f in found)
            figures["gib_a_worker"] = max(f["gib"] for f in found)
    for name in (n for n in figures if n.endswith("_x")):
        table.add_row(name.removesuffix("_x").replace("_", " "), f"{figures[name]:.2f}")
    Console().print(table)
    if torch.cuda.is_available():
        Console().print(f"{figures['gib_a_worker']:.1f} GiB of the device's memory a worker")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
