"""Side by side in one run: reading heads the textbook way and with this package's engine, on the same weights.

    python benchmarks/extraction.py --size small                 # minutes on 2 cores
    python benchmarks/extraction.py --size 8b --json out.json    # InternVL3-8B's architecture in bf16, for a GPU
    python benchmarks/extraction.py --keep-tokens 0.5            # half of the visual tokens beside all
    python benchmarks/extraction.py --compile                    # compiled layers beside eager ones
    python benchmarks/extraction.py --dtype int8                 # an 8-bit decoder beside the number format of the size
    python benchmarks/extraction.py --plain                      # our engine alone, online

Options that say how the engine reads may be given together. Weights are random: time, memory and parity do not depend
on what they say. Ratios are of rounds in which all ways take their turn.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from apart import apart
from peak import peak_bytes
from rich.console import Console
from rich.table import Table
from transformers import InternVLConfig, InternVLForConditionalGeneration

from headhunt_svc.demo.model import build_tokenizer
from headhunt_svc.errors import ModelError
from headhunt_svc.model.attribution import attribute
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import family_of
from headhunt_svc.model.flops import segment_flops
from headhunt_svc.model.loading import pick_device
from headhunt_svc.model.parity import reference_features
from headhunt_svc.model.quantisation import QUANTISED, base_dtype, check_device, configuration, quantise
from headhunt_svc.types import HeadRef, Scorer

PROMPTS = [
    "what happens in the video?",
    "describe the scene.",
    "what are the people doing?",
    "watch the clip carefully and summarise what is going on.",
    "is somebody in danger?",
    "how many people are visible?",
    "which way do people move?",
    "name every event, one after the other.",
]


@dataclass(frozen=True)
class Size:
    """An architecture of the InternVL family and how much of it to run."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    vision_layers: int
    vision_hidden: int
    vision_heads: int
    image: int
    frames: int
    segments: int
    deepest: int  # layers of which expert heads are wanted: 0 to deepest
    dtype: str


SIZES = {
    "tiny": Size(4, 64, 4, 2, 128, 1, 32, 2, 56, 4, 2, 2, "float32"),
    "small": Size(28, 512, 8, 2, 1408, 4, 256, 4, 224, 16, 2, 22, "float32"),
    "8b": Size(28, 3584, 28, 4, 18944, 24, 1024, 16, 448, 16, 8, 22, "bfloat16"),
}


@dataclass(frozen=True)
class Engine:
    """How our engine reads; where a value is None, as the size says. deepest: the last layer with a wanted head."""

    keep_tokens: float = 1.0
    compiled: bool = False
    dtype: str | None = None
    deepest: int | None = None

    @property
    def name(self) -> str:
        """For keys of figures."""
        share = {0.5: "half", 0.25: "quarter"}.get(self.keep_tokens, f"{self.keep_tokens:g}")
        words = [
            "compiled" if self.compiled else "",
            self.dtype or "",
            f"keep_tokens_{share}" if self.keep_tokens != 1 else "",
            f"deepest_{self.deepest}" if self.deepest is not None else "",
        ]
        return "_".join(word for word in words if word) or "plain"


PLAIN = Engine()


@dataclass(frozen=True)
class Way:
    """One way of reading heads: "textbook", or our engine for one use of it."""

    kind: str = "online"
    n_prompts: int = 1
    engine: Engine = PLAIN


def build(
    size: Size, device: str, vocabulary: int | None = None, engine: Engine = PLAIN
) -> tuple[Extractor, torch.Tensor]:
    """A frozen random model and pixels uint8[segment, frame, 3, h, w]. vocabulary: the tokenizer's unless given."""
    name, target = engine.dtype or size.dtype, pick_device(device)
    check_device(name, target)
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = InternVLConfig(
        vision_config={
            "hidden_size": size.vision_hidden,
            "intermediate_size": 4 * size.vision_hidden,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": size.vision_heads,
            "image_size": [size.image, size.image],
            "patch_size": [14, 14],
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": vocabulary or len(tokenizer),
            "hidden_size": size.hidden,
            "intermediate_size": size.intermediate,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.kv_heads,
            "max_position_embeddings": 32768,
            "pad_token_id": 0,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        },
        image_token_id=tokenizer.encode("<IMG_CONTEXT>", add_special_tokens=False)[0],
        image_seq_length=(size.image // 14) ** 2 // 4,
        downsample_ratio=0.5,
    )
    with torch.device(target):
        model = InternVLForConditionalGeneration._from_config(
            config, attn_implementation="sdpa", dtype=base_dtype(name, target)
        )
    quantised = name if name in QUANTISED else None
    if quantised:
        quantise(model, configuration(name), target)
    family = family_of("internvl", "the random model")
    extractor = Extractor(model, tokenizer, family, target, {}, 0.1, quantised, engine.keep_tokens, engine.compiled)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (size.segments, size.frames, size.image, size.image, 3), dtype=np.uint8)
    return extractor, torch.stack([extractor.preprocess(p) for p in pictures])


def wanted(way: Way, size: Size, extractor: Extractor) -> list[HeadRef]:
    """The heads that a way gives, in its order."""
    deepest = size.deepest if way.engine.deepest is None else way.engine.deepest
    if way.kind in ("textbook", "offline"):
        return list(extractor.heads)
    if way.kind == "offline truncated":
        return [h for h in extractor.heads if h.layer <= deepest]
    return [HeadRef(deepest, 0), HeadRef(deepest // 2, 1), HeadRef(1, 0)]


def read(way: Way, size: Size, extractor: Extractor, pixels: torch.Tensor, batch: int) -> np.ndarray:
    """Features of the wanted heads; ends with a copy to the host."""
    prompts, heads = PROMPTS[: way.n_prompts], wanted(way, size, extractor)
    if way.kind == "textbook":
        return reference_features(extractor, list(pixels), prompts)
    if way.kind == "online, explained":
        scorer = Scorer(tuple(heads), np.ones(len(heads) * extractor.d_head), 0.0)
        parts = [np.stack([attribute(extractor, part, prompts[0], scorer)[0]]) for part in pixels.split(batch)]
    else:
        parts = [extractor.features(part, prompts, heads) for part in pixels.split(batch)]
    return np.concatenate(parts, 1)


def once(way: Way, size: Size, device: str, batch: int) -> tuple[float, list[int], np.ndarray]:
    """Peak memory in MiB, which heads of all, and their features."""
    extractor, pixels = build(size, device, engine=way.engine)
    features = read(way, size, extractor, pixels, batch)
    peak = torch.cuda.max_memory_allocated() if extractor.device.type == "cuda" else peak_bytes()
    every = list(extractor.heads)
    return peak / 2**20, [every.index(h) for h in wanted(way, size, extractor)], features


@dataclass(frozen=True)
class Turns:
    """What the ways took, in the order of the ways.

    seconds: a segment, in each round. first_s: of the first pass, in which kernels are chosen and layers compiled.
    weights: bytes. flops: of a segment, as far as it runs online. not_compiled: why not, of those that should be.
    """

    seconds: list[list[float]]
    first_s: list[float]
    weights: list[int]
    flops: list[float]
    not_compiled: list[list[str]]

    def ratios(self, i: int) -> list[float]:
        """How much faster than the first way, in each round, sorted."""
        return sorted(base / own for base, own in zip(self.seconds[0], self.seconds[i], strict=True))

    def median(self, i: int) -> float:
        """Seconds a segment."""
        return statistics.median(self.seconds[i])


def stored_bytes(tensor: torch.Tensor) -> int:
    """Bytes of a weight, of all its parts if it is quantised."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return tensor.nbytes
    return sum(stored_bytes(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])


def online_flops(engine: Engine, size: Size, extractor: Extractor, pixels: torch.Tensor) -> float:
    """Multiplications and additions of a segment under one prompt, of the layers that really run."""
    deepest = size.deepest if engine.deepest is None else engine.deepest
    flops = segment_flops(extractor, extractor.clip(pixels), PROMPTS[0], deepest, engine.keep_tokens)
    assert flops.total is not None
    return flops.total


def take_turns(
    ways: Sequence[Way], size: Size, device: str, batch: int, rounds: int, clock: Callable[[], float]
) -> Turns:
    """Time the ways in turn; before the first round that counts each has had a pass."""
    models: dict[Engine, tuple[Extractor, torch.Tensor]] = {}
    for way in ways:
        engine = replace(way.engine, deepest=None)
        models[engine] = models.get(engine) or build(size, device, engine=engine)
    mine = [models[replace(way.engine, deepest=None)] for way in ways]

    def timed(way: Way, extractor: Extractor, pixels: torch.Tensor) -> float:
        start = clock()
        read(way, size, extractor, pixels, batch)
        return (clock() - start) / len(pixels)

    first = [
        timed(way, extractor, pixels[: 1 if way.kind == "textbook" else batch])
        for way, (extractor, pixels) in zip(ways, mine, strict=True)
    ]
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for own, way, (extractor, pixels) in zip(seconds, ways, mine, strict=True):
            own.append(timed(way, extractor, pixels))
    return Turns(
        seconds,
        first,
        [sum(stored_bytes(p) for p in extractor.model.parameters()) for extractor, _ in mine],
        [online_flops(way.engine, size, *model) for way, model in zip(ways, mine, strict=True)],
        [extractor.compiled.reasons if extractor.compiled else [] for extractor, _ in mine],
    )


def matmul_ceiling(device: str, dtype: str) -> float:
    """Measured TFLOP/s of a large matrix product on the device."""
    n = 8192 if pick_device(device).type == "cuda" else 1024
    a = torch.randn(n, n, device=pick_device(device), dtype=getattr(torch, dtype))
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(10):
            a @ a
        if a.is_cuda:
            torch.cuda.synchronize()
        best = max(best, 10 * 2 * n**3 / (time.perf_counter() - start) / 1e12)
    return best


def card_figures(seconds: float, flops: float, ceiling: float) -> dict[str, float]:
    """What a time for a segment means: cameras, and the share of the device's measured ceiling in TFLOP/s."""
    return {
        "segments_per_s": 1 / seconds,
        "cameras": 48 / 30 / seconds,  # of 30 fps, with 48 frames a segment
        "share_of_matmul": flops / seconds / 1e12 / ceiling,
    }


def compare(
    engine: Engine,
    size: Size,
    device: str,
    batch: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    ceiling: float | None = None,
    limit_s: float | None = None,
) -> dict[str, Any]:
    """Figures of the engine online, beside the plain engine if it is another; ceiling: of the device, in TFLOP/s."""
    ways = [Way(), *([Way(engine=engine)] if engine != PLAIN else [])]
    turns = apart(partial(take_turns, ways, size, device, batch, rounds, clock), limit_s)
    figures: dict[str, Any] = {}
    for i, way in enumerate(ways):
        name = way.engine.name
        figures |= {
            f"online_{name}_s": turns.median(i),
            f"first_pass_{name}_s": turns.first_s[i] * min(batch, size.segments),
            f"weights_{name}_mib": turns.weights[i] / 2**20,
        }
        if i:
            ratios = turns.ratios(i)
            figures |= {f"ratio_{name}": statistics.median(ratios), f"ratios_{name}": ratios}
        if ceiling is not None:
            own = card_figures(turns.median(i), turns.flops[i], ceiling)
            figures |= {f"{key}_{name}": value for key, value in own.items()}
        if reasons := turns.not_compiled[i]:
            figures["eager_because"] = reasons
    return figures


def device_figures(device: str, size: Size) -> dict[str, Any]:
    """Name and measured ceiling of the device."""
    cuda = pick_device(device).type == "cuda"
    ceiling = apart(partial(matmul_ceiling, device, size.dtype))
    return {"card": torch.cuda.get_device_name() if cuda else "none", "matmul_tflops": ceiling}


def print_comparison(engine: Engine, figures: dict[str, Any], title: str, console: Console) -> None:
    """Table of a comparison."""
    table = Table("engine", "s/segment", "ratio (lowest, median, highest)", "weights MiB", "first pass s", title=title)
    for name in dict.fromkeys((PLAIN.name, engine.name)):
        ratios = figures.get(f"ratios_{name}", [1.0])
        spread = "  ".join(f"{x:.2f}" for x in (ratios[0], statistics.median(ratios), ratios[-1]))
        row = (figures[f"online_{name}_s"], figures[f"weights_{name}_mib"], figures[f"first_pass_{name}_s"])
        table.add_row(name, f"{row[0]:.3f}", spread, f"{row[1]:.0f}", f"{row[2]:.1f}")
    console.print(table)
    for reason in figures.get("eager_because", ()):
        console.print(f"not compiled: {reason}", markup=False)


def against_textbook(
    numbers: Sequence[int], size: Size, device: str, batch: int, rounds: int, clock: Callable[[], float], title: str
) -> dict[str, Any]:
    """Print the table of all ways for these numbers of prompts; their figures."""
    figures: dict[str, Any] = {}
    table = Table("M", "way", "s/segment", "ratio", "(lowest, highest)", "peak MiB", "parity (max abs)", title=title)
    for m in numbers:
        kinds = ["textbook", "offline", "offline truncated", *(["online", "online, explained"] if m == 1 else [])]
        ways = [Way(kind, m) for kind in kinds]
        turns = apart(partial(take_turns, ways, size, device, batch, rounds, clock))
        results = [apart(partial(once, way, size, device, batch)) for way in ways]
        flops_online, expected = turns.flops[0], results[0][2]
        for i, (way, (peak, columns, features)) in enumerate(zip(ways, results, strict=True)):
            seconds, ratios = turns.median(i), turns.ratios(i)
            key = "_".join([*way.kind.replace(",", "").split(), f"m{m}"])
            key = key.replace("offline_truncated_m8", "offline_m8_truncated")
            ratio = statistics.median(ratios)
            figures |= {f"{key}_s": seconds, f"{key}_mib": peak} | ({f"ratio_{key}": ratio} if i else {})
            parity = float(np.abs(features - expected[:, :, columns]).max())
            figures["parity_max_abs"] = max(figures.get("parity_max_abs", 0.0), parity)
            spread, off = (f"{ratios[0]:.2f}  {ratios[-1]:.2f}", f"{parity:.1e}") if i else ("", "")
            table.add_row(str(m), way.kind, f"{seconds:.3f}", f"{ratio:.2f}", spread, f"{peak:.0f}", off)
    Console().print(table)
    if pick_device(device).type == "cuda" and 1 in numbers:
        figures |= device_figures(device, size)
        figures |= card_figures(figures["online_m1_s"], flops_online, figures["matmul_tflops"])
        Console().print({k: v for k, v in figures.items() if not k.startswith(("textbook", "offline"))})
    return figures


def main() -> None:
    """Print the table; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=1, help="segments a forward pass of the engine")
    parser.add_argument("--rounds", type=int, help="default: 3 against the textbook way, else 7")
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 2, 8], help="numbers of prompts of the table")
    parser.add_argument("--cpu-time", action="store_true", help="of all threads, where the machine has other work")
    parser.add_argument("--keep-tokens", type=float, default=1.0, help="share of the visual tokens")
    parser.add_argument("--compile", action="store_true", help="compile layers")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", *QUANTISED], help="of the decoder")
    parser.add_argument("--deepest", type=int, help="the deepest layer with a wanted head")
    parser.add_argument("--plain", action="store_true", help="our engine alone, online")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    size, clock = SIZES[args.size], time.process_time if args.cpu_time else time.perf_counter
    engine = Engine(args.keep_tokens, args.compile, args.dtype, args.deepest)
    title = f"size {args.size}" + (", processor time" if args.cpu_time else "")
    if engine != PLAIN or args.plain:
        try:
            check_device(args.dtype or size.dtype, pick_device(args.device))
        except ModelError as exc:
            parser.error(str(exc))
        figures = device_figures(args.device, size) if pick_device(args.device).type == "cuda" else {}
        ceiling = figures.get("matmul_tflops")
        figures |= compare(engine, size, args.device, args.batch, args.rounds or 7, clock, ceiling)
        print_comparison(engine, figures, f"{title}, online", Console())
    else:
        figures = against_textbook(args.prompts, size, args.device, args.batch, args.rounds or 3, clock, title)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if "eager_because" in figures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
