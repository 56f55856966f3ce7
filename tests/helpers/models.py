"""Tiny real models of every supported family, built from configuration alone, with sharp attention."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast

from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import family_of
from headhunt_svc.model.parity import CHAT, PROMPTS, byte_tokenizer, sharpen

__all__ = ["PROMPTS", "TINY", "config_of", "model_type_of", "tiny", "tokenizer_of"]

QWEN = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
INTERNVL = (["<img>", "</img>", "<IMG_CONTEXT>", "<video>"], "<video>\n")
LAYOUT = {  # by name: special tokens, what the chat template writes for a video
    "internvl": INTERNVL,
    "internvl-qwen3": INTERNVL,  # InternVL3.5
    "internvl-qwen3_moe": INTERNVL,  # its mixtures of experts
    "llava_onevision": (["<image>", "<video>"], "<video>\n"),
    "qwen2_5_vl": (QWEN, "<|vision_start|><|video_pad|><|vision_end|>"),
    "qwen3_vl": (QWEN, "<|vision_start|><|video_pad|><|vision_end|>"),
    "smolvlm": (  # as on the hub, the tokenizer's own template knows no videos
        ["<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>"],
        "",
    ),
}
TINY = sorted(LAYOUT)
LAYERS, HEADS, KV_HEADS, D_HEAD, WIDTH = 4, 6, 2, 16, 64
VISION_WIDTH, SIDE, PATCH = 32, 56, 14


def model_type_of(name: str) -> str:
    """The model type of a tiny model: a family may have several, with decoders of different types."""
    return name.partition("-")[0]


def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE of a few hundred tokens."""
    special, video = LAYOUT[name]
    return byte_tokenizer(special, CHAT.replace("VIDEO", video))


def config_of(name: str, ids: PreTrainedTokenizerFast) -> Any:
    """The configuration of a tiny model."""
    family, _, decoder = name.partition("-")
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

    if family == "smolvlm":
        return transformers.SmolVLMConfig(
            vision_config={**vision, "num_hidden_layers": 2, "image_size": SIDE, "patch_size": PATCH},
            text_config={"model_type": "llama", **text, "num_attention_heads": 4},  # these must divide its width
            image_token_id=token("<image>"),
            scale_factor=2,
        )
    if decoder == "qwen3_moe":
        text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
    if family == "internvl":
        vision |= {"num_hidden_layers": 2, "image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH]}
        return transformers.InternVLConfig(
            vision_config=vision,
            text_config={"model_type": decoder or "qwen2", **text},
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


def tiny(name: str, seed: int = 0, attention: str = "sdpa") -> Extractor:
    """A frozen tiny model, ready to be read."""
    torch.manual_seed(seed)
    tokenizer, family = tokenizer_of(name), family_of(model_type_of(name), name)
    cls = getattr(transformers, family.model_class)
    model = cls._from_config(config_of(name, tokenizer), attn_implementation=attention, dtype=torch.float32)
    preprocessing = {
        "min_pixels": SIDE * SIDE,
        "max_pixels": 84 * 84,
        "video_sampling": {"video_size": {"longest_edge": SIDE}},
    }
    return Extractor(sharpen(model, seed), tokenizer, family, torch.device("cpu"), preprocessing, frame_s=0.2)


def save_tiny(name: str, folder: Path, seed: int = 0) -> Path:
    """A tiny model as a checkpoint's folder."""
    extractor = tiny(name, seed)
    extractor.model.save_pretrained(folder)
    extractor.tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor.preprocessing))
    return folder
