"""Side by side in one run: reading heads the textbook way and with this package's engine, on the same weights.

    python benchmarks/extraction.py --size small                 # minutes on 2 cores
    python benchmarks/extraction.py --size 8b --json out.json    # InternVL3-8B's architecture in bf16, for a GPU
    python benchmarks/extraction.py --keep-tokens 0.5            # half of the visual tokens beside all, in turn

Weights are random: time, memory and parity do not depend on what they say. Each way runs in a process of its own, so
that its peak memory is its own.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from peak import peak_bytes
from rich.console import Console
from rich.table import Table

from headhunt_svc.demo.model import build_tokenizer
from headhunt_svc.model.attribution import attribute
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import family_of
from headhunt_svc.model.loading import pick_device
from headhunt_svc.model.parity import reference_features
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


def build(size: Size, device: str, vocabulary: int = 1024) -> tuple[Extractor, torch.Tensor]:
    """A frozen random model and pixels float[segment, frame, 3, h, w]."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = transformers.InternVLConfig(
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
            "vocab_size": vocabulary,
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
    with torch.device(pick_device(device)):
        model = transformers.InternVLForConditionalGeneration._from_config(
            config, attn_implementation="sdpa", dtype=getattr(torch, size.dtype)
        )
    extractor = Extractor(
        model, tokenizer, family_of("internvl", "the random model"), pick_device(device), {}, frame_s=0.1
    )
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (size.segments, size.frames, size.image, size.image, 3), dtype=np.uint8)
    return extractor, torch.stack([extractor.preprocess(p) for p in pictures])


def run(name: str, size: Size, n_prompts: int, device: str, batch: int, queue: Any) -> None:
    """One way, timed after a warm-up on one batch: seconds a segment, peak memory, features of all heads it gives."""
    extractor, pixels = build(size, device)
    prompts = PROMPTS[:n_prompts]
    deep = [h for h in extractor.heads if h.layer <= size.deepest]
    expert = [HeadRef(size.deepest, 0), HeadRef(size.deepest // 2, 1), HeadRef(1, 0)]
    heads = {"offline": None, "offline truncated": deep, "online": expert, "online, explained": expert}

    def go(part: torch.Tensor) -> np.ndarray:
        if name == "online, explained":
            scorer = Scorer(tuple(expert), np.ones(len(expert) * extractor.d_head), 0.0)
            return np.stack([attribute(extractor, part, prompts[0], scorer)[0]])
        if name == "textbook":
            return reference_features(extractor, list(part), prompts)
        return np.concatenate([extractor.features(p, prompts, heads[name]) for p in part.split(batch)], 1)

    def settled() -> float:
        if extractor.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    go(pixels[: 1 if name == "textbook" else batch])  # kernels are chosen by shape
    start = settled()
    found = go(pixels)
    seconds = (settled() - start) / len(pixels)
    if extractor.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = peak_bytes() / 2**20
    of = list(extractor.heads)
    columns = [of.index(h) for h in (heads.get(name) or of)] if name != "textbook" else list(range(len(of)))
    queue.put((seconds, peak, columns, found))


def fewer(share: float, size: Size, device: str, batch: int, rounds: int, queue: Any) -> None:
    """Seconds a segment, online, with a share of the visual tokens and with all, in turn; the ratio of each pair."""
    extractor, pixels = build(size, device)
    expert = [HeadRef(size.deepest, 0), HeadRef(size.deepest // 2, 1), HeadRef(1, 0)]
    seconds: dict[float, list[float]] = {1.0: [], share: []}
    for _ in range(rounds + 1):
        for keep_tokens, times in seconds.items():
            extractor.keep_tokens = keep_tokens
            start = time.perf_counter()
            for part in pixels.split(batch):
                extractor.features(part, PROMPTS[:1], expert)  # ends with a copy to the host
            times.append((time.perf_counter() - start) / len(pixels))
    pairs = list(zip(seconds[1.0][1:], seconds[share][1:], strict=True))  # the first round chooses kernels
    queue.put((*(statistics.median(times) for times in zip(*pairs, strict=True)), sorted(a / b for a, b in pairs)))


def measure_fewer(share: float, size: Size, device: str, batch: int, rounds: int) -> tuple[float, float, list[float]]:
    """`fewer` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=fewer, args=(share, size, device, batch, rounds, queue))
    process.start()
    result: tuple[float, float, list[float]] = queue.get()
    process.join()
    return result


def measure(
    name: str, size: Size, n_prompts: int, device: str, batch: int
) -> tuple[float, float, list[int], np.ndarray]:
    """`run` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=run, args=(name, size, n_prompts, device, batch, queue))
    process.start()
    result: tuple[float, float, list[int], np.ndarray] = queue.get()
    process.join()
    return result


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


def flops(size: Size, prompt_tokens: int) -> float:
    """Multiplications and additions of one segment under one prompt, matrices of all layers and attention."""
    visual = size.frames * (size.image // 14) ** 2
    vision = size.vision_layers * (
        visual * 2 * (4 + 8) * size.vision_hidden**2 + 4 * visual * (size.image // 14) ** 2 * size.vision_hidden
    )
    head = size.hidden // size.heads
    per_token = 2 * size.hidden * (2 * size.hidden + 2 * size.kv_heads * head + 3 * size.intermediate)
    tokens = visual // 4 + prompt_tokens
    return vision + (size.deepest + 1) * (tokens * per_token + 2 * tokens**2 * size.hidden)


def main() -> None:
    """Print the table; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=1, help="segments a forward pass of the engine")
    parser.add_argument("--keep-tokens", type=float, help="compare this share of the visual tokens with all, and end")
    parser.add_argument("--rounds", type=int, default=7, help="of --keep-tokens")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    size, console = SIZES[args.size], Console()
    figures: dict[str, float] = {}
    if args.keep_tokens:
        full, part, ratios = measure_fewer(args.keep_tokens, size, args.device, args.batch, args.rounds)
        table = Table(
            "visual tokens", "s/segment", "ratio (lowest, median, highest)", title=f"size {args.size}, online"
        )
        table.add_row("all", f"{full:.3f}", "1.00")
        middle = statistics.median(ratios)
        table.add_row(f"{args.keep_tokens:g}", f"{part:.3f}", f"{ratios[0]:.2f}  {middle:.2f}  {ratios[-1]:.2f}")
        console.print(table)
        name = {0.5: "half", 0.25: "quarter"}.get(args.keep_tokens, f"{args.keep_tokens:g}")
        figures = {f"ratio_keep_tokens_{name}": middle, "online_all_s": full, f"online_{name}_s": part}
        if args.json:
            args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        return
    table = Table("M", "way", "s/segment", "ratio", "peak MiB", "parity (max abs)", title=f"size {args.size}")
    for m in (1, 2, 8):
        base, base_peak, _, expected = measure("textbook", size, m, args.device, args.batch)
        table.add_row(str(m), "textbook", f"{base:.3f}", "1.00", f"{base_peak:.0f}", "")
        figures |= {f"textbook_m{m}_s": base, f"textbook_m{m}_mib": base_peak}
        for name in ["offline", "offline truncated", *(["online", "online, explained"] if m == 1 else [])]:
            seconds, peak, columns, found = measure(name, size, m, args.device, args.batch)
            parity = float(np.abs(found - expected[:, :, columns]).max())
            key = "_".join([*name.replace(",", "").split(), f"m{m}"])
            key = key.replace("offline_truncated_m8", "offline_m8_truncated")
            figures |= {f"ratio_{key}": base / seconds, f"{key}_s": seconds, f"{key}_mib": peak}
            figures["parity_max_abs"] = max(figures.get("parity_max_abs", 0.0), parity)
            table.add_row(str(m), name, f"{seconds:.3f}", f"{base / seconds:.2f}", f"{peak:.0f}", f"{parity:.1e}")
    console.print(table)
    if torch.cuda.is_available() and args.device != "cpu":
        per_s = 1 / figures["online_m1_s"]
        ceiling = matmul_ceiling(args.device, size.dtype)
        figures |= {
            "segments_per_s": per_s,
            "streams_30fps_48_frames": per_s * 48 / 30,
            "matmul_tflops": ceiling,
            "share_of_matmul": per_s * flops(size, 60) / 1e12 / ceiling,
        }
        console.print({k: round(v, 3) for k, v in figures.items() if not k.startswith(("textbook", "offline"))})
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
