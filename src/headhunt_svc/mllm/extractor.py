"""Pictures and prompts -> head outputs: one forward pass of the base model per prompt (no LM head, no generation)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from jaxtyping import Float32, UInt8
from transformers.utils.hub import cached_file

from headhunt_svc.errors import ModelError
from headhunt_svc.mllm.families import Family, family_of
from headhunt_svc.mllm.hooks import capture_last
from headhunt_svc.params import MllmParams
from headhunt_svc.types import HeadRef


def pick_device(name: str) -> torch.device:
    """`auto` is the first CUDA device if there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model holds at the last prompt token: head outputs z, and the final hidden state (after the norm)."""

    heads: Float32[np.ndarray, "prompt segment head d_head"]
    hidden: Float32[np.ndarray, "prompt segment width"]


class Extractor:
    """A frozen MLLM and what is needed to read its heads."""

    def __init__(self, model: Any, tokenizer: Any, family: Family, device: torch.device, norm: tuple[Any, Any]) -> None:
        self.family, self.device, self.tokenizer = family, device, tokenizer
        self.model = model.to(device).eval().requires_grad_(False)
        self.config: Any = model.config
        text = self.config.get_text_config()
        layers = self.model.get_decoder().layers
        # hybrid models: only layers with full attention have an o_proj
        self.projections = [(i, x.self_attn.o_proj) for i, x in enumerate(layers) if hasattr(x, "self_attn")]
        if not self.projections:
            raise ModelError("the model has no decoder layer with self_attn.o_proj: its heads cannot be read")
        self.n_layers, self.n_heads = len(layers), int(text.num_attention_heads)
        self.d_head = self.projections[0][1].in_features // self.n_heads  # not hidden // heads: some differ
        self.max_tokens = int(text.max_position_embeddings)
        self.mean, self.std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in norm)

    @property
    def heads(self) -> tuple[HeadRef, ...]:
        """All heads, layer by layer."""
        return tuple(HeadRef(layer, head) for layer, _ in self.projections for head in range(self.n_heads))

    def preprocess(self, pictures: UInt8[np.ndarray, "frame height width 3"]) -> torch.Tensor:
        """Pictures -> pixel values float32[F, 3, h, w]: antialiased bicubic resize of uint8, then normalisation."""
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
        size = self.family.image_size(self.config)
        if tuple(x.shape[-2:]) != size:
            x = F.interpolate(x, size=size, mode="bicubic", antialias=True)
        return torch.as_tensor((x.float() / 255 - self.mean) / self.std)

    def token_ids(self, prompt: str, n_frames: int) -> torch.Tensor:
        """int64[tokens]: the chat turn [video, prompt] up to where the answer would start.

        Raises:
            ModelError: no chat template, or longer than the model's context.
        """
        if not self.tokenizer.chat_template:
            raise ModelError("the model's tokenizer has no chat template, so prompts cannot be laid out")
        content = [{"type": "video"}, {"type": "text", "text": prompt}]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        if self.family.video_token not in text:
            raise ModelError(f"the chat template writes no {self.family.video_token} for a video")
        text = text.replace(self.family.video_token, self.family.frames_text(self.config, n_frames), 1)
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        if len(ids) > self.max_tokens:
            raise ModelError(
                f"a prompt with {n_frames} frames takes {len(ids)} tokens, the context holds {self.max_tokens}: "
                "lower segmentation.frames_per_segment"
            )
        return torch.as_tensor(ids)

    def features(
        self, pixels: torch.Tensor, prompts: Sequence[str], heads: Sequence[HeadRef] | None = None
    ) -> Float32[np.ndarray, "prompt segment head d_head"]:
        """Head outputs z, see `read`."""
        return self.read(pixels, prompts, heads).heads

    @torch.inference_mode()
    def read(self, pixels: torch.Tensor, prompts: Sequence[str], heads: Sequence[HeadRef] | None = None) -> Reading:
        """Head outputs of pixels float[B, F, 3, h, w] under every prompt, at `heads` (all by default).

        z is the input of o_proj at the last prompt token (HeadHunt-VAD, head features).
        """
        batch, n_frames = pixels.shape[:2]
        wanted = list(self.heads if heads is None else heads)
        self.check_heads(wanted)
        layers = sorted({h.layer for h in wanted})
        rows = [(layer, o_proj) for layer, o_proj in self.projections if layer in layers]
        flat = pixels.flatten(0, 1).to(self.device, self.model.dtype)
        z, hidden = [], []
        for prompt in prompts:
            ids = self.token_ids(prompt, n_frames).to(self.device)[None].expand(batch, -1)
            with capture_last(rows) as captured:
                out = self.model.base_model(
                    input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=flat, use_cache=False
                )
            hidden.append(out.last_hidden_state[:, -1])
            by_head = {layer: captured[layer].unflatten(-1, (self.n_heads, self.d_head)) for layer in layers}
            none = hidden[-1].new_empty(batch, 0, self.d_head)
            z.append(torch.cat([none, *(by_head[h.layer][:, h.head, None] for h in wanted)], 1))
        return Reading(*(np.asarray(torch.stack(part).float().cpu().numpy()) for part in (z, hidden)))

    def answer_direction(self, one: str, other: str) -> Float32[np.ndarray, " width"]:
        """What to multiply a final hidden state with for the log-odds of answering `one` rather than `other`.

        Each by its first token: log P(one) - log P(other) = (W[one] - W[other]) . hidden, W the LM head.
        """
        first = [self.tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in (one, other)]
        rows = self.model.get_output_embeddings().weight[first].float().cpu().numpy()
        return np.asarray(rows[0] - rows[1])

    def check_heads(self, heads: Sequence[HeadRef]) -> None:
        """Raise ModelError for a head that the model does not have."""
        known = set(self.heads)
        for head in heads:
            if head not in known:
                raise ModelError(
                    f"head {tuple(head)} is not in this model ({self.n_layers} layers x {self.n_heads} heads)"
                )


def load_extractor(params: MllmParams, device: str = "auto", untrained_seed: int | None = None) -> Extractor:
    """Load a model from a hub id or a local folder; with untrained_seed the same architecture with random weights.

    Raises:
        ModelError: not found, unsupported family, or a checkpoint with missing weights.
    """
    transformers.utils.logging.disable_progress_bar()
    options = {"revision": params.revision} if params.revision and not Path(params.id).exists() else {}
    try:
        config = transformers.AutoConfig.from_pretrained(params.id, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(params.id, **options)
    except (OSError, ValueError) as exc:
        reason = str(exc).splitlines()[0]
        raise ModelError(
            f"mllm.id {params.id!r} is neither a local model folder nor to be had from the hub: {reason}"
        ) from exc
    family = family_of(config.model_type, params.id)
    cls = getattr(transformers, family.model_class)
    dtype = getattr(torch, params.dtype)
    if untrained_seed is not None:
        torch.manual_seed(untrained_seed)
        model = cls._from_config(config, dtype=dtype, attn_implementation=params.attention)
    else:
        model, info = cls.from_pretrained(
            params.id, dtype=dtype, attn_implementation=params.attention, output_loading_info=True, **options
        )
        missing = sorted(info["missing_keys"])
        if missing:
            raise ModelError(f"{params.id}: the checkpoint lacks {len(missing)} weights, e.g. {missing[0]}")
    return Extractor(model, tokenizer, family, pick_device(device), _normalisation(params.id, family, options))


def _normalisation(mllm_id: str, family: Family, options: dict[str, str]) -> tuple[Any, Any]:
    """Mean and std of the checkpoint's own preprocessor, or the family's."""
    found = cached_file(mllm_id, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False, **options)
    stated = json.loads(Path(found).read_text(encoding="utf-8")) if found else {}
    return stated.get("image_mean", family.mean), stated.get("image_std", family.std)
