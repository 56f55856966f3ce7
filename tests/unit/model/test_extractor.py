"""The extractor on a tiny InternVL built from configuration, against transformers' own generate and hooks."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

from headhunt_svc.demo.conversation import Conversation, normalise
from headhunt_svc.demo.model import build_model, build_tokenizer
from headhunt_svc.demo.params import DemoModelParams
from headhunt_svc.demo.questions import Question
from headhunt_svc.detector.fingerprint import check, fingerprint, golden_features
from headhunt_svc.errors import ArtifactError, ModelError
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import Clip
from headhunt_svc.model.hooks import capture
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import MllmParams, SegmentationParams
from headhunt_svc.types import HeadRef

SMALL = DemoModelParams(
    vision_width=32,
    vision_layers=1,
    hidden_size=48,
    n_layers=3,
    n_heads=6,
    n_kv_heads=2,
    head_dim=8,
    intermediate_size=64,
)
CUT = SegmentationParams(length_s=1.6, frames_per_segment=4)
CLIP = Clip(4, 96, 96, 0.4)
PROMPTS = ["what happens in the video?", "describe the scene."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mllm")
    tokenizer = build_tokenizer()
    build_model(tokenizer, SMALL, seed=1).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def extractor(folder: Path) -> Extractor:
    return load_extractor(MllmParams(id=str(folder)), CUT, "cpu")


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 4, 90, 120, 3), dtype=np.uint8)


def test_some_heads_only(extractor: Extractor, pictures: np.ndarray) -> None:
    pixels = extractor.preprocess(pictures[0])[None]
    everything = extractor.features(pixels, PROMPTS[:1])
    wanted = [HeadRef(2, 5), HeadRef(0, 1)]
    columns = [extractor.heads.index(h) for h in wanted]
    np.testing.assert_array_equal(extractor.features(pixels, PROMPTS[:1], wanted), everything[:, :, columns])


def test_hidden_state_and_answer_direction_give_the_logits(extractor: Extractor, pictures: np.ndarray) -> None:
    pixels = extractor.preprocess(pictures[0])[None]
    read = extractor.read(pixels, PROMPTS[:1], heads=())
    assert read.heads.shape == (1, 1, 0, 8)
    ids = extractor.token_ids(PROMPTS[0], CLIP)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": extractor.normalise(pixels)[0]}
    logits = extractor.model(**inputs).logits[0, -1]
    yes, no = (extractor.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in ("yes", "no"))
    odds = read.hidden[0, 0] @ extractor.answer_direction("yes", "no")
    assert odds == pytest.approx(float(logits[yes] - logits[no]), abs=1e-4)


def test_hooks_are_removed_even_after_an_error(extractor: Extractor) -> None:
    with pytest.raises(RuntimeError), capture(extractor.projections):
        raise RuntimeError
    assert not any(m._forward_pre_hooks for m in extractor.projections.values())


def test_resize_is_within_a_level_of_pillow(extractor: Extractor, pictures: np.ndarray) -> None:
    pixels = extractor.preprocess(pictures[0])
    oracle = np.stack([np.asarray(Image.fromarray(p).resize((96, 96), Image.Resampling.BICUBIC)) for p in pictures[0]])
    levels = pixels.permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(levels - oracle).max() <= 1


def test_the_prompt_is_laid_out_as_in_pretraining(extractor: Extractor) -> None:
    talk = Conversation(extractor.model, extractor.tokenizer, 8)
    packed = talk.pack([[Question("event", PROMPTS[0], "")]])
    asked = packed.ids[0][packed.labels[0] == -100]
    expected = torch.cat([talk.prefix, asked])
    ids = extractor.token_ids(PROMPTS[0], Clip(8, 96, 96, 0.2))
    assert torch.equal(ids, expected[: len(ids)])


def test_packed_questions_equal_separate_calls(extractor: Extractor, pictures: np.ndarray) -> None:
    talk = Conversation(extractor.model, extractor.tokenizer, 4)
    pixels = extractor.normalise(extractor.preprocess(pictures[0])[None])[0]
    visual = extractor.model.model.get_image_features(pixels).pooler_output
    questions = [Question("event", p, "yes") for p in PROMPTS]
    packed = talk.pack([questions])
    together = talk.hidden(visual, packed)[0]
    for block, question in enumerate(questions, start=1):
        alone = talk.pack([[question]])
        n = int((alone.blocks == 1).sum())
        np.testing.assert_allclose(
            together[packed.blocks[0] == block].detach(), talk.hidden(visual, alone)[0, :n].detach(), atol=2e-5
        )


def test_normalisation_is_the_same_in_pretraining_and_extraction(extractor: Extractor) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    pixels = extractor.normalise(extractor.preprocess(pictures)[None])[0]
    np.testing.assert_allclose(pixels, normalise(torch.from_numpy(pictures).float() / 255), atol=1e-6)


@pytest.mark.parametrize("size", [(96, 96), (90, 120), (61, 97), (360, 640), (50, 40)])
def test_pixels_are_the_bits_of_a_resize_in_memory_order_and_a_division(
    extractor: Extractor, size: tuple[int, int]
) -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    resized = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    if size != (96, 96):
        resized = functional.interpolate(resized, size=(96, 96), mode="bicubic", antialias=True)
    expected = (resized.float() / 255 - extractor.mean) / extractor.std
    assert torch.equal(extractor.normalise(extractor.preprocess(pictures)[None])[0], expected)


def _copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for p in folder.iterdir():
        (to / p.name).write_bytes(p.read_bytes())
    return to


def test_a_checkpoint_with_missing_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = _copy(folder, tmp_path / "m")
    weights = load_file(broken / "model.safetensors")
    weights.pop("model.language_model.layers.1.self_attn.o_proj.weight", None) or weights.pop(
        next(k for k in weights if "o_proj" in k)
    )
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1 weights"):
        load_extractor(MllmParams(id=str(broken)), CUT, "cpu")


def test_an_unsupported_family_lists_the_supported_ones(folder: Path, tmp_path: Path) -> None:
    other = _copy(folder, tmp_path / "m")
    config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="supported: internvl, llava_onevision, qwen2_5_vl"):
        load_extractor(MllmParams(id=str(other)), CUT, "cpu")


def test_no_such_model() -> None:
    with pytest.raises(ArtifactError, match="nobody/nothing at 0 is neither a folder nor locked"):
        load_extractor(MllmParams(id="nobody/nothing", revision="0"), CUT, "cpu")


@pytest.mark.parametrize("prompts", [[], [PROMPTS[0], PROMPTS[0]]])
def test_no_prompt_or_the_same_twice(extractor: Extractor, pictures: np.ndarray, prompts: list[str]) -> None:
    with pytest.raises(ModelError, match="prompts must be given and differ"):
        extractor.features(extractor.preprocess(pictures[0])[None], prompts)


def test_heads_outside_the_model_and_long_prompts(extractor: Extractor) -> None:
    with pytest.raises(ModelError, match=r"\(3, 0\) is not in this model \(3 layers x 6 heads\)"):
        extractor.check_heads([HeadRef(3, 0)])
    with pytest.raises(ModelError, match="lower segmentation"):
        extractor.token_ids(PROMPTS[0], Clip(200, 96, 96, 0.2))


@pytest.mark.parametrize(
    ("prompts", "heads", "n_frames", "says"),
    [
        ([], [], 4, "prompts must be given"),
        ([PROMPTS[0]], [HeadRef(0, 6)], 4, "not in this model"),
        ([PROMPTS[0]], [], 200, "lower segmentation"),
    ],
)
def test_what_can_be_known_is_known_before_any_video(
    extractor: Extractor, prompts: list[str], heads: list[HeadRef], n_frames: int, says: str
) -> None:
    extractor.check(PROMPTS, extractor.heads, 4)
    with pytest.raises(ModelError, match=says):
        extractor.check(prompts, heads, n_frames)


def test_no_chat_template(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor.tokenizer, "chat_template", None)
    with pytest.raises(ModelError, match="no chat template"):
        extractor.check(PROMPTS, [], 4)


def test_attention_without_o_proj(folder: Path) -> None:
    made = load_extractor(MllmParams(id=str(folder)), CUT, "cpu")
    for layer in made.model.get_decoder().layers:
        del layer.self_attn.o_proj
    with pytest.raises(ModelError, match=r"no decoder layer with self_attn\.o_proj"):
        Extractor(made.model, made.tokenizer, made.family, made.device, {}, 0.2)


def test_layers_behind_the_deepest_head_are_not_loaded(
    folder: Path, extractor: Extractor, pictures: np.ndarray
) -> None:
    short = load_extractor(MllmParams(id=str(folder)), CUT, "cpu", deepest=1)
    assert len(short.model.get_decoder().layers) == 2
    pixels = extractor.preprocess(pictures[0])[None]
    heads = [HeadRef(1, 4), HeadRef(0, 2)]
    np.testing.assert_array_equal(short.features(pixels, PROMPTS, heads), extractor.features(pixels, PROMPTS, heads))
    with pytest.raises(ModelError, match="not in this model"):
        short.features(pixels, PROMPTS, [HeadRef(2, 0)])


def test_out_of_memory_halves_the_batch_once_and_drops_nothing(
    extractor: Extractor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 256, (7, 4, 96, 96, 3), dtype=np.uint8)
    pixels = torch.stack([extractor.preprocess(p) for p in pictures])
    expected = extractor.features(pixels, PROMPTS)
    real, sizes = Extractor._read, []

    def small_device(self: Extractor, part: torch.Tensor, *args: object) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(len(part))
        if len(part) > fits:
            raise torch.cuda.OutOfMemoryError
        return real(self, part, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Extractor, "_read", small_device)
    monkeypatch.setattr(extractor, "batch_limit", None)
    fits = 3
    np.testing.assert_allclose(extractor.features(pixels, PROMPTS), expected, atol=1e-5)
    assert sizes == [7, 3, 3, 1]
    extractor.features(pixels, PROMPTS)
    assert sizes[4:] == [3, 3, 1]  # it remembers
    assert caplog.text.count("out of device memory") == 1
    fits = 0
    with pytest.raises(ModelError, match="one segment does not fit"):
        extractor.features(pixels, PROMPTS)


def test_int8_weights_give_nearly_the_same_features_and_another_fingerprint(
    folder: Path, extractor: Extractor, pictures: np.ndarray
) -> None:
    small = load_extractor(MllmParams(id=str(folder), dtype="int8"), CUT, "cpu")
    pixels = torch.stack([extractor.preprocess(p) for p in pictures])
    plain, quantised = extractor.features(pixels, PROMPTS), small.features(pixels, PROMPTS)
    off = float(np.linalg.norm(plain - quantised) / np.linalg.norm(plain))
    assert 1e-4 < off < 0.1  # the decoder's weights did change, and not by much
    made, golden = fingerprint(extractor, PROMPTS[0], 4), golden_features(extractor, PROMPTS[0], [HeadRef(2, 0)], 4)
    with pytest.raises(ArtifactError, match="made with dtype float32, here it is int8"):
        check(made, golden, small, PROMPTS[0], [HeadRef(2, 0)], 4, folder)


def test_int8_without_torchao_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ModelError, match=r"pip install 'headhunt-svc\[int8\]'"):
        load_extractor(MllmParams(id=str(folder), dtype="int8"), CUT, "cpu")
