"""The parity kit: holds a model family to transformers, on a tiny random model that needs no download.

    tokenizer = byte_tokenizer(["<video>", ...], CHAT.replace("VIDEO", "<video>"))
    model = sharpen(SomeModelForConditionalGeneration(tiny_configuration))
    check_family(SomeFamily(), model, tokenizer, Processor(picture=..., text=...))

Every check reads the model twice: with this package's engine, and the textbook way (the whole model with `generate`,
once per segment and prompt) or the family's own processor. docs/adding-a-family.md shows all of it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float32
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from headhunt_svc.core.scoring import logits
from headhunt_svc.model.attribution import attribute
from headhunt_svc.model.extractor import Extractor, VisionCache
from headhunt_svc.model.families import Clip, Family
from headhunt_svc.model.hidden_tokens import hiding_features, keeping
from headhunt_svc.model.hooks import capture
from headhunt_svc.model.token_choice import Pictures
from headhunt_svc.types import HeadRef, Normality, Scorer

TOLERANCE = 1e-4  # of features in float32, whose scale is 1 and more
PROMPTS = (
    "what happens in the video?",
    "describe the scene.",
    "watch the clip carefully and summarise what is going on.",
    "what are the people doing?",
    "what is unusual?",
    "is somebody in danger?",
    "name every event, one after the other.",
    "hm",
)
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'video' %}VIDEO{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
Model = TypeVar("Model", bound=torch.nn.Module)


class ParityError(AssertionError):
    """What the engine computes with a family is not what transformers computes; says what differs."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What a family's own processor in transformers makes of its inputs; None: not compared.

    picture: the pixel argument for one uint8[height, width, 3] picture (for a family that encodes frames in pairs: for
    the picture twice), as float[1, ...]. text: what stands in the prompt in place of the video.
    """

    picture: Callable[[np.ndarray], torch.Tensor] | None = None
    text: Callable[[Clip, Pictures], str] | None = None


# -- a tiny model -----------------------------------------------------------------------------------------------------
def byte_tokenizer(special: Sequence[str], chat_template: str, size: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of a few hundred tokens, the first of which are CHATML's and the special ones."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*CHATML, *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*PROMPTS, "user assistant Frame1: 0.5 seconds"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=CHATML[0], eos_token=CHATML[2])
    fast.chat_template = chat_template
    return fast


def sharpen(model: Model, seed: int = 0) -> Model:
    """Give a random model attention that prefers some tokens clearly, and norms and biases that matter; returns it.

    At the usual scale of random weights every token gets almost the same attention: a wrong mask or position would
    hardly show.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
                p.mul_(6)
            elif "norm" in name and name.endswith("weight"):
                p.add_(0.2 * torch.randn(p.shape, generator=generator))
            elif name.endswith("bias"):
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
            elif p.dim() >= 2:
                p.mul_(2)
    return model


def random_clips(extractor: Extractor, n: int, n_frames: int = 5, seed: int = 0) -> Pictures:
    """Clips of random pictures, preprocessed."""
    pictures = np.random.default_rng(seed).integers(0, 256, (n, n_frames, 60, 90, 3), dtype=np.uint8)
    return torch.stack([extractor.preprocess(p) for p in pictures])


# -- the textbook way -------------------------------------------------------------------------------------------------
@torch.inference_mode()
def reference_features(
    extractor: Extractor, clips: Sequence[torch.Tensor], prompts: Sequence[str]
) -> Float32[np.ndarray, "prompt segment head d_head"]:
    """All heads of clips uint8[F, 3, h, w] (of any lengths): generate(max_new_tokens=1) once per segment and prompt."""
    result = []
    for prompt in prompts:
        rows = []
        for pictures in clips:
            clip = extractor.clip(pictures)
            ids = extractor.token_ids(prompt, clip).to(extractor.device)
            pixels = extractor.normalise(pictures[None])
            inputs = extractor.text_inputs(ids, clip, 1)
            inputs |= extractor.family.picture_inputs(extractor.config, pixels, clip)
            with capture(extractor.projections) as captured:
                extractor.model.generate(**inputs, max_new_tokens=1, do_sample=False)
            layers = torch.cat(list(captured.values()))
            rows.append(layers.view(-1, extractor.d_head))
        result.append(torch.stack(rows))
    return np.asarray(torch.stack(result).float().cpu().numpy())


def _same(what: str, computed: Any, expected: Any, tolerance: float = TOLERANCE) -> None:
    computed, expected = np.asarray(computed), np.asarray(expected)
    if computed.shape != expected.shape:
        raise ParityError(f"{what}: shape {computed.shape}, expected {expected.shape}")
    off = np.abs(computed - expected)
    if not (off <= tolerance).all():  # NaN is not, either
        worst = tuple(map(int, np.unravel_index(np.argmax(off), off.shape)))
        raise ParityError(
            f"{what}: off by up to {off.max():.3g} (allowed {tolerance:.3g}), at index {worst} {computed[worst]:.6g}, "
            f"expected {expected[worst]:.6g}"
        )


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ParityError(what)


def _some_heads(extractor: Extractor) -> tuple[HeadRef, ...]:
    """Heads of the first layer and of the last but one, not in order."""
    layers, last = list(extractor.projections), extractor.n_heads - 1
    deep, first = layers[max(len(layers) - 2, 0)], layers[0]
    return HeadRef(deep, min(1, last)), HeadRef(first, min(3, last)), HeadRef(deep, 0)


# -- the checks -------------------------------------------------------------------------------------------------------
def check_features(extractor: Extractor, n_segments: int, n_prompts: int) -> None:
    """Segments and prompts that are read together give what `generate` gives for each alone."""
    pixels, prompts = random_clips(extractor, n_segments), PROMPTS[:n_prompts]
    expected = reference_features(extractor, list(pixels), prompts)
    scale = float(np.abs(expected).max())
    _require(scale > 1, f"features are at most {scale:.2g}: call sharpen(model), else a wrong mask would not show")
    case = f"{n_segments} segments, {n_prompts} prompts"
    _same(f"features of {case}", extractor.features(pixels, prompts), expected)
    _same(f"features of {case}, to the last layer", extractor.read(pixels, prompts).heads, expected)


def check_unequal_clips(extractor: Extractor, n_prompts: int) -> None:
    """Clips of other lengths and sizes in one batch are read as if alone."""
    pictures = np.random.default_rng(5).integers(0, 256, (5, 6, 60, 120, 3), dtype=np.uint8)
    mixed = [
        extractor.preprocess(p[:n, :, :w])
        for p, n, w in zip(pictures, (4, 6, 4, 5, 6), (90, 120, 90, 60, 90), strict=True)
    ]
    expected = reference_features(extractor, mixed, PROMPTS[:n_prompts])
    _same("features of clips of unequal lengths and sizes", extractor.features(mixed, PROMPTS[:n_prompts]), expected)


def check_some_heads(extractor: Extractor, n_prompts: int) -> None:
    """Nothing behind the deepest head is computed; what comes out is the same."""
    pixels, prompts = random_clips(extractor, 2), PROMPTS[:n_prompts]
    heads = _some_heads(extractor)
    columns = [extractor.heads.index(h) for h in heads]
    expected = extractor.features(pixels, prompts)[:, :, columns]
    _same("features of some heads", extractor.features(pixels, prompts, heads), expected, 1e-6)


def check_independence(extractor: Extractor) -> None:
    """Prompts and segments do not see each other: in another order they give the same."""
    pixels = random_clips(extractor, 2)
    order = [5, 0, 3, 7, 2, 1, 6, 4]
    expected = extractor.features(pixels, PROMPTS)[order][:, ::-1]
    _same("prompts in another order", extractor.features(pixels.flip(0), [PROMPTS[i] for i in order]), expected)


def check_hidden_states(extractor: Extractor) -> None:
    """Final hidden states are those of a plain pass of the base model."""
    pixels = random_clips(extractor, 2)
    read, clip = extractor.read(pixels, PROMPTS[:3]), extractor.clip(pixels)
    for hidden, prompt in zip(read.hidden, PROMPTS[:3], strict=True):
        inputs = extractor.text_inputs(extractor.token_ids(prompt, clip), clip, len(pixels))
        inputs |= extractor.family.picture_inputs(extractor.config, extractor.normalise(pixels), clip)
        with torch.inference_mode():
            plain = extractor.model.base_model(**inputs, use_cache=False).last_hidden_state[:, -1]
        _same("final hidden states", hidden, plain, 1e-3)


@contextmanager
def _vision_passes(model: Any) -> Iterator[dict[str, int]]:
    """Counts forward passes of the base model's parts beside the decoder (and what belongs to it), by name."""
    decoder, counts = model.get_decoder(), dict[str, int]()
    own = set(decoder.modules())

    def count(name: str, *args: Any) -> None:
        counts[name] = counts.get(name, 0) + 1

    with ExitStack() as hooks:
        for name, part in model.base_model.named_children():
            if part not in own and decoder not in part.modules():
                hooks.enter_context(part.register_forward_hook(partial(count, name)))
        yield counts


def check_vision_cache(extractor: Extractor) -> None:
    """Overlapping windows of one video, in two batches: the same features; every frame (or pair) is encoded once."""
    pictures = np.random.default_rng(3).integers(0, 256, (12, 60, 90, 3), dtype=np.uint8)
    pixels = extractor.preprocess(pictures)
    frames = [tuple(range(i, i + 6)) for i in range(0, 7, 2)]
    windows = torch.stack([pixels[list(f)] for f in frames])
    expected = reference_features(extractor, list(windows), PROMPTS[:2])
    cache, family, encoded = VisionCache(extractor.frame_s), extractor.family, list[int]()

    class Counting(type(family)):  # type: ignore[misc]
        def encode_frames(self, model: Any, pictures: Any) -> Any:
            units = super().encode_frames(model, pictures)
            encoded.append(len(units))
            return units

    extractor.family = Counting()
    try:
        with _vision_passes(extractor.model) as passes:
            computed = [
                extractor.features(windows[part], PROMPTS[:2], None, cache, frames[part])
                for part in (slice(0, 2), slice(2, 4))
            ]
    finally:
        extractor.family = family
    _same("features of overlapping windows", np.concatenate(computed, 1), expected)
    size = family.frames_at_once(extractor.config)
    _require(sum(encoded) == 12 // size, f"12 frames, {size} at once, are encoded in {sum(encoded)} pieces")
    _require(
        bool(passes) and max(passes.values()) <= 2,
        f"two batches need two passes of the vision tower, there are {passes}: with_encoded_frames must replace it",
    )


def check_fewer_tokens(extractor: Extractor) -> None:
    """Half of the visual tokens give what all give where a mask hides the other half; shares still add up."""
    pictures = random_clips(extractor, 2)
    with keeping(extractor, 0.5):
        expected = np.stack([hiding_features(extractor, pictures, prompt) for prompt in PROMPTS[:2]])
        for prompts in (PROMPTS[:1], PROMPTS[:2]):
            features = extractor.features(pictures, prompts)
            _same(f"features of half of the tokens under {len(prompts)} prompts", features, expected[: len(prompts)])
        check_attribution(extractor)
    every = extractor.features(pictures, PROMPTS[:2])
    _require(bool(np.abs(every - expected).max() > TOLERANCE), "half of the tokens give what all give")


def check_attribution(extractor: Extractor) -> None:
    """The tokens' shares add up to the logit, and those of the visual tokens fill the grid of the clip."""
    pixels, heads = random_clips(extractor, 3), _some_heads(extractor)
    weight, mean = np.random.default_rng(0).standard_normal((2, len(heads) * extractor.d_head))
    scorer = Scorer(tuple(heads), weight, 0.5, Normality(mean, np.diag(weight**2), 2.0))
    z, shares = attribute(extractor, pixels, PROMPTS[0], scorer)
    _same("features beside shares", z, extractor.features(pixels, PROMPTS[:1], heads)[0], 1e-5)
    logit = logits(scorer, z.reshape(len(z), -1))
    _same("shares of heads, summed", shares.heads.sum(1) + scorer.bias, logit)
    _same("shares of tokens, summed", shares.tokens.sum(1) + shares.constant, logit)
    grid = extractor.family.token_grid(extractor.config, extractor.clip(pixels))
    _require(shares.pictures.shape == (3, *grid), f"shares of pictures: {shares.pictures.shape}, grid {grid}")
    _require(bool(np.abs(shares.pictures).sum() > 0), "no visual token has a share: is visual_token_id right?")


def check_places(extractor: Extractor) -> None:
    """Layer 0, where a token knows nothing but itself: another last frame leaves the earlier frames' raw shares alone.

    Attention weights are relative, so shares are compared up to the factor that normalisation takes.
    """
    pixels = random_clips(extractor, 1, n_frames=6)
    other = pixels.clone()
    other[:, -2:] = random_clips(extractor, 1, n_frames=2, seed=9)
    head = HeadRef(next(iter(extractor.projections)), min(2, extractor.n_heads - 1))
    scorer = Scorer((head,), np.random.default_rng(1).standard_normal(extractor.d_head), 0.0)
    one, two = (attribute(extractor, p, PROMPTS[0], scorer)[1].pictures[0] for p in (pixels, other))
    before = len(one) * 4 // 6  # frames, or pairs of them, before the change
    ratio = (two / one).reshape(len(one), -1)
    factor = ratio[0, 0]
    _same(
        "shares of the frames before the one that changed", ratio[:before] / factor, np.ones_like(ratio[:before]), 1e-3
    )
    moved = np.abs(ratio[before:] / factor - 1).max(1) > 1e-3
    _require(bool(moved.all()), f"frames that changed keep their shares: {np.flatnonzero(~moved) + before}")


def check_picture(extractor: Extractor, processor: Processor) -> None:
    """Pictures are those of the image processor: equal where nothing is resized.

    Else within one of 255 levels for each resize, which is where torch and Pillow round.
    """
    if processor.picture is None:
        return
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    blocks, family = np.kron(coarse, np.ones((30, 30, 1), np.uint8)), extractor.family
    own = family.resize_steps(extractor.config, extractor.preprocessing, *blocks.shape[:2])[-1]
    level = 1 / (255 * float(extractor.std.min()))
    for height, width in (own, (60, 90), (200, 150)):
        picture = np.ascontiguousarray(blocks[:height, :width])
        pixels = extractor.preprocess(np.stack([picture, picture]))[None]
        steps = family.resize_steps(extractor.config, extractor.preprocessing, height, width)
        sizes = [(height, width), *steps]
        resizes = sum(a != b for a, b in zip(sizes, steps, strict=False))
        expected = processor.picture(picture)
        inputs = family.picture_inputs(extractor.config, extractor.normalise(pixels), extractor.clip(pixels))
        ours = next(iter(inputs.values())).reshape(-1, *expected.shape)[0]
        _same(f"a picture of {height} x {width}", ours, expected, 1.01 * resizes * level if resizes else 1e-6)


def check_text(extractor: Extractor, processor: Processor) -> None:
    """Prompts hold what the processor writes for a video."""
    if processor.text is None:
        return
    for n_frames in (2, 5, 8, 25):
        pixels = extractor.preprocess(np.zeros((n_frames, 60, 90, 3), np.uint8))[None]
        clip = extractor.clip(pixels, VisionCache(0.24))
        ours, theirs = extractor.family.clip_text(extractor.config, clip), processor.text(clip, pixels)
        if ours != theirs:
            first = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(theirs))
            near = slice(max(first - 20, 0), first + 40)
            raise ParityError(
                f"text of {n_frames} frames, from character {first}: {ours[near]!r}, not {theirs[near]!r}"
            )


CHECKS: dict[str, Callable[[Extractor], None]] = {
    **{
        f"features of {s} segments, {p} prompts": partial(check_features, n_segments=s, n_prompts=p)
        for s in (1, 3)
        for p in (1, 2, 8)
    },
    **{f"unequal clips, {p} prompts": partial(check_unequal_clips, n_prompts=p) for p in (1, 8)},
    **{f"some heads, {p} prompts": partial(check_some_heads, n_prompts=p) for p in (1, 4)},
    "independence": check_independence,
    "hidden states": check_hidden_states,
    "vision cache": check_vision_cache,
    "attribution": check_attribution,
    "fewer tokens": check_fewer_tokens,
    "places": check_places,
}
PROCESSOR_CHECKS: dict[str, Callable[[Extractor, Processor], None]] = {"picture": check_picture, "text": check_text}


def check_family(
    family: Family,
    model: Any,
    tokenizer: Any,
    processor: Processor | None = None,
    preprocessing: dict[str, Any] | None = None,
    frame_s: float = 0.2,
) -> None:
    """All checks of a family on a tiny model of it, which `sharpen` has been called for.

    preprocessing: as in the checkpoint's preprocessor_config.json. frame_s: seconds between two frames.

    Raises:
        ParityError: what differs, and in which check.
    """
    extractor = Extractor(model, tokenizer, family, torch.device("cpu"), preprocessing or {}, frame_s)
    checks: dict[str, Callable[[], None]] = {name: partial(check, extractor) for name, check in CHECKS.items()}
    if processor is not None:
        by_processor = {name: partial(check, extractor, processor) for name, check in PROCESSOR_CHECKS.items()}
        checks = by_processor | checks  # what is wrong there is the reason for the rest
    for name, check in checks.items():
        try:
            check()
        except Exception as exc:  # the library's own complaints are about the family, too
            kind = "" if isinstance(exc, ParityError) else f"{type(exc).__name__}: "
            raise ParityError(f"{type(family).__name__}, {name}: {kind}{exc}") from exc
