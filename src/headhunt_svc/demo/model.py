"""The embedded MLLM: transformers' own InternVL at a few million parameters, and its tokenizer."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import InternVLConfig, InternVLForConditionalGeneration, PreTrainedTokenizerFast

from headhunt_svc.demo.params import DemoModelParams
from headhunt_svc.demo.questions import training_questions
from headhunt_svc.demo.scenes import window

TOKENIZER_FILE = Path(__file__).parent / "assets" / "tokenizer.json"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
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


def train_tokenizer(out: Path = TOKENIZER_FILE, vocabulary: int = 700, windows: int = 2500, seed: int = 99) -> None:
    """Byte-level BPE over questions and answers. BPE training is not deterministic: run once, keep the file."""
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    for _ in range(windows):
        scene, t = window(rng)
        for q in training_questions(scene.facts(t), rng):
            texts += [f"user\n{q.text}", f"assistant\n{q.answer}"]
    texts += [
        "is there anything abnormal or unusual in this video?",
        "watch the clip carefully and summarise what is going on.",
    ] * 3
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(f"Frame{i}: ", normalized=False) for i in range(1, 33)])
    tokenizer.save(str(out))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer that ships with the package, with InternVL's chat template."""
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
    """The untrained model; vision positions start as a 2-D sine code, which speeds up stage 1."""
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
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
            "tie_word_embeddings": True,
            "initializer_range": 0.06,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        image_token_id=SPECIAL.index("<IMG_CONTEXT>"),
        image_seq_length=grid * grid // 4,
        downsample_ratio=0.5,
        tie_word_embeddings=True,
    )
    model = InternVLForConditionalGeneration(config)
    quarter = params.vision_width // 4
    frequency = 1 / (100 ** (torch.arange(quarter) / quarter))
    y, x = torch.meshgrid(torch.arange(grid).float(), torch.arange(grid).float(), indexing="ij")
    code = [f(p.flatten()[:, None] * frequency) for p in (y, x) for f in (torch.sin, torch.cos)]
    with torch.no_grad():
        model.model.vision_tower.embeddings.position_embeddings[0, 1:] = 0.3 * torch.cat(code, dim=1)
    return model
