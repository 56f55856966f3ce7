"""What the distance to normal costs: scoring with it and without it, in turns, and the ratio.

    python benchmarks/normality.py                # the embedded detector: model and scorer, on rendered video
    python benchmarks/normality.py --rounds 101   # more turns, for a machine that does other work as well

Processor time, of all threads, so that other work on the machine counts little. Both read the same pictures with the
same model in every round, one after the other, in alternating order; the ratio is the median over rounds. Below that,
what a scorer alone takes for a batch (scores and what every head adds to them), also with ten heads of 128 numbers.
"""

import argparse
import json
import statistics
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from pairs import Ratio, alternate
from rich.console import Console
from rich.table import Table

from headhunt_svc.core.normality import NormalFeatures
from headhunt_svc.core.scoring import apply_scorer, contributions
from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, SEEN_KINDS, camera, surveillance
from headhunt_svc.detector.batches import PixelBatch, pixel_batches
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.scores import VideoScores
from headhunt_svc.model.extractor import VisionCache
from headhunt_svc.settings import Settings
from headhunt_svc.types import HeadRef, Normality, Scorer
from headhunt_svc.video.opening import open_video

ROOT = Path(__file__).parent.parent
LARGE = (10, 128)  # heads of an 8B model, and the numbers of each
SEGMENTS = 8


def with_distance(scorer: Scorer, d_head: int, rng: np.random.Generator) -> Scorer:
    """The scorer itself if it has a distance to normal; else with that to random features, which costs the same."""
    if scorer.normality is not None:
        return scorer
    normal = NormalFeatures.fit(rng.standard_normal((200, len(scorer.heads) * d_head)))
    return replace(scorer, normality=Normality(normal.mean, normal.precision(), 1.0))


def batches_of(detector: Detector) -> list[PixelBatch]:
    """The batches of one rendered video."""
    scene, t = surveillance(np.random.default_rng(0), SEEN_KINDS[0], camera(0))
    with tempfile.TemporaryDirectory(prefix="headhunt-normality-") as folder:
        path = Path(folder) / "clip.mp4"
        write_mp4(path, render(scene, t, 128), FPS)
        cut = detector.bundle.segmentation
        with (
            open_video(path) as video,
            closing(pixel_batches(video, cut, detector.extractor, detector.batch_segments)) as batches,
        ):
            return list(batches)


def whole(rounds: int, rng: np.random.Generator) -> dict[str, float]:
    """Model and scorer on one video, with and without the distance."""
    detector = Detector.load(ROOT / "artifacts" / "detector", Settings(device="cpu"))
    scorer = with_distance(detector.scorer, detector.extractor.d_head, rng)
    reader, batches = detector.model_reader(), batches_of(detector)

    def score(used: Scorer) -> list[np.ndarray]:
        scores = VideoScores(used)
        fresh = [PixelBatch(b.segments, b.pixels, VisionCache(b.cache.frame_s)) for b in batches]
        return [scores.add(reader.read(batch)).raw for batch in fresh]

    plain = replace(scorer, normality=None)
    times = alternate(lambda: score(scorer), lambda: score(plain), rounds)
    n_segments = sum(len(b.segments) for b in batches)
    return {
        "with_s": statistics.median(one for one, _ in times) / n_segments,
        "without_s": statistics.median(other for _, other in times) / n_segments,
        "ratio": Ratio.of(times).median,
        **alone(scorer, detector.extractor.d_head, rounds, rng),
    }


def alone(scorer: Scorer, d_head: int, rounds: int, rng: np.random.Generator) -> dict[str, float]:
    """A scorer on features of a batch, with and without the distance: seconds a segment."""
    features = rng.standard_normal((SEGMENTS, len(scorer.heads), d_head)).astype(np.float32)

    def score(used: Scorer) -> None:
        for _ in range(20):  # far above the clock's resolution
            apply_scorer(used, features.reshape(SEGMENTS, -1))
            contributions(used, features)

    times = alternate(lambda: score(scorer), lambda: score(replace(scorer, normality=None)), rounds)
    per_segment = 20 * SEGMENTS
    return {
        "alone_with_s": statistics.median(one for one, _ in times) / per_segment,
        "alone_without_s": statistics.median(other for _, other in times) / per_segment,
    }


def main() -> None:
    """Print the table; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    n_heads, d_head = LARGE
    large = Scorer(tuple(HeadRef(0, i) for i in range(n_heads)), rng.standard_normal(n_heads * d_head), 0.0)
    figures = {
        "embedded": whole(args.rounds, rng),
        "large": alone(with_distance(large, d_head, rng), d_head, args.rounds, rng),
    }
    embedded = figures["embedded"]
    table = Table("a segment, processor time", "with, ms", "without, ms", "ratio", box=None)
    rows = (
        ("embedded detector: model and scorer", embedded["with_s"], embedded["without_s"], embedded["ratio"]),
        ("  its scorer alone", embedded["alone_with_s"], embedded["alone_without_s"], None),
        (
            f"a scorer of {n_heads} x {d_head} alone",
            figures["large"]["alone_with_s"],
            figures["large"]["alone_without_s"],
            None,
        ),
    )
    for name, one, other, ratio in rows:
        table.add_row(name, f"{1e3 * one:.3f}", f"{1e3 * other:.3f}", f"{ratio or one / other:.4f}")
    Console().print(table)
    added = embedded["alone_with_s"] - embedded["alone_without_s"]
    print(f"the distance adds {1e3 * added:.4f} ms, {added / embedded['without_s']:.3%} of model and scorer")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
