"""Reads heads the textbook way: generate(max_new_tokens=1) once per segment and prompt, with hooks on every layer.

What parity tests and the benchmark of extraction compare with.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32

from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.hooks import capture


@torch.inference_mode()
def reference_features(
    extractor: Extractor, clips: Sequence[torch.Tensor], prompts: Sequence[str]
) -> Float32[np.ndarray, "prompt segment head d_head"]:
    """All heads of clips float[F, 3, h, w] (of any lengths) under every prompt."""
    result = []
    for prompt in prompts:
        rows = []
        for pixels in clips:
            clip = extractor.clip(pixels)
            ids = extractor.token_ids(prompt, clip).to(extractor.device)
            pictures = pixels[None].to(extractor.device, extractor.model.dtype)
            inputs = extractor.text_inputs(ids, clip, 1)
            inputs |= extractor.family.picture_inputs(extractor.config, pictures, clip)
            with capture(extractor.projections) as captured:
                extractor.model.generate(**inputs, max_new_tokens=1, do_sample=False)
            layers = torch.cat(list(captured.values()))
            rows.append(layers.view(-1, extractor.d_head))
        result.append(torch.stack(rows))
    return np.asarray(torch.stack(result).float().cpu().numpy())
