"""What a description costs beside a score: seconds for each, in turn, and the medians of the turns' ratios.

    python benchmarks/describe.py                           # the embedded default, on videos that are rendered here
    python benchmarks/describe.py --size 8b --device cuda   # InternVL3-8B's architecture in bf16, for a GPU

With --size weights are random (see extraction.py), so an answer goes on to the limit: the most that it can cost. A
description is one pass over pictures and prompt, through all layers, and then a pass of one token for each further one.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import torch
from pairs import in_turn
from rich.console import Console
from rich.table import Table

from headhunt_svc.model.extractor import VisionCache
from headhunt_svc.model.generation import MAX_TOKENS, answer_tokens
from headhunt_svc.types import HeadRef

ROOT = Path(__file__).parent.parent
VOCABULARY = 151_680  # of the 8B models: the last layer before a token takes a share of its time
PROMPT = "Describe in one sentence what happens in the video."


def turns(works: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of the calls, in turn."""

    def whole(work: Callable[[], object]) -> Callable[[], None]:
        def call() -> None:
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()

        return call

    return in_turn([whole(work) for work in works], rounds, time.perf_counter)


def middle(costs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of the costs of every turn the medians, and the medians of their ratios to a scored segment of the same turn."""
    ratios = {key.replace("_s", "_ratio"): statistics.median(c[key] / c["scored_s"] for c in costs) for key in costs[0]}
    return {key: statistics.median(c[key] for c in costs) for key in costs[0]} | ratios


def random_model(name: str, device: str, rounds: int) -> dict[str, float]:
    """Seconds with an architecture of random weights: a segment of a full batch, answers of one and of most tokens."""
    from extraction import PROMPTS, SIZES, build

    size = SIZES[name]
    extractor, pixels = build(size, device, VOCABULARY)
    heads = [HeadRef(size.deepest, 0), HeadRef(size.deepest // 2, 1), HeadRef(1, 0)]

    extractor.model.generation_config.eos_token_id = extractor.tokenizer.eos_token = (
        None  # so that none ends it earlier
    )

    def describe(tokens: int) -> list[int]:
        return answer_tokens(extractor, pixels[0], PROMPT, None, tokens)

    times = turns(
        [lambda: extractor.features(pixels, PROMPTS[:1], heads), lambda: describe(1), lambda: describe(MAX_TOKENS)],
        rounds,
    )
    return middle(
        [
            {
                "scored_s": batch / len(pixels),
                "first_s": first,
                "token_s": (whole - first) / (MAX_TOKENS - 1),
                "described_s": whole,
            }
            for batch, first, whole in times
        ]
    )


def embedded(device: str, rounds: int) -> dict[str, float]:
    """Seconds with the embedded default: scored segments, and the descriptions of the events that it finds."""
    import tempfile

    import numpy as np

    from headhunt_svc.demo.corpus import write_mp4
    from headhunt_svc.demo.rendering import render
    from headhunt_svc.demo.scenes import FPS, SEEN_KINDS, camera, surveillance
    from headhunt_svc.detector.batches import PixelBatch, pixel_batches
    from headhunt_svc.detector.describing import EventPeaks
    from headhunt_svc.detector.pipeline import Detector
    from headhunt_svc.detector.scores import VideoScores
    from headhunt_svc.params import load_params
    from headhunt_svc.settings import Settings
    from headhunt_svc.video.opening import open_video

    detector = Detector.load(ROOT / "artifacts" / "detector", Settings(device=device), whole=True)
    reader, peaks = detector.model_reader(), []
    prompt = load_params(ROOT / "params.yaml").prompts.describe
    batches: list[PixelBatch] = []
    with tempfile.TemporaryDirectory(prefix="headhunt-describe-") as folder:
        for i, kind in enumerate(SEEN_KINDS):
            scene, t = surveillance(np.random.default_rng(i), kind, camera(i))
            path = Path(folder) / f"{kind}.mp4"
            write_mp4(path, render(scene, t, 128), FPS)
            ends, scores = EventPeaks(detector.operating_point()), VideoScores(detector.scorer)
            with (
                open_video(path) as video,
                closing(
                    pixel_batches(video, detector.bundle.segmentation, detector.extractor, detector.batch_segments)
                ) as all_batches,
            ):
                for batch in all_batches:
                    peaks += ends.add(batch, scores.add(reader.read(batch)).raw)
                    batches.append(batch)
            peaks += ends.finish(batch.cache)
    if not peaks:
        raise SystemExit("the detector found no event, so there is nothing to describe")

    def fresh(batch: PixelBatch) -> PixelBatch:
        return PixelBatch(batch.segments, batch.pixels, VisionCache(batch.cache.frame_s))

    def describe(tokens: int) -> list[int]:
        return [len(answer_tokens(detector.extractor, p.pixels[0], prompt, p.cache, tokens)) for p in peaks]

    times = turns(
        [lambda: [reader.read(fresh(b)) for b in batches], lambda: describe(1), lambda: describe(MAX_TOKENS)], rounds
    )
    n_segments, n_tokens = sum(len(b.segments) for b in batches), describe(MAX_TOKENS)
    costs = middle(
        [
            {
                "scored_s": score / n_segments,
                "first_s": first / len(peaks),
                "token_s": (whole - first) / max(sum(n_tokens) - len(peaks), 1),
                "described_s": whole / len(peaks),
            }
            for score, first, whole in times
        ]
    )
    return costs | {
        "tokens": statistics.mean(n_tokens),
        "events": len(peaks),
        "segments": n_segments,
    }


def main() -> None:
    """Print the table; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", help="an architecture of extraction.py: tiny, small, 8b; default: the embedded model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures = random_model(args.size, args.device, args.rounds) if args.size else embedded(args.device, args.rounds)
    n = figures.get("tokens", MAX_TOKENS)
    table = Table("what", "seconds", "scored segments", title=f"{args.size or 'embedded model'}")
    for key, what in (
        ("scored_s", "a scored segment"),
        ("first_s", "a description: pictures, prompt, first token"),
        ("token_s", "each further token"),
        ("described_s", f"a description of {n:.3g} tokens"),
    ):
        table.add_row(what, f"{figures[key]:.4f}", f"{figures[key.replace('_s', '_ratio')]:.2f}")
    if torch.cuda.is_available():
        figures["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
        print(torch.cuda.get_device_name(), f"peak {figures['peak_mib']:.0f} MiB")
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
