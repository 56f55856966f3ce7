"""The limit on the layers of heads that may be chosen: a pass ends at the deepest chosen head, so a limit saves time.

What is chosen under a limit is what would be chosen in a model whose deeper heads nobody had read: no criterion, no
random head and no interval sees them.
"""

from collections.abc import Sequence

from headhunt_svc.errors import ConfigError
from headhunt_svc.params import IdentifyParams
from headhunt_svc.types import HeadRef


def candidate_heads(heads: Sequence[HeadRef], params: IdentifyParams) -> tuple[HeadRef, ...]:
    """The heads that may be chosen, in order: all of a model, or those up to identify.deepest_layer.

    Raises:
        ConfigError: the limit is behind the model's last layer, or leaves fewer heads than top_k.
    """
    limit = params.deepest_layer
    if limit is None:
        return tuple(heads)
    possible = possible_limits(heads, params)
    last = max(head.layer for head in heads)
    if limit > last:
        raise ConfigError(
            f"identify.deepest_layer is {limit}, but the last layer whose heads can be read is {last}: give one of "
            f"{possible[-1]} to {possible[0]}, or null for no limit"
        )
    chosen = tuple(head for head in heads if head.layer <= limit)
    least = _least(params)
    if len(chosen) < least:
        raise ConfigError(
            f"identify.deepest_layer is {limit}, which leaves {len(chosen)} of {len(heads)} heads, fewer than "
            f"identify.top_k, {least}: give one of {possible[-1]} to {possible[0]}, or lower identify.top_k"
        )
    return chosen


def possible_limits(heads: Sequence[HeadRef], params: IdentifyParams) -> list[int]:
    """Every limit that makes a difference and leaves top_k heads, the model's last layer with heads first.

    Raises:
        ConfigError: the whole model has fewer heads than top_k.
    """
    least = _least(params)
    layers = sorted({head.layer for head in heads}, reverse=True)
    limits = [layer for layer in layers if sum(head.layer <= layer for head in heads) >= least]
    if not limits:
        raise ConfigError(f"identify.top_k is {least}, but the model has {len(heads)} heads: lower identify.top_k")
    return limits


def limit_words(limit: int) -> str:
    """A limit, for people."""
    return f"heads of layers 0 to {limit} (identify.deepest_layer)"


def _least(params: IdentifyParams) -> int:
    return 1 if params.top_k == "auto" else params.top_k
