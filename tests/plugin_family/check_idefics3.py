"""Checks the family on a tiny random model of it: python check_idefics3.py"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import Idefics3Config, Idefics3ForConditionalGeneration
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor

from headhunt_svc.model.families import family_of
from headhunt_svc.model.parity import CHAT, Processor, byte_tokenizer, check_family, sharpen

SIDE, PATCH, SCALE = 56, 14, 2

template = CHAT.replace("== 'video'", "== 'image'").replace("VIDEO", "<image>")  # as those on the hub: pictures only
tokenizer = byte_tokenizer(["<fake_token_around_image>", "<global-img>", "<image>"], template)
config = Idefics3Config(
    vision_config={
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
    },
    text_config={
        "model_type": "llama",
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 2,
    },
    image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    scale_factor=SCALE,
)


def picture(pixels: np.ndarray) -> torch.Tensor:
    """What the image processor makes of a picture that it does not cut into tiles."""
    processor = Idefics3ImageProcessorPil(do_image_splitting=False, max_image_size={"longest_edge": SIDE})
    size = {"height": SIDE, "width": SIDE}
    return torch.as_tensor(processor(pixels, size=size, resample=3, return_tensors="pt")["pixel_values"])


def text(clip: Any, pixels: torch.Tensor) -> str:
    """What the processor writes for a row of pictures; it cannot be built whole without torchvision."""
    processor: Any = SimpleNamespace(
        image_seq_len=(SIDE // PATCH // SCALE) ** 2,
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_tag="<global-img>",
    )
    whole = {"rows": [[0] * clip.n_frames], "cols": [[0] * clip.n_frames]}
    return "".join(Idefics3Processor.replace_image_token(processor, whole, i) for i in range(clip.n_frames))


torch.manual_seed(0)
model = sharpen(Idefics3ForConditionalGeneration(config))
family = family_of("idefics3", "a tiny model")  # found by its entry point
check_family(family, model, tokenizer, Processor(picture, text))
print(f"{family.name} is in parity")
