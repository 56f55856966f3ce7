"""Reads heads with all visual tokens while a mask hides some: what leaving them out must be equal to (parity.py)."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float32

from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.hooks import capture
from headhunt_svc.model.prefix import decoder_arguments
from headhunt_svc.model.token_choice import Pictures


@contextmanager
def keeping(extractor: Extractor, share: float) -> Iterator[None]:
    """Another share of the visual tokens for a while."""
    before, extractor.keep_tokens = extractor.keep_tokens, share
    try:
        yield
    finally:
        extractor.keep_tokens = before


@torch.inference_mode()
def hiding_features(
    extractor: Extractor, pictures: Pictures, prompt: str
) -> Float32[np.ndarray, "segment head d_head"]:
    """All heads; the decoder reads all tokens, and a mask hides those that are not kept from all others."""
    clip = extractor.clip(pictures)
    ids = extractor.token_ids(prompt, clip).to(extractor.device)
    selection = extractor.selection(pictures, ids, clip)
    inputs = extractor.text_inputs(ids, clip, len(pictures))
    inputs |= extractor.family.picture_inputs(extractor.config, extractor.normalise(pictures), clip)
    arguments = decoder_arguments(extractor.model, inputs)
    mask = torch.ones(len(ids), len(ids), dtype=torch.bool).tril().expand(len(pictures), 1, -1, -1)
    if selection is not None:
        is_kept = torch.zeros(len(pictures), len(ids), dtype=torch.bool).scatter_(1, selection.kept.cpu(), True)
        mask = mask & (is_kept[:, None, None] | torch.eye(len(ids), dtype=torch.bool))
    if extractor.model.get_decoder().config._attn_implementation == "eager":
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    with capture(extractor.projections) as captured:
        extractor.model.get_decoder()(**arguments | {"attention_mask": mask.to(extractor.device)})
    layers = torch.stack([captured[layer] for layer in extractor.projections], 1)
    return np.asarray(layers.view(len(pictures), -1, extractor.d_head).float().cpu().numpy())
