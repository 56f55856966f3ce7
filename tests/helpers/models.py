"""Tiny real models of every supported family, built from configuration alone, with sharp attention.

Random weights at the usual scale attend almost evenly, so that a wrong mask or position would hardly show: queries and
keys are enlarged, norms and biases made uneven.
"""

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import FAMILIES

PROMPTS = (
    "what happens in the video?",
    "describe the scene.",
    "watch the clip carefully and summarise what is going on.",
    "what are the people doing?",
    "what is unusual?",
    "is somebody in danger?",
    "name every event, one after the other.",
    "hm",
)
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'video' %}VIDEO{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN = [*CHATML, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
LAYOUT = {  # special tokens, what the chat template writes for a video
    "internvl": ([*CHATML, "<img>", "</img>", "<IMG_CONTEXT>", "<video>"], "<video>\n"),
    "qwen2_5_vl": (QWEN, "<|vision_start|><|video_pad|><|vision_end|>"),
    "qwen3_vl": (QWEN, "<|vision_start|><|video_pad|><|vision_end|>"),
    "llava_onevision": ([*CHATML, "<image>", "<video>"], "<video>\n"),
}
LAYERS, HEADS, KV_HEADS, D_HEAD, WIDTH = 4, 6, 2, 16, 64
VISION_WIDTH, SIDE, PATCH = 32, 56, 14


def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE of a few hundred tokens."""
    special, video = LAYOUT[family]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*PROMPTS, "user assistant Frame1: 0.5 seconds"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    fast.chat_template = CHAT.replace("VIDEO", video)
    return fast


def config_of(family: str, ids: PreTrainedTokenizerFast) -> Any:
    """The configuration of a tiny model of a family."""
    text: dict[str, Any] = {
        "vocab_size": 512,
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": D_HEAD,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
    }
    vision: dict[str, Any] = {"hidden_size": VISION_WIDTH, "intermediate_size": 64, "num_attention_heads": 2}

    def token(name: str) -> int:
        return int(ids.convert_tokens_to_ids(name))

    if family == "internvl":
        vision |= {"num_hidden_layers": 2, "image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH]}
        return transformers.InternVLConfig(
            vision_config=vision,
            text_config={"model_type": "qwen2", **text},
            image_token_id=token("<IMG_CONTEXT>"),
            image_seq_length=4,
            downsample_ratio=0.5,
        )
    if family == "llava_onevision":
        vision |= {"model_type": "siglip_vision_model", "num_hidden_layers": 2, "image_size": SIDE, "patch_size": PATCH}
        return transformers.LlavaOnevisionConfig(
            vision_config={**vision, "vision_use_head": False},
            text_config={"model_type": "qwen2", **text},
            image_token_id=token("<image>"),
            video_token_id=token("<video>"),
            image_grid_pinpoints=[[SIDE, SIDE]],
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        )
    text["rope_parameters"] |= {"mrope_section": [2, 3, 3]}
    tokens = {
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
    }
    qwen = {
        "depth": 2,
        "hidden_size": VISION_WIDTH,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "patch_size": PATCH,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    if family == "qwen2_5_vl":
        text["head_dim"] = None  # this family has none of its own: width // heads
        text |= {"num_attention_heads": 4, "num_key_value_heads": 2}
        del text["head_dim"]
        windows = {"window_size": 56, "fullatt_block_indexes": [1], "tokens_per_second": 2}
        return transformers.Qwen2_5_VLConfig(text_config=text, vision_config={**qwen, **windows}, **tokens)
    text["rope_parameters"] |= {"mrope_interleaved": True}
    deep = {"num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
    return transformers.Qwen3VLConfig(text_config=text, vision_config={**qwen, **deep}, **tokens)


def sharpen(model: torch.nn.Module, seed: int) -> None:
    """Attention that prefers some tokens clearly, norms and biases that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
                p.mul_(6)
            elif "norm" in name and name.endswith("weight"):
                p.add_(0.2 * torch.randn(p.shape, generator=generator))
            elif name.endswith("bias"):
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
            elif p.dim() >= 2:
                p.mul_(2)


def tiny(family: str, seed: int = 0, attention: str = "sdpa") -> Extractor:
    """A frozen tiny model of a family, ready to be read."""
    torch.manual_seed(seed)
    tokenizer = tokenizer_of(family)
    cls = getattr(transformers, FAMILIES[family].model_class)
    model = cls._from_config(config_of(family, tokenizer), attn_implementation=attention, dtype=torch.float32)
    sharpen(model, seed)
    preprocessing = {"min_pixels": SIDE * SIDE, "max_pixels": 84 * 84}
    return Extractor(model, tokenizer, FAMILIES[family], torch.device("cpu"), preprocessing, frame_s=0.2)
