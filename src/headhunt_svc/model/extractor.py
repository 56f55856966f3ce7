"""Pictures and prompts -> head outputs: one forward pass of the base model per prompt (no LM head, no generation)."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8

from headhunt_svc.errors import ModelError
from headhunt_svc.model.families import Clip, Family, Inputs, Unit
from headhunt_svc.model.hooks import capture
from headhunt_svc.model.prefix import SharedPrefix, common_prefix
from headhunt_svc.types import HeadRef

logger = logging.getLogger(__name__)


Clips = torch.Tensor | Sequence[torch.Tensor]
Frames = Sequence[tuple[int, ...]]
T = TypeVar("T")
COMMON_SIZE = (360, 640)


@dataclass(slots=True)
class VisionCache:
    """One video while it is read: seconds between two frames of a clip, and what the vision tower made of frames.

    `units` holds what the last clip showed, by frame numbers: overlapping clips need not be looked at twice.
    """

    frame_s: float
    units: dict[tuple[int, ...], Unit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model holds at the last prompt token: head outputs z, and the final hidden state (after the norm)."""

    heads: Float32[np.ndarray, "prompt segment head d_head"]
    hidden: Float32[np.ndarray, "prompt segment width"]


class Extractor:
    """A frozen MLLM and what is needed to read its heads. Not thread-safe: one worker a model."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        family: Family,
        device: torch.device,
        stated: dict[str, Any],
        frame_s: float,
        int8: bool = False,
    ) -> None:
        """stated: the checkpoint's own preprocessing; frame_s: as a VisionCache's, for clips that belong to no video.

        int8: are the decoder's weights 8-bit integers?
        """
        self.family, self.device, self.tokenizer, self.stated, self.frame_s = family, device, tokenizer, stated, frame_s
        self.model = model.to(device).eval().requires_grad_(False)
        self.config: Any = model.config
        text = self.config.get_text_config()
        layers = self.model.get_decoder().layers
        # hybrid models: only layers with full attention have an o_proj
        found = {i: getattr(getattr(x, "self_attn", None), "o_proj", None) for i, x in enumerate(layers)}
        self.projections = {i: o_proj for i, o_proj in found.items() if o_proj is not None}
        if not self.projections:
            raise ModelError("the model has no decoder layer with self_attn.o_proj: its heads cannot be read")
        self.n_layers, self.n_heads = len(layers), int(text.num_attention_heads)
        # not hidden // heads: some differ
        self.d_head = next(iter(self.projections.values())).in_features // self.n_heads
        self.int8 = int8
        self.batch_limit: int | None = None  # segments a pass, once memory has run out
        self.max_tokens = int(text.max_position_embeddings)
        norm = stated.get("image_mean", family.mean), stated.get("image_std", family.std)
        self.mean, self.std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in norm)

    @property
    def dtype(self) -> str:
        """The number format of the decoder's weights, as in params.yaml."""
        return "int8" if self.int8 else str(self.model.dtype).removeprefix("torch.")

    @property
    def heads(self) -> tuple[HeadRef, ...]:
        """All heads, layer by layer."""
        return tuple(HeadRef(layer, head) for layer in self.projections for head in range(self.n_heads))

    # -- what goes in ---------------------------------------------------------------------------------------------
    def preprocess(self, pictures: UInt8[np.ndarray, "frame height width 3"]) -> torch.Tensor:
        """Pictures -> pixel values float32[F, 3, h, w]: antialiased bicubic resize of uint8, then normalisation."""
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
        size = self.family.image_size(self.config, self.stated, x.shape[2], x.shape[3])
        if tuple(x.shape[-2:]) != size:
            x = F.interpolate(x, size=size, mode="bicubic", antialias=True)
        return torch.as_tensor((x.float() / 255 - self.mean) / self.std)

    def clip(self, pixels: torch.Tensor, view: VisionCache | None = None) -> Clip:
        """The layout of pixels float[..., F, 3, h, w]."""
        frame_s = self.frame_s if view is None else view.frame_s
        return Clip(pixels.shape[-4], pixels.shape[-2], pixels.shape[-1], frame_s)

    def token_ids(self, prompt: str, clip: Clip) -> torch.Tensor:
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
        if self.family.video_text not in text:
            raise ModelError(f"the chat template writes no {self.family.video_text} for a video")
        text = text.replace(self.family.video_text, self.family.clip_text(self.config, clip), 1)
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        if len(ids) > self.max_tokens:
            raise ModelError(
                f"a prompt with {clip.n_frames} frames takes {len(ids)} tokens, the context holds {self.max_tokens}: "
                "lower segmentation.frames_per_segment"
            )
        return torch.as_tensor(ids)

    def inputs(self, pixels: torch.Tensor, ids: torch.Tensor, clip: Clip) -> Inputs:
        """Keyword arguments of the model for pixels float[B, F, 3, h, w] under one prompt."""
        return self._laid_out(ids, clip, len(pixels)) | self.family.pictures(self.config, pixels, clip)

    def _laid_out(self, ids: torch.Tensor, clip: Clip, n_segments: int) -> Inputs:
        rows = ids[None].expand(n_segments, -1)
        about = {"input_ids": rows, "attention_mask": torch.ones_like(rows)}
        return about | self.family.layout(self.config, rows, clip)

    def _seen(self, pixels: torch.Tensor, ids: torch.Tensor, clip: Clip, view: VisionCache, frames: Frames) -> Inputs:
        """The same with the vision tower's outputs instead of pictures; no frame (or pair) is looked at twice."""
        size, last = self.family.unit_frames(self.config), clip.n_frames - 1
        places = [[min(i + k, last) for k in range(size)] for i in range(0, clip.n_frames, size)]
        named = [[(tuple(of[i] for i in place), place) for place in places] for of in frames]
        unseen = {
            name: pixels[b, place] for b, clip_names in enumerate(named) for name, place in clip_names
            if name not in view.units
        }  # fmt: skip
        if unseen:
            alone = replace(clip, n_frames=size)
            pictures = self.family.pictures(self.config, torch.stack(list(unseen.values())), alone)
            looked = self.family.look(self.model.base_model, pictures)
            view.units |= dict(zip(unseen, looked, strict=True))
        units = [[view.units[name] for name, _ in clip_names] for clip_names in named]
        kept = {name for name, _ in named[-1]}
        view.units = {name: unit for name, unit in view.units.items() if name in kept}
        return self._laid_out(ids, clip, len(pixels)) | self.family.shown(self.model.base_model, units)

    # -- what comes out -------------------------------------------------------------------------------------------
    def features(
        self,
        clips: Clips,
        prompts: Sequence[str],
        heads: Sequence[HeadRef] | None = None,
        view: VisionCache | None = None,
        frames: Frames | None = None,
    ) -> Float32[np.ndarray, "prompt segment head d_head"]:
        """Head outputs z alone, see `read`; nothing behind the deepest of the heads is computed."""
        return self._of_all(clips, prompts, heads, view, frames, hidden=False).heads

    def read(
        self,
        clips: Clips,
        prompts: Sequence[str],
        heads: Sequence[HeadRef] | None = None,
        view: VisionCache | None = None,
        frames: Frames | None = None,
    ) -> Reading:
        """Head outputs of clips under every prompt, at `heads` (all by default), and final hidden states.

        clips: pixels float[B, F, 3, h, w], or clips float[F, 3, h, w] of any lengths and sizes; those of equal shape
        go through the model together, so that nothing is padded. z is the input of o_proj at the last prompt token
        (HeadHunt-VAD, head features).
        view, frames: the video that the clips are of, and each clip's frame numbers in it; without them the clips are
        of different videos.
        """
        return self._of_all(clips, prompts, heads, view, frames, hidden=True)

    def _of_all(
        self,
        clips: Clips,
        prompts: Sequence[str],
        heads: Sequence[HeadRef] | None,
        view: VisionCache | None,
        frames: Frames | None,
        hidden: bool,
    ) -> Reading:
        if view is None or frames is None:
            view, first = VisionCache(self.frame_s), np.cumsum([0] + [len(c) for c in clips]).tolist()
            frames = [tuple(range(a, b)) for a, b in pairwise(first)]
        by_shape: dict[torch.Size, list[int]] = {}
        for i, clip in enumerate(clips):
            by_shape.setdefault(clip.shape, []).append(i)
        order = [i for group in by_shape.values() for i in group]

        def read(part: list[int]) -> tuple[np.ndarray, np.ndarray]:
            pixels = torch.stack([clips[i] for i in part])
            return self._read(pixels, prompts, heads, view, [frames[i] for i in part], hidden)

        parts = [found for group in by_shape.values() for found in self._in_memory(group, read)]
        back = np.argsort(order)
        return Reading(*(np.ascontiguousarray(np.concatenate([p[k] for p in parts], 1)[:, back]) for k in range(2)))

    def _in_memory(self, clips: list[int], read: Callable[[list[int]], T]) -> list[T]:
        """`read` of parts of the batch that fit into the device's memory, in order; no segment is dropped.

        Raises:
            ModelError: one segment alone does not fit.
        """
        done: list[T] = []
        while clips:
            most = min(len(clips), self.batch_limit or len(clips))
            try:
                done.append(read(clips[:most]))
                clips = clips[most:]
                continue
            except torch.cuda.OutOfMemoryError as exc:
                if most == 1:
                    raise ModelError(
                        "one segment does not fit into the device's memory: lower segmentation.frames_per_segment, or "
                        "take mllm.dtype bfloat16"
                    ) from exc
            torch.cuda.empty_cache()
            self.batch_limit = most // 2
            logger.warning("out of device memory with %d segments a batch: going on with %d", most, self.batch_limit)
        return done

    def _heads(
        self, captured: dict[int, torch.Tensor], wanted: Sequence[HeadRef], n_prompts: int, n_segments: int
    ) -> np.ndarray:
        """[prompt, segment, head, d_head], stacked on the device and copied once."""
        if not wanted:  # a text answer needs the final hidden state alone
            return np.zeros((n_prompts, n_segments, 0, self.d_head), np.float32)
        by_head = {layer: x.unflatten(-1, (self.n_heads, self.d_head)) for layer, x in captured.items()}
        z = torch.stack([by_head[h.layer][:, :, h.head] for h in wanted], 2)
        return np.asarray(z.transpose(0, 1).float().cpu().numpy())

    @torch.inference_mode()
    def _read(
        self,
        pixels: torch.Tensor,
        prompts: Sequence[str],
        heads: Sequence[HeadRef] | None,
        view: VisionCache,
        frames: Frames,
        hidden: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """z[prompt, segment, head, d_head] and hidden states [prompt, segment, width] (width 0 if not wanted)."""
        _check_prompts(prompts)
        wanted = list(self.heads if heads is None else heads)
        self.check_heads(wanted)
        rows = {layer: self.projections[layer] for layer in sorted({h.layer for h in wanted})}
        clip = self.clip(pixels, view)
        ids = [self.token_ids(p, clip).to(self.device) for p in prompts]
        inputs = self._seen(pixels.to(self.device, self.model.dtype), ids[0], clip, view, frames)
        last: torch.Tensor | None = None
        if len(prompts) == 1:
            with capture(rows, torch.tensor([-1], device=self.device), stop=not hidden) as captured:
                out = self.model.base_model(**inputs, use_cache=False)
                last = out.last_hidden_state[:, -1:]
        else:
            length = common_prefix(ids)
            shared = SharedPrefix(self.model, inputs, length, None if hidden else max(rows))
            captured, last = shared.read([i[length:] for i in ids], rows)
        z = self._heads(captured, wanted, len(prompts), len(pixels))
        if last is None:
            return z, np.zeros((*z.shape[:2], 0), np.float32)
        return z, np.asarray(last.transpose(0, 1).float().cpu().numpy())

    def answer_direction(self, one: str, other: str) -> Float32[np.ndarray, " width"]:
        """What to multiply a final hidden state with for the log-odds of answering `one` rather than `other`.

        Each by its first token: log P(one) - log P(other) = (W[one] - W[other]) . hidden, W the LM head.
        """
        first = [self.tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in (one, other)]
        rows = self.model.get_output_embeddings().weight[first].float().cpu().numpy()
        return np.asarray(rows[0] - rows[1])

    def check(self, prompts: Sequence[str], heads: Sequence[HeadRef], n_frames: int) -> None:
        """Raise ModelError for what can be known to be wrong before any video is decoded.

        Prompts that are missing, doubled or (with n_frames pictures of common size) too long, no chat template, heads
        that the model does not have.
        """
        _check_prompts(prompts)
        self.check_heads(heads)
        clip = self.clip(self.preprocess(np.zeros((n_frames, *COMMON_SIZE, 3), np.uint8)))
        for prompt in prompts:
            self.token_ids(prompt, clip)

    def check_heads(self, heads: Sequence[HeadRef]) -> None:
        """Raise ModelError for a head that the model does not have."""
        known = set(self.heads)
        for head in heads:
            if head not in known:
                raise ModelError(
                    f"head {tuple(head)} is not in this model ({self.n_layers} layers x {self.n_heads} heads)"
                )


def _check_prompts(prompts: Sequence[str]) -> None:
    if not prompts or len(set(prompts)) < len(prompts):
        raise ModelError("prompts must be given and differ from each other")
