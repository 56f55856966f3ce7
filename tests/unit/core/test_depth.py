"""The limit on layers: which heads may be chosen, that no other has a say, and what is said of impossible limits."""

from dataclasses import replace

import numpy as np
import pytest

from headhunt_svc.core.depth import candidate_heads, possible_limits
from headhunt_svc.core.identification import Measured, held_out_by_depth
from headhunt_svc.errors import ConfigError
from headhunt_svc.params import IdentifyParams
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, candidates
from headhunt_svc.types import HeadFeatures, HeadRef
from helpers.telling import labelled_videos

HEADS = tuple(HeadRef(layer, head) for layer in (0, 1, 3, 4) for head in range(2))  # layer 2 has none: a hybrid model
TELLS = {HeadRef(1, 0): 1.2, HeadRef(3, 1): 2.0, HeadRef(4, 0): 3.0}


def params(limit: int | None = None, **others: object) -> IdentifyParams:
    values = {"top_k": 2, "deepest_layer": limit, "max_redundancy": 1.0, "subsamples": 4, **others}
    return IdentifyParams.model_validate(values)


def data(seed: int, n: int = 18) -> LabelledFeatures:
    """Videos in which three heads tell the anomalous segments, the deeper the better."""
    rng, plain = np.random.default_rng(seed), labelled_videos(n, seed)
    values = rng.standard_normal((len(plain.labels), len(HEADS), 4)).astype(np.float32)
    for head, shift in TELLS.items():
        values[:, HEADS.index(head)] += shift * plain.labels[:, None]
    return replace(plain, features=HeadFeatures(plain.features.segments, HEADS, values))


def test_heads_of_deeper_layers_are_no_candidates() -> None:
    assert candidate_heads(HEADS, params()) == HEADS == candidate_heads(HEADS, params(4))
    assert candidate_heads(HEADS, params(3)) == HEADS[:6]
    assert candidate_heads(HEADS, params(2)) == candidate_heads(HEADS, params(1)) == HEADS[:4]
    assert possible_limits(HEADS, params()) == [4, 3, 1, 0]
    assert possible_limits(HEADS, params(top_k=3)) == [4, 3, 1]
    assert possible_limits(HEADS, params(top_k="auto")) == [4, 3, 1, 0]


def test_without_a_limit_the_features_are_the_same_object() -> None:
    prompts = [data(0)]
    assert candidates(prompts, params())[0] is prompts[0]
    assert candidates(prompts, params(3))[0].features.values.shape[1] == 6


@pytest.mark.parametrize(
    ("limit", "top_k", "words"),
    [
        (5, 2, r"deepest_layer is 5, but the last layer .* is 4: give one of 0 to 4, or null"),
        (0, 3, r"deepest_layer is 0, which leaves 2 of 8 heads, fewer than identify\.top_k, 3: give one of 1 to 4, or"),
        (1, 9, r"top_k is 9, but the model has 8 heads: lower identify\.top_k"),
    ],
)
def test_a_limit_that_cannot_be_is_named_with_the_way_out(limit: int, top_k: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        identify_heads([data(0)], params(limit, top_k=top_k))


@pytest.mark.parametrize(
    "others",
    [{"criteria": "robust"}, {"criteria": "paper"}, {"top_k": "auto"}, {"few_videos": 36}],
    ids=["robust", "paper", "auto", "few videos"],
)
def test_a_limit_chooses_what_a_model_without_deeper_layers_would_choose(others: dict[str, object]) -> None:
    prompts = [data(0), data(0)]
    for limit, kept in ((3, 6), (1, 4)):
        values, segments = prompts[0].features.values[:, :kept].copy(), prompts[0].features.segments
        shallow = [replace(prompts[0], features=HeadFeatures(segments, HEADS[:kept], values))] * 2
        chosen = identify_heads(prompts, params(limit, **others))
        assert chosen == identify_heads(shallow, params(**others))
        assert chosen[0] == max(TELLS.keys() & set(HEADS[:kept]))
    assert identify_heads(prompts, params(**others))[0] == HeadRef(4, 0)


def test_quality_by_depth_is_of_other_videos_and_falls_where_the_heads_that_tell_are_left_out() -> None:
    chosen_on, others = data(0), data(1)
    measured = Measured(others.features.values, others.labels, 0)
    prompts = [chosen_on.features.values]
    curve = held_out_by_depth(prompts, chosen_on.labels, chosen_on.videos, HEADS, measured, params(top_k=1))
    assert list(curve) == [5, 4, 2, 1]
    assert curve[5] > curve[4] > curve[2] > 0.75
    assert curve[1] == pytest.approx(0.5, abs=0.15)  # its heads are noise
    one_class = Measured(others.features.values, np.zeros_like(others.labels), 0)
    assert held_out_by_depth(prompts, chosen_on.labels, chosen_on.videos, HEADS, one_class, params()) == {}
