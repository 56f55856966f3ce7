"""Packs several questions about several clips into one row of tokens, behind one visual prefix for each clip.

Every question is a block that sees its clip's prefix and itself only and starts at the same position, so the row equals
separate calls. Layout of a row: [prefix of each clip: user turn with all frames] [all questions of each clip with
their answers].
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from transformers import AttentionInterface, InternVLForConditionalGeneration, PreTrainedTokenizerFast

from headhunt_svc.demo.attention import Layout, PackedAttention
from headhunt_svc.demo.model import ANSWER_END, ANSWER_START
from headhunt_svc.demo.questions import Question

IGNORED = -100  # label of a token that is not part of an answer
LATE, MIDDLE = 0.7, 0.5  # after which share of the layers


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

    last: of the questions' tokens, after the last layer. late: of the same, after LATE of the layers.
    middle: of the prefix, after MIDDLE of the layers.
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
        self.attention = PackedAttention(0)
        self.show(n_frames)

    def show(self, n_frames: int) -> None:
        """From now on, clips have so many frames."""
        visual = "<IMG_CONTEXT>" * self.model.config.image_seq_length
        frames = "".join(f"Frame{i}: <img>{visual}</img>\n" for i in range(1, n_frames + 1))
        self.prefix = torch.tensor(self.encode(f"<|im_start|>user\n{frames}"), device=self.model.device)
        self.is_visual = self.prefix == self.model.config.image_token_id
        self.attention.prefix = len(self.prefix)

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
        """What the language model makes of the clips and their questions, all in one row without padding."""
        n, question_tokens = len(packed.ids), packed.blocks > 0
        embed = self.model.get_input_embeddings()
        prefix = embed(self.prefix)[None].expand(n, -1, -1).clone()
        prefix[:, self.is_visual] = visual.reshape(n, -1, visual.shape[-1]).float()
        start = torch.arange(len(self.prefix), device=self.prefix.device)[None].expand(n, -1)
        embedded = embed(packed.ids[question_tokens])
        self.attention.layout = Layout.of(packed.blocks, len(self.prefix))
        with self._own_attention():
            out = self.model.model.language_model(
                inputs_embeds=torch.cat([prefix.flatten(0, 1), embedded])[None],
                attention_mask={"full_attention": None},  # the attention knows the layout
                position_ids=torch.cat([start.flatten(), packed.positions[question_tokens]])[None],
                use_cache=False,
                output_hidden_states=True,
            )
        assert out.last_hidden_state is not None
        assert out.hidden_states is not None
        late, middle = (out.hidden_states[round(share * self.n_layers)][0] for share in (LATE, MIDDLE))

        def asked(states: torch.Tensor) -> torch.Tensor:
            hidden = states.new_zeros(*question_tokens.shape, states.shape[-1])
            hidden[question_tokens] = states[start.numel() :]
            return hidden

        return States(asked(out.last_hidden_state[0]), asked(late), middle[: start.numel()].reshape(*start.shape, -1))

    @contextmanager
    def _own_attention(self) -> Iterator[None]:
        """The language model attends by `attention`; outside, it is as it was."""
        config = self.model.model.language_model.config
        elsewhere = config._attn_implementation
        AttentionInterface.register("packed", self.attention)
        config._attn_implementation = "packed"
        try:
            yield
        finally:
            config._attn_implementation = elsewhere


def normalise(frames: torch.Tensor) -> torch.Tensor:
    """float[n, h, w, 3] in [0, 1] -> pixel values float[n, 3, h, w] as InternVL's processor makes them."""
    mean, std = (torch.tensor(x, device=frames.device) for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return ((frames - mean) / std).permute(0, 3, 1, 2)
