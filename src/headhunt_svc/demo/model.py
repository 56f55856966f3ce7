"""Builds the embedded MLLM, transformers' own InternVL with a few million parameters, and its tokenizer."""

from pathlib import Path

import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration, PreTrainedTokenizerFast

from headhunt_svc.demo.params import DemoModelParams

TOKENIZER_FILE = Path(__file__).parent / "assets" / "tokenizer.json"
# InternVL's layout: every frame is announced by its number, then its visual tokens, then the question.
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'video' %}<video>\n{% elif c['type'] == 'image' %}<IMG_CONTEXT>\n"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ANSWER_START = "<|im_end|>\n<|im_start|>assistant\n"
ANSWER_END = "<|im_end|>"

NOISE = 0.3  # share of their random start that queries keep where they begin as their keys


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the package (docs/demo-model.md), with InternVL's chat template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(TOKENIZER_FILE),
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(
    tokenizer: PreTrainedTokenizerFast, params: DemoModelParams, seed: int
) -> InternVLForConditionalGeneration:
    """The untrained model; vision positions start as a 2-D sine code, which speeds up stage `see`."""
    torch.manual_seed(seed)
    grid = params.image_size // params.patch_size
    config = InternVLConfig(
        vision_config={
            "hidden_size": params.vision_width,
            "num_hidden_layers": params.vision_layers,
            "num_attention_heads": params.vision_heads,
            "intermediate_size": 2 * params.vision_width,
            "image_size": [params.image_size, params.image_size],
            "patch_size": [params.patch_size, params.patch_size],
            "layer_scale_init_value": 1.0,
            "use_mean_pooling": True,
            "attention_bias": True,
            "initializer_range": 0.06,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": (len(tokenizer) + 7) // 8 * 8,
            "hidden_size": params.hidden_size,
            "intermediate_size": params.intermediate_size,
            "num_hidden_layers": params.n_layers,
            "num_attention_heads": params.n_heads,
            "num_key_value_heads": params.n_kv_heads,
            "head_dim": params.head_dim,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": params.rope_theta},
            "tie_word_embeddings": True,
            "initializer_range": 0.06,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        image_token_id=tokenizer.get_vocab()["<IMG_CONTEXT>"],
        image_seq_length=grid * grid // 4,
        downsample_ratio=0.5,
        tie_word_embeddings=True,
    )
    model = InternVLForConditionalGeneration(config)
    quarter = params.vision_width // 4
    frequency = 1 / (100 ** (torch.arange(quarter) / quarter))
    y, x = torch.meshgrid(torch.arange(grid).float(), torch.arange(grid).float(), indexing="ij")
    code = [f(p.flatten()[:, None] * frequency) for p in (y, x) for f in (torch.sin, torch.cos)]
    groups = params.n_heads // params.n_kv_heads
    with torch.no_grad():
        for layer in model.model.language_model.layers if params.like_keys else ():
            keys = layer.self_attn.k_proj.weight.view(params.n_kv_heads, params.head_dim, -1)
            queries = layer.self_attn.q_proj.weight
            alike = keys.repeat_interleave(groups, 0).reshape(queries.shape)
            queries.copy_(params.like_keys * alike + NOISE * queries)
        model.model.vision_tower.embeddings.position_embeddings[0, 1:] = 0.3 * torch.cat(code, dim=1)
    return model
