"""What the model says about a clip, for every family: against plain passes over the whole text, without any cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from headhunt_svc.errors import ModelError
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.generation import CUT, answer, answer_tokens, end_tokens
from headhunt_svc.model.parity import _vision_passes
from helpers.models import PROMPTS, TINY, tiny

N_TOKENS = 12


@pytest.fixture(scope="module", params=TINY)
def extractor(request: pytest.FixtureRequest) -> Extractor:
    extractor = tiny(request.param)
    # random weights would say the same one or two tokens again and again, whatever they are shown
    extractor.model.generation_config.no_repeat_ngram_size = 1
    return extractor


@pytest.fixture
def pixels(extractor: Extractor) -> torch.Tensor:
    pictures = np.random.default_rng(1).integers(0, 256, (5, 60, 90, 3), dtype=np.uint8)
    return extractor.preprocess(pictures)


def prompt_inputs(extractor: Extractor, pixels: torch.Tensor) -> dict[str, Any]:
    clip = extractor.clip(pixels)
    ids = extractor.token_ids(PROMPTS[0], clip)
    pictures = extractor.normalise(pixels[None])
    return extractor.text_inputs(ids, clip, 1) | extractor.family.picture_inputs(extractor.config, pictures, clip)


@torch.inference_mode()
def greedy(extractor: Extractor, pixels: torch.Tensor, n: int) -> list[int]:
    """The likeliest new token, n times; each by a pass over pictures, prompt and all tokens so far."""
    inputs, tokens = prompt_inputs(extractor, pixels), []
    for _ in range(n):
        logits = extractor.model(**inputs, use_cache=False).logits[0, -1]
        logits[inputs["input_ids"][0]] = -torch.inf
        tokens.append(int(logits.argmax()))
        new = {"input_ids": tokens[-1], "attention_mask": 1, "mm_token_type_ids": 0}
        inputs |= {
            name: torch.cat([inputs[name], torch.full((1, 1), value, dtype=inputs[name].dtype)], 1)
            for name, value in new.items()
            if name in inputs
        }
    return tokens


def text(extractor: Extractor, tokens: list[int]) -> str:
    return " ".join(extractor.tokenizer.decode(tokens, skip_special_tokens=True).split())


@contextmanager
def ending_with(extractor: Extractor, tokens: list[int]) -> Iterator[None]:
    settings = extractor.model.generation_config
    stated, settings.eos_token_id = settings.eos_token_id, tokens
    try:
        yield
    finally:
        settings.eos_token_id = stated


def test_the_answer_is_the_likeliest_tokens(extractor: Extractor, pixels: torch.Tensor) -> None:
    tokens = greedy(extractor, pixels, N_TOKENS)
    assert not set(tokens) & set(end_tokens(extractor))
    assert answer_tokens(extractor, pixels, PROMPTS[0], max_tokens=N_TOKENS) == tokens
    other = extractor.preprocess(np.random.default_rng(2).integers(0, 256, (5, 60, 90, 3), dtype=np.uint8))
    assert answer_tokens(extractor, other, PROMPTS[0], max_tokens=N_TOKENS) != tokens
    assert answer_tokens(extractor, pixels, PROMPTS[1], max_tokens=N_TOKENS) != tokens


def test_the_answer_is_that_of_generate_with_sampling_off(extractor: Extractor, pixels: torch.Tensor) -> None:
    """Whatever else the checkpoint's generation settings say."""
    settings = extractor.model.generation_config
    try:
        settings.update(do_sample=True, temperature=5.0, repetition_penalty=1.3)
        inputs = prompt_inputs(extractor, pixels)
        row = extractor.model.generate(**inputs, do_sample=False, max_new_tokens=N_TOKENS, pad_token_id=0)
        tokens = row[0, inputs["input_ids"].shape[1] :].tolist()
        assert answer_tokens(extractor, pixels, PROMPTS[0], max_tokens=N_TOKENS) == tokens
    finally:
        settings.update(do_sample=False, temperature=1.0, repetition_penalty=1.0)


def test_an_answer_ends_where_the_model_ends_it(extractor: Extractor, pixels: torch.Tensor) -> None:
    tokens = greedy(extractor, pixels, N_TOKENS)
    with ending_with(extractor, [tokens[3], 2]):
        assert answer_tokens(extractor, pixels, PROMPTS[0]) == tokens[:4]
        assert answer(extractor, pixels, PROMPTS[0]) == text(extractor, tokens[:4])
        assert answer(extractor, pixels, PROMPTS[0], max_tokens=3) == text(extractor, tokens[:3]) + CUT


def test_pictures_and_prompt_are_read_once_and_then_one_token_at_a_time(
    extractor: Extractor, pixels: torch.Tensor
) -> None:
    lengths: list[int] = []
    hook = extractor.model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    try:
        with _vision_passes(extractor.model) as passes:
            answer_tokens(extractor, pixels, PROMPTS[0], max_tokens=N_TOKENS)
    finally:
        hook.remove()
    n_prompt = len(extractor.token_ids(PROMPTS[0], extractor.clip(pixels)))
    assert lengths == [n_prompt] + [1] * (N_TOKENS - 1)
    assert set(passes.values()) == {1}


def test_scores_are_the_same_bits_after_an_answer(extractor: Extractor, pixels: torch.Tensor) -> None:
    clips = torch.stack([pixels, pixels.flip(0)])
    before = [extractor.features(clips, PROMPTS[:n]) for n in (1, 3)]
    answer(extractor, pixels, PROMPTS[1], max_tokens=4)
    for n, features in zip((1, 3), before, strict=True):
        np.testing.assert_array_equal(extractor.features(clips, PROMPTS[:n]), features)


def test_no_room_for_an_answer(extractor: Extractor, pixels: torch.Tensor) -> None:
    with pytest.raises(ModelError, match="no room for an answer of 4096; lower segmentation"):
        answer(extractor, pixels, PROMPTS[0], max_tokens=4096)
