"""What a segment costs with SmolVLM2 on a CPU, to see whether footage of one's own can be tried without a GPU.

    python benchmarks/laptop.py --size 500m --frames 16

Random weights in the architecture of the checkpoint: time and memory do not depend on what they say. CPU seconds are of
all threads together, so that other work on the machine hardly counts: divided by the cores that are free, they are
seconds.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
import transformers
from peak import peak_bytes
from rich.console import Console
from rich.table import Table

from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import family_of
from headhunt_svc.model.parity import PROMPTS, byte_tokenizer
from headhunt_svc.types import HeadRef

SPECIAL = ("<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>")


@dataclass(frozen=True, slots=True)
class Size:
    """The architecture of a checkpoint of SmolVLM2."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vision_hidden: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    vision_intermediate: int = 3072
    image: int = 512
    patch: int = 16
    scale: int = 4


SIZES = {
    "256m": Size(576, 30, 9, 3, 1536),
    "500m": Size(960, 32, 15, 5, 2560),
    "2.2b": Size(2048, 24, 32, 32, 8192, 1152, 27, 16, 4304, 384, 14, 3),
}


def build(size: Size) -> Extractor:
    """A frozen random model."""
    tokenizer = byte_tokenizer(SPECIAL, "")
    config = transformers.SmolVLMConfig(
        vision_config={
            "hidden_size": size.vision_hidden,
            "intermediate_size": size.vision_intermediate,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": size.vision_heads,
            "image_size": size.image,
            "patch_size": size.patch,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": 49280,
            "hidden_size": size.hidden,
            "intermediate_size": size.intermediate,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.kv_heads,
            "max_position_embeddings": 8192,
            "pad_token_id": 0,
            "bos_token_id": None,
            "eos_token_id": 2,
        },
        image_token_id=tokenizer.get_vocab()["<image>"],
        scale_factor=size.scale,
    )
    torch.manual_seed(0)
    model = transformers.SmolVLMForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    preprocessing = {"video_sampling": {"video_size": {"longest_edge": size.image}}}
    family = family_of("smolvlm", "the random model")
    return Extractor(model, tokenizer, family, torch.device("cpu"), preprocessing, frame_s=0.1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="500m")
    parser.add_argument("--frames", type=int, default=16, help="frames a segment")
    args = parser.parse_args()
    extractor = build(SIZES[args.size])
    pictures = np.random.default_rng(0).integers(0, 256, (args.frames, 360, 640, 3), dtype=np.uint8)
    pixels = extractor.preprocess(pictures)[None]
    tokens = len(extractor.token_ids(PROMPTS[0], extractor.clip(pixels)))
    deep = extractor.n_layers * 3 // 4
    table = Table("prompts", "CPU s/segment", "s/segment", title=f"{args.size}: {args.frames} frames, {tokens} tokens")
    for n_prompts in (1, 4):
        wall, cpu = time.perf_counter(), time.process_time()
        extractor.features(pixels, PROMPTS[:n_prompts], [HeadRef(deep, 0)] if n_prompts == 1 else None)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        table.add_row(str(n_prompts), f"{cpu:.1f}", f"{wall:.1f}")
    console = Console()
    console.print(table)
    console.print(f"peak {peak_bytes() / 2**30:.1f} GiB on {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
