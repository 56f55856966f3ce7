"""Reads the outputs of attention heads: pictures and prompts in, one forward pass of the base model, no generation."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64, Shaped, UInt8

from headhunt_svc.errors import ModelError
from headhunt_svc.model.checkpoint import damage_named
from headhunt_svc.model.compiled import CompiledLayers
from headhunt_svc.model.families import Clip, Encoded, Family, ModelInputs, Pixels
from headhunt_svc.model.hooks import capture
from headhunt_svc.model.prefix import SharedPrefix, common_prefix, decoder_arguments
from headhunt_svc.model.token_choice import Choice, Pictures, Selection, change, keep
from headhunt_svc.types import HeadRef

logger = logging.getLogger(__name__)
_COPIED_BYTES = 2**24  # of pictures that are resized at the same time

Clips = torch.Tensor | Sequence[torch.Tensor]  # uint8[segment, frame, 3, h, w], or one uint8[frame, 3, h, w] a segment
Frames = Sequence[tuple[int, ...]]  # every segment's frame numbers in its video
T = TypeVar("T")
COMMON_SIZE = (360, 640)
OTHER = "take a checkpoint that is made for chats about videos"


@dataclass(slots=True)
class VisionCache:
    """Vision-tower outputs of one video, encoded once across overlapping windows.

    frame_s: seconds between two frames that the model sees. units: the outputs for the frames of the last window, by
    frame numbers (several where the family encodes frames in pairs).
    """

    frame_s: float
    units: dict[tuple[int, ...], Encoded] = field(default_factory=dict)

    def encode(self, extractor: "Extractor", pictures: Pictures, clip: Clip, frames: Frames) -> list[list[Encoded]]:
        """The outputs for every clip's frames (or pairs); runs the vision tower only for those that are not cached."""
        model, family = extractor.model, extractor.family
        size, last = family.frames_at_once(model.config), clip.n_frames - 1
        groups = [[min(i + k, last) for k in range(size)] for i in range(0, clip.n_frames, size)]
        keys = [[tuple(numbers[i] for i in group) for group in groups] for numbers in frames]
        missing = {
            key: pictures[b, group]
            for b, clip_keys in enumerate(keys)
            for key, group in zip(clip_keys, groups, strict=True)
            if key not in self.units
        }
        if missing:
            group_clip = replace(clip, n_frames=size)
            pixels = extractor.normalise(torch.stack(list(missing.values())))
            inputs = family.picture_inputs(model.config, pixels, group_clip)
            self.units |= dict(zip(missing, family.encode_frames(model.base_model, inputs), strict=True))
        encoded = [[self.units[key] for key in clip_keys] for clip_keys in keys]
        self.units = {key: self.units[key] for key in keys[-1]}
        return encoded


@dataclass(frozen=True, slots=True)
class Reading:
    """Head outputs z at the last prompt token, and the final hidden state there (after the norm)."""

    heads: Float32[np.ndarray, "prompt segment head d_head"]
    hidden: Float32[np.ndarray, "prompt segment state"]


class Extractor:
    """Reads the heads of one frozen multimodal LLM. Not thread-safe: one worker a model."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        family: Family,
        device: torch.device,
        preprocessing: dict[str, Any],
        frame_s: float,
        quantised: str | None = None,
        keep_tokens: float = 1.0,
        compiled: bool = False,
    ) -> None:
        """preprocessing: the checkpoint's own settings; frame_s: as in VisionCache, for clips that belong to no video.

        quantised: the number format of the decoder's weights, where they are (quantisation.py). keep_tokens: the share
        of the visual tokens that the decoder reads (token_choice.py). compiled: by torch.compile (compiled.py).
        """
        self.family, self.device, self.tokenizer = family, device, tokenizer
        self.preprocessing, self.frame_s = preprocessing, frame_s
        self.model = model.to(device).eval().requires_grad_(False)
        self.config: Any = model.config
        text = self.config.get_text_config()
        layers = self.model.get_decoder().layers
        # hybrid models: only layers with full attention have an o_proj
        projections = {i: getattr(getattr(x, "self_attn", None), "o_proj", None) for i, x in enumerate(layers)}
        self.projections = {i: o_proj for i, o_proj in projections.items() if o_proj is not None}
        if not self.projections:
            raise ModelError("the model has no decoder layer with self_attn.o_proj: its heads cannot be read")
        self.n_layers, self.n_heads = len(layers), int(text.num_attention_heads)
        # not hidden // heads: some differ
        self.d_head = next(iter(self.projections.values())).in_features // self.n_heads
        self.quantised, self.keep_tokens = quantised, keep_tokens
        self.compiled = CompiledLayers(self.model) if compiled else None
        self.choice: Choice = change  # studies compare it with others
        self.batch_limit: int | None = None  # segments a pass, once memory has run out
        self.max_tokens = int(text.max_position_embeddings)
        mean, std = family.norm
        norm = preprocessing.get("image_mean", mean), preprocessing.get("image_std", std)
        self.mean, self.std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in norm)

    @property
    def dtype(self) -> str:
        """The number format of the decoder's weights, as in params.yaml."""
        return self.quantised or str(self.model.dtype).removeprefix("torch.")

    @property
    def heads(self) -> tuple[HeadRef, ...]:
        """All heads, layer by layer."""
        return tuple(HeadRef(layer, head) for layer in self.projections for head in range(self.n_heads))

    # -- inputs ---------------------------------------------------------------------------------------------------
    def preprocess(
        self, pictures: UInt8[np.ndarray, "frame height width 3"]
    ) -> UInt8[torch.Tensor, "frame 3 resized_height resized_width"]:
        """Resize pictures as the checkpoint wants them: antialiased bicubic, on uint8, as they lie in memory.

        Large pictures one by one: all at once give the same, but with a copy of them all in memory.
        """
        steps = self.family.resize_steps(self.config, self.preprocessing, *pictures.shape[1:3])
        resized = []
        for some in torch.from_numpy(pictures).split(max(_COPIED_BYTES // pictures[0].nbytes, 1)):
            x = some.permute(0, 3, 1, 2)
            for size in steps:
                if tuple(x.shape[-2:]) != size:
                    x = F.interpolate(x, size=size, mode="bicubic", antialias=True)
            resized.append(x.contiguous())
        return torch.cat(resized)

    def normalise(self, pictures: Pictures) -> Pixels:
        """Normalise preprocessed pictures as the checkpoint wants them, on the device: a quarter of the bytes go there.

        In float32, then in the model's number format.
        """
        x = pictures.to(self.device).float()
        x.div_(255).sub_(self.mean.to(self.device)).div_(self.std.to(self.device))
        return x.to(self.model.dtype)

    def prepared_bytes(self, height: int, width: int) -> int:
        """The size in memory of a picture of this size after `preprocess`."""
        rows, columns = self.family.resize_steps(self.config, self.preprocessing, height, width)[-1]
        return 3 * rows * columns

    def clip(
        self, pictures: Shaped[torch.Tensor, "*segment frame 3 height width"], cache: VisionCache | None = None
    ) -> Clip:
        """Size and frame rate of clips, which their prompt's layout depends on."""
        frame_s = self.frame_s if cache is None else cache.frame_s
        return Clip(pictures.shape[-4], pictures.shape[-2], pictures.shape[-1], frame_s)

    def clip_of(self, n_frames: int, height: int, width: int) -> Clip:
        """The same for pictures of this size, before the resize."""
        return Clip(n_frames, *self.family.image_size(self.config, self.preprocessing, height, width), self.frame_s)

    def token_ids(self, prompt: str, clip: Clip) -> Int64[torch.Tensor, " token"]:
        """Tokens of the chat turn [video, prompt], up to where the answer would start.

        Raises:
            ModelError: no chat template, or longer than the model's context.
        """
        name, template = self.model.name_or_path, self.family.chat_template(self.tokenizer)
        if not template:
            raise ModelError(f"the tokenizer of {name} has no chat template, so prompts cannot be laid out: {OTHER}")
        chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": prompt}]}]
        with damage_named(name, "chat template"):
            text = self.tokenizer.apply_chat_template(
                chat, chat_template=template, tokenize=False, add_generation_prompt=True
            )
        if self.family.video_text not in text:
            raise ModelError(f"the chat template of {name} writes no {self.family.video_text} for a video: {OTHER}")
        text = text.replace(self.family.video_text, self.family.clip_text(self.config, clip), 1)
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        if len(ids) > self.max_tokens:
            raise ModelError(
                f"a prompt with {clip.n_frames} frames takes {len(ids)} tokens, the context holds {self.max_tokens}: "
                "lower segmentation.frames_per_segment"
            )
        return torch.as_tensor(ids)

    def text_inputs(self, ids: Int64[torch.Tensor, " token"], clip: Clip, n_segments: int) -> ModelInputs:
        """The model's arguments for clips of one shape under one prompt, without their pictures."""
        rows = ids[None].expand(n_segments, -1)
        tokens = {"input_ids": rows, "attention_mask": torch.ones_like(rows)}
        return tokens | self.family.position_inputs(self.config, rows, clip)

    def selection(self, pictures: Pictures, ids: Int64[torch.Tensor, " token"], clip: Clip) -> Selection | None:
        """Which tokens of a prompt about clips of one shape the decoder reads; None: all of them."""
        if self.keep_tokens == 1:
            return None
        visual = ids == self.family.visual_token_id(self.config)
        scores = self.choice(pictures, self.family.token_grid(self.config, clip))
        return Selection(keep(scores, visual, self.keep_tokens), len(ids))

    # -- outputs --------------------------------------------------------------------------------------------------
    def features(
        self,
        clips: Clips,
        prompts: Sequence[str],
        heads: Sequence[HeadRef] | None = None,
        cache: VisionCache | None = None,
        frames: Frames | None = None,
    ) -> Float32[np.ndarray, "prompt segment head d_head"]:
        """Head outputs z only, see `read`; layers behind the deepest of the heads are not computed."""
        return self.read(clips, prompts, heads, cache, frames, hidden=False).heads

    def read(
        self,
        clips: Clips,
        prompts: Sequence[str],
        heads: Sequence[HeadRef] | None = None,
        cache: VisionCache | None = None,
        frames: Frames | None = None,
        hidden: bool = True,
    ) -> Reading:
        """Head outputs of clips under every prompt, at `heads` (all by default), and, if `hidden`, final hidden states.

        z is the input of o_proj at the last prompt token (HeadHunt-VAD, head features). Clips of equal shape go through
        the model together, so that nothing is padded.
        cache, frames: the video that the clips are of, and each clip's frame numbers in it; without them the clips are
        of different videos.
        """
        if cache is None or frames is None:
            cache, ends = VisionCache(self.frame_s), np.cumsum([0] + [len(c) for c in clips]).tolist()
            frames = [tuple(range(start, stop)) for start, stop in pairwise(ends)]
        by_shape: dict[torch.Size, list[int]] = {}
        for i, clip in enumerate(clips):
            by_shape.setdefault(clip.shape, []).append(i)
        order = [i for group in by_shape.values() for i in group]

        def read(part: list[int]) -> tuple[np.ndarray, np.ndarray]:
            if isinstance(clips, torch.Tensor):  # of one shape: parts are slices, which stay in pinned memory
                pictures = clips[part[0] : part[-1] + 1]
            else:
                pictures = torch.stack([clips[i] for i in part])
            return self._read(pictures, prompts, heads, cache, [frames[i] for i in part], hidden)

        parts = [part for group in by_shape.values() for part in self._in_memory(group, read)]
        original = np.argsort(order)
        merged = (np.concatenate(arrays, 1)[:, original] for arrays in zip(*parts, strict=True))
        return Reading(*map(np.ascontiguousarray, merged))

    def _in_memory(self, clips: list[int], read: Callable[[list[int]], T]) -> list[T]:
        """Call `read` for parts of the batch that fit into the device's memory, in order; no segment is dropped.

        Raises:
            ModelError: one segment alone does not fit.
        """
        results: list[T] = []
        while clips:
            size = min(len(clips), self.batch_limit or len(clips))
            try:
                results.append(read(clips[:size]))
                clips = clips[size:]
                continue
            except torch.cuda.OutOfMemoryError as exc:
                if size == 1:
                    raise ModelError(
                        "one segment does not fit into the device's memory: lower segmentation.frames_per_segment, or "
                        "take mllm.dtype bfloat16"
                    ) from exc
            torch.cuda.empty_cache()
            self.batch_limit = size // 2
            logger.warning("out of device memory with %d segments a batch: going on with %d", size, self.batch_limit)
        return results

    def _heads(
        self, captured: dict[int, torch.Tensor], heads: Sequence[HeadRef], n_prompts: int, n_segments: int
    ) -> Float32[np.ndarray, "prompt segment head d_head"]:
        """Head outputs from the captured inputs of o_proj, stacked on the device and copied once."""
        if not heads:  # a text answer needs the final hidden state alone
            return np.zeros((n_prompts, n_segments, 0, self.d_head), np.float32)
        by_head = {layer: x.unflatten(-1, (self.n_heads, self.d_head)) for layer, x in captured.items()}
        z = torch.stack([by_head[h.layer][:, :, h.head] for h in heads], 2)
        return np.asarray(z.transpose(0, 1).float().cpu().numpy())

    @torch.inference_mode()
    def _read(
        self,
        pictures: Pictures,
        prompts: Sequence[str],
        heads: Sequence[HeadRef] | None,
        cache: VisionCache,
        frames: Frames,
        hidden: bool,
    ) -> tuple[
        Float32[np.ndarray, "prompt segment head d_head"],
        Float32[np.ndarray, "prompt segment state"],
    ]:
        """Head outputs and hidden states of clips of one shape (empty states unless `hidden`)."""
        _check_prompts(prompts)
        heads = list(self.heads if heads is None else heads)
        self.check_heads(heads)
        projections = {layer: self.projections[layer] for layer in sorted({h.layer for h in heads})}
        clip = self.clip(pictures, cache)
        ids = [self.token_ids(p, clip).to(self.device) for p in prompts]
        pictures = pictures.to(self.device, non_blocking=True)
        encoded = cache.encode(self, pictures, clip, frames)
        selection = self.selection(pictures, ids[0], clip)
        visual = self.family.with_encoded_frames(self.model.base_model, encoded)
        inputs = self.text_inputs(ids[0], clip, len(pictures)) | visual
        states: torch.Tensor | None = None
        if len(prompts) == 1:
            run, arguments = self.model.base_model, {**inputs, "use_cache": False}
            if selection is not None:
                run, arguments = self.model.get_decoder(), selection.arguments(decoder_arguments(self.model, inputs))
            with capture(projections, torch.tensor([-1], device=self.device), stop=not hidden) as captured:
                states = run(**arguments).last_hidden_state[:, -1:]
        else:
            length = common_prefix(ids)
            shared = SharedPrefix(self.model, inputs, length, None if hidden else max(projections), selection)
            captured, states = shared.read([i[length:] for i in ids], projections)
        z = self._heads(captured, heads, len(prompts), len(pictures))
        if states is None:
            return z, np.zeros((*z.shape[:2], 0), np.float32)
        return z, np.asarray(states.transpose(0, 1).float().cpu().numpy())

    def answer_direction(self, one: str, other: str) -> Float32[np.ndarray, " state"]:
        """The vector whose product with a final hidden state is the log-odds of answering `one` rather than `other`.

        Each by its first token: log P(one) - log P(other) = (W[one] - W[other]) . hidden, W the LM head.
        """
        tokens = [self.tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in (one, other)]
        rows = self.model.get_output_embeddings().weight[tokens].float().cpu().numpy()
        return np.asarray(rows[0] - rows[1])

    def check(self, prompts: Sequence[str], heads: Sequence[HeadRef], n_frames: int) -> None:
        """Check prompts and heads, and read a grey clip, before any video is decoded.

        Raises:
            ModelError: prompts that are missing, doubled or (with n_frames pictures of common size) too long, no chat
                template, heads that the model does not have, head outputs that are no numbers.
        """
        _check_prompts(prompts)
        self.check_heads(heads)
        pictures = self.preprocess(np.full((n_frames, *COMMON_SIZE, 3), 128, np.uint8))
        for prompt in prompts:
            self.token_ids(prompt, self.clip(pictures))
        if not np.isfinite(self.features(pictures[None], prompts, heads or None)).all():
            raise ModelError("head outputs of a grey clip are no finite numbers: take another mllm.dtype or checkpoint")

    def check_heads(self, heads: Sequence[HeadRef]) -> None:
        """Raise ModelError for a head that the model does not have."""
        if missing := sorted(set(heads) - set(self.heads)):
            size = f"{self.n_layers} layers x {self.n_heads} heads"
            raise ModelError(f"head {tuple(missing[0])} is not in this model ({size})")


def _check_prompts(prompts: Sequence[str]) -> None:
    if not prompts or len(set(prompts)) < len(prompts):
        raise ModelError("prompts must be given and differ from each other")
