"""Reads several prompts about the same pictures with one vision pass and one pass over the prefix that they share.

The prompts' token ids begin alike, with all visual tokens. That prefix goes through the decoder once and leaves keys
and values in a cache. The rests of the prompts follow in one row, one behind the other; a mask lets each attend to the
prefix and to itself only, and each starts at the same position. So every prompt gives the outputs that it gives alone.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from transformers import DynamicCache

from headhunt_svc.errors import ModelError
from headhunt_svc.model.hooks import Stop, capture, capture_arguments
from headhunt_svc.model.token_choice import Selection

# arguments of the decoder that a pass over the prefix has its own values of
OWN_ARGUMENTS = ("position_ids", "attention_mask", "past_key_values", "use_cache", "input_ids")


class PrefixCache(DynamicCache):
    """Collects keys and values of a prefix; ends the pass after the deepest layer, if one is given."""

    def __init__(self, deepest: int | None) -> None:
        super().__init__()
        self.deepest = deepest

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's states; raises Stop after the deepest layer."""
        result: tuple[torch.Tensor, torch.Tensor] = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        if layer_idx == self.deepest:
            raise Stop
        return result


class PrefixView(DynamicCache):
    """Appends new keys and values to those of a finished prefix, without changing the prefix."""

    def __init__(self, prefix: DynamicCache) -> None:
        super().__init__()
        self.layers = prefix.layers
        self.layer_class_to_replicate = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The prefix's states and the new ones; stores nothing."""
        old: Any = self.layers[layer_idx]
        return torch.cat([old.keys, key_states], 2), torch.cat([old.values, value_states], 2)


def common_prefix(ids: Sequence[torch.Tensor]) -> int:
    """The number of leading tokens that all prompts share, the last token of each left out."""
    shortest = min(len(i) for i in ids) - 1
    same = torch.stack([i[:shortest] for i in ids]).eq(ids[0][:shortest]).all(0)
    return int(same.int().cumprod(0).sum())


def decoder_arguments(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """What the base model calls its decoder with: the library runs the vision tower and places the tokens.

    Raises:
        ModelError: the decoder is not called with inputs_embeds.
    """
    with capture_arguments(model.get_decoder()) as arguments:
        model.base_model(**inputs, use_cache=False)
    if "inputs_embeds" not in arguments:
        raise ModelError(
            "the model's decoder is not called with inputs_embeds: no prefix can be shared, and no token left out"
        )
    return arguments


class SharedPrefix:
    """The prefix of one batch of clips, through which the rests of its prompts are read."""

    def __init__(
        self,
        model: Any,
        inputs: dict[str, Any],
        length: int,
        deepest: int | None,
        selection: Selection | None = None,
    ) -> None:
        """inputs: keyword arguments of the base model for one of the prompts; length: tokens that all prompts share.

        deepest: the last layer that is needed; None for all of them and the final hidden state. selection: of tokens
        of that prompt; None for all.
        """
        self.decoder, self.embed, self.length = model.get_decoder(), model.get_input_embeddings(), length
        arguments = decoder_arguments(model, inputs)
        embeds, positions = arguments.pop("inputs_embeds")[:, :length], arguments.get("position_ids")
        extra = {k: v for k, v in arguments.items() if k not in OWN_ARGUMENTS}
        if extra.get("visual_pos_masks") is not None:
            extra["visual_pos_masks"] = extra["visual_pos_masks"][:, :length]
        self.cache, self.deepest = PrefixCache(deepest), deepest
        self.batch = len(embeds)
        prefix = {
            "inputs_embeds": embeds,
            "position_ids": None if positions is None else positions[..., :length],
            **extra,
        }
        if selection is not None:
            prefix = selection.within(length).arguments(prefix)
        self.n_kept = prefix["inputs_embeds"].shape[1]
        with suppress(Stop):
            self.decoder(**prefix, past_key_values=self.cache, use_cache=True)
        # not the largest position + 1: after a video, text continues below the temporal positions
        self.next_position = length if positions is None else int(positions[..., length - 1].reshape(-1)[-1]) + 1
        self.position_rows = 0 if positions is None or positions.dim() == 2 else positions.shape[0]

    def _positions(self, offsets: torch.Tensor) -> torch.Tensor:
        """Positions of the rests in the layout of the model: [B, n], [3, B, n] or [4, B, n] (text first)."""
        positions = (self.next_position + offsets).expand(self.batch, -1)
        if self.position_rows == 0:
            return positions
        spatial = positions[None].expand(3, -1, -1)
        if self.position_rows == 3:
            return spatial
        return torch.cat([(self.length + offsets).expand(self.batch, -1)[None], spatial], 0)

    def read(
        self, rests: Sequence[torch.Tensor], projections: dict[int, torch.nn.Module]
    ) -> tuple[dict[int, torch.Tensor], torch.Tensor | None]:
        """Inputs of o_proj by layer, float[B, prompt, H * d_head], and final hidden states if no layer is deepest."""
        device = rests[0].device
        sizes = torch.tensor([len(r) for r in rests], device=device)
        block = torch.repeat_interleave(torch.arange(len(rests), device=device), sizes)
        offsets = torch.cat([torch.arange(len(r), device=device) for r in rests])
        own = (block[:, None] == block) & (offsets[:, None] >= offsets)
        mask = torch.cat([own.new_ones(len(block), self.n_kept), own], 1)[None, None]
        if self.decoder.config._attn_implementation == "eager":  # eager adds its mask
            dtype = self.embed.weight.dtype
            mask = torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill(~mask, torch.finfo(dtype).min)
        last = sizes.cumsum(0) - 1
        embeds = self.embed(torch.cat(list(rests))[None]).expand(self.batch, -1, -1)
        hidden = None
        with capture(projections, last, stop=self.deepest is not None) as captured:
            output = self.decoder(
                inputs_embeds=embeds,
                position_ids=self._positions(offsets),
                attention_mask=mask.expand(self.batch, -1, -1, -1),
                past_key_values=PrefixView(self.cache),
                use_cache=True,
            )
            hidden = output.last_hidden_state[:, last]
        return captured, hidden
