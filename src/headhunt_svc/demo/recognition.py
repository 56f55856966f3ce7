"""What a window shows, as targets in the space of the word embeddings: one match of word and picture serves all kinds.

A kind's vector is the mean embedding of the words that name it, rare words first. A hidden state names a kind by
pointing the same way; a window shows it if one of its tokens does (as in multiple-instance learning, logsumexp
over tokens). Questions about a kind hold its words, so that attention by likeness finds the tokens that show it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F

SHARPNESS, THRESHOLD = 20.0, 4.0  # logit of a token: SHARPNESS * cosine - THRESHOLD
POSITIVE_WEIGHT = 4.0  # a window shows a few of many kinds


class Recognition:
    """Targets and loss for the kinds that windows can show; `words`: the texts that name each kind."""

    def __init__(self, encode: Callable[[str], list[int]], vocabulary: int, words: Mapping[str, Sequence[str]]) -> None:
        self.kinds = tuple(words)
        counts = torch.zeros(len(words), vocabulary)
        for i, texts in enumerate(words.values()):
            for text in texts:
                counts[i, sorted(set(encode(text)))] += 1
        kinds_with = (counts > 0).sum(0)
        rarity = torch.where(kinds_with > 0, (len(words) / kinds_with.clamp_min(1)).log(), 0.0)
        self.weights = F.normalize(counts.sqrt() * rarity.square(), dim=1)

    def present(self, windows: Iterable[frozenset[str]]) -> torch.Tensor:
        """float[window, kind]: 1 where it is shown."""
        return torch.tensor([[float(kind in shown) for kind in self.kinds] for shown in windows])

    def loss(self, states: torch.Tensor, embeddings: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Mean over windows and kinds. states[window, token, width], embeddings[word, width], present[window, kind]."""
        names = F.normalize(self.weights.to(embeddings.device) @ embeddings.float(), dim=1)
        cosine = F.normalize(states.float(), dim=-1) @ names.T
        logits = (SHARPNESS * cosine).logsumexp(1) - math.log(states.shape[1]) - THRESHOLD
        weight = logits.new_tensor(POSITIVE_WEIGHT)
        return F.binary_cross_entropy_with_logits(logits, present.to(logits.device), pos_weight=weight)
