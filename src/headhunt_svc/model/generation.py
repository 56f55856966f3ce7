"""Lets the frozen model answer a prompt about one clip in words.

It is transformers' own `generate`: one pass over pictures and prompt fills the cache of keys and values, and every
further token costs a pass of that token alone.
"""

from typing import Any

import torch
from jaxtyping import UInt8

from headhunt_svc.errors import ModelError
from headhunt_svc.model.extractor import Extractor, VisionCache

MAX_TOKENS = 64  # of an answer
CUT = "…"  # ends an answer that was longer


def end_tokens(extractor: Extractor) -> list[int]:
    """The tokens that end an answer, by the checkpoint's generation settings and by its tokenizer."""
    stated: Any = extractor.model.generation_config.eos_token_id
    ids = stated if isinstance(stated, list) else [stated]
    return sorted({i for i in [*ids, extractor.tokenizer.eos_token_id] if i is not None})


@torch.inference_mode()
def answer_tokens(
    extractor: Extractor,
    pictures: UInt8[torch.Tensor, "frame 3 height width"],
    prompt: str,
    cache: VisionCache | None = None,
    max_tokens: int = MAX_TOKENS,
) -> list[int]:
    """The tokens of the answer, at most max_tokens: greedy, otherwise by the checkpoint's own generation settings.

    The model must have been loaded with all its layers. cache: of the clip's video, as for Extractor.clip.

    Raises:
        ModelError: too long for the model's context or the device's memory.
    """
    clip = extractor.clip(pictures, cache)
    ids = extractor.token_ids(prompt, clip).to(extractor.device)
    if len(ids) + max_tokens > extractor.max_tokens:
        raise ModelError(
            f"the prompt for descriptions takes {len(ids)} tokens, the context holds {extractor.max_tokens}: no room "
            f"for an answer of {max_tokens}; lower segmentation.frames_per_segment"
        )
    inputs = extractor.text_inputs(ids, clip, 1)
    inputs |= extractor.family.picture_inputs(extractor.config, extractor.normalise(pictures[None]), clip)
    ends, pad = end_tokens(extractor), extractor.tokenizer.pad_token_id
    settings = {"max_new_tokens": max_tokens, "do_sample": False, "num_beams": 1, "eos_token_id": ends or None}
    try:
        row = extractor.model.generate(**inputs, **settings, pad_token_id=next(iter(ends), 0) if pad is None else pad)
    except torch.cuda.OutOfMemoryError as exc:
        raise ModelError("a description does not fit into the device's memory: take a smaller model") from exc
    tokens: list[int] = row[0, len(ids) :].tolist()
    return tokens


def answer(
    extractor: Extractor,
    pictures: UInt8[torch.Tensor, "frame 3 height width"],
    prompt: str,
    cache: VisionCache | None = None,
    max_tokens: int = MAX_TOKENS,
) -> str:
    """The answer in one line; see `answer_tokens`."""
    tokens = answer_tokens(extractor, pictures, prompt, cache, max_tokens)
    text = " ".join(extractor.tokenizer.decode(tokens, skip_special_tokens=True).split())
    return text if tokens[-1] in end_tokens(extractor) else text + CUT
