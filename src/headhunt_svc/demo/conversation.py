"""Packs several questions about one clip into one row of tokens, behind one visual prefix.

Every question is a block that sees the prefix and itself only and starts at the same position, so the row equals
separate calls. Layout of a row: [prefix: user turn with all frames] [question 1, answer 1] [question 2, answer 2] ...
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from transformers import AttentionInterface, InternVLForConditionalGeneration, PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutputWithPast

from headhunt_svc.demo.attention import Layout, PackedAttention
from headhunt_svc.demo.model import ANSWER_END, ANSWER_START
from headhunt_svc.demo.questions import Question

IGNORED = -100  # label of a token that is not part of an answer


@dataclass(frozen=True, slots=True)
class Packed:
    """Token ids, answer labels, positions and block numbers, each int64[clip, token] without the prefix.

    asked: at the last token of a yes/no question 1 for yes and 0 for no, elsewhere IGNORED.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    blocks: torch.Tensor
    asked: torch.Tensor


class States(NamedTuple):
    """Hidden states float[clip, token, width]; those of padding mean nothing.

    last: of the questions' tokens, after the last layer. late: of the same, after seven tenths of the layers.
    middle: of the prefix, after half of the layers.
    """

    last: torch.Tensor
    late: torch.Tensor
    middle: torch.Tensor


class Conversation:
    """Packs questions and runs them through the language model."""

    def __init__(
        self, model: InternVLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, n_frames: int
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.n_layers = len(model.model.language_model.layers)
        self.encode = cache(lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"]))
        self.attention: PackedAttention | None = None
        self.show(n_frames)

    def show(self, n_frames: int) -> None:
        """From now on, clips have so many frames."""
        visual = "<IMG_CONTEXT>" * self.model.config.image_seq_length
        frames = "".join(f"Frame{i}: <img>{visual}</img>\n" for i in range(1, n_frames + 1))
        self.prefix = torch.tensor(self.encode(f"<|im_start|>user\n{frames}"), device=self.model.device)
        self.is_visual = self.prefix == self.model.config.image_token_id
        if self.attention is not None:
            self.attention.prefix = len(self.prefix)

    def use_own_attention(self, ragged: bool) -> PackedAttention:
        """Let the model attend in less time; ragged: all clips in one row without padding."""
        self.attention = PackedAttention(len(self.prefix), ragged)
        AttentionInterface.register("packed", self.attention)
        self.model.model.language_model.config._attn_implementation = "packed"
        return self.attention

    def pack(self, clips: Sequence[Sequence[Question]]) -> Packed:
        """One row per clip, right-padded to a multiple of 8."""
        rows = []
        for questions in clips:
            parts = []
            for block, q in enumerate(questions, start=1):
                question = self.encode(q.text + (ANSWER_START if q.in_words else ""))
                answer = self.encode(q.answer + ANSWER_END) if q.in_words else []
                ids, labels = question + answer, [IGNORED] * len(question) + answer
                positions = [len(self.prefix) + i for i in range(len(ids))]
                asked = [IGNORED] * len(ids)
                if q.kind.startswith("yn_"):
                    asked[len(self.encode(q.text)) - 1] = int(q.answer == "yes")
                parts.append(torch.tensor([ids, labels, positions, [block] * len(ids), asked]))
            rows.append(torch.cat(parts, 1))
        width = -(-max(row.shape[1] for row in rows) // 8) * 8
        padding = torch.tensor([[self.tokenizer.pad_token_id], [IGNORED], [len(self.prefix)], [-1], [IGNORED]])
        padded = [torch.cat([row, padding.expand(-1, width - row.shape[1])], 1) for row in rows]
        return Packed(*torch.stack(padded, 1).to(self.prefix.device))

    def hidden(self, visual: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Last hidden states float[clip, token, width] of the packed tokens; visual[clip * frame, token, width]."""
        return self.states(visual, packed).last

    def states(self, visual: torch.Tensor, packed: Packed) -> States:
        """What the language model makes of the clips and their questions."""
        n = len(packed.ids)
        embed = self.model.get_input_embeddings()
        prefix = embed(self.prefix)[None].expand(n, -1, -1).clone()
        prefix[:, self.is_visual] = visual.reshape(n, -1, visual.shape[-1]).float()
        start = torch.arange(len(self.prefix), device=self.prefix.device)[None].expand(n, -1)
        run = self._together if self.attention is not None and self.attention.ragged else self._padded
        return run(prefix, start, packed)

    def _padded(self, prefix: torch.Tensor, start: torch.Tensor, packed: Packed) -> States:
        """One row per clip."""
        n, length = packed.ids.shape
        total, device = len(self.prefix) + length, self.prefix.device
        blocks = torch.cat([torch.zeros_like(start), packed.blocks], 1)
        visible = (blocks[:, None, :] == 0) | (blocks[:, :, None] == blocks[:, None, :])
        visible &= torch.ones(total, total, dtype=torch.bool, device=device).tril()
        out = self.model.model.language_model(
            inputs_embeds=torch.cat([prefix, self.model.get_input_embeddings()(packed.ids)], 1),
            attention_mask=torch.zeros(n, 1, total, total, device=device).masked_fill_(~visible[:, None], -1e9),
            position_ids=torch.cat([start, packed.positions], 1),
            use_cache=False,
            output_hidden_states=True,
        )
        last, late, middle = self._layers(out)
        total = len(self.prefix)
        return States(last[:, total:], late[:, total:], middle[:, :total])

    def _layers(self, out: BaseModelOutputWithPast) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """States of the whole row after all layers, seven tenths and half of them."""
        layers = out.hidden_states
        assert layers is not None
        assert out.last_hidden_state is not None
        return out.last_hidden_state, layers[self.n_layers * 7 // 10], layers[self.n_layers // 2]

    def _together(self, prefix: torch.Tensor, start: torch.Tensor, packed: Packed) -> States:
        """All clips in one row, without padding."""
        assert self.attention is not None
        question_tokens = packed.blocks > 0
        embedded = self.model.get_input_embeddings()(packed.ids[question_tokens])
        self.attention.layout = Layout.of(packed.blocks, len(self.prefix))
        out = self.model.model.language_model(
            inputs_embeds=torch.cat([prefix.flatten(0, 1), embedded])[None],
            attention_mask={"full_attention": None},  # the attention knows the layout
            position_ids=torch.cat([start.flatten(), packed.positions[question_tokens]])[None],
            use_cache=False,
            output_hidden_states=True,
        )
        self.attention.layout = None
        last, late, middle = self._layers(out)

        def asked(states: torch.Tensor) -> torch.Tensor:
            hidden = states.new_zeros(*question_tokens.shape, states.shape[-1])
            hidden[question_tokens] = states[0, start.numel() :]
            return hidden

        return States(asked(last), asked(late), middle[0, : start.numel()].reshape(*start.shape, -1))


def normalise(frames: torch.Tensor) -> torch.Tensor:
    """float[n, h, w, 3] in [0, 1] -> pixel values float[n, 3, h, w] as InternVL's processor makes them."""
    mean, std = (torch.tensor(x, device=frames.device) for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return ((frames - mean) / std).permute(0, 3, 1, 2)
