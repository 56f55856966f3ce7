"""Whatever is in a model folder: one line says what, where and the way out; code in it is not run."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from conftest import write_video
from helpers.commands import command, refusal, refusal_of
from helpers.models import tiny

PARAMS = """
mllm: {id: model}
dataset: {root: footage, annotations: annotations.jsonl}
segmentation: {length_s: 0.8, frames_per_segment: 2}
prompts: {texts: ["what happens in the video?"]}
"""
ROW = {"video": "a.mp4", "split": "calibration", "label": "fall", "spans": [[0.2, 0.8]], "unit": "seconds"}
Damage = Callable[[Path], object]
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model that can be read."""
    extractor, folder = tiny("internvl"), tmp_path_factory.mktemp("model")
    extractor.model.save_pretrained(folder)
    extractor.tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    return folder


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an index of two videos."""
    folder = tmp_path_factory.mktemp("indexed")
    for name in ("a.mp4", "b.mp4"):
        write_video(folder / "footage" / name, 16)
    (folder / "params.yaml").write_text(PARAMS)
    rows = [ROW, ROW | {"video": "b.mp4", "split": "validation"}]
    (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert command("index", cwd=folder).code == 0
    return folder


def refuse_model(indexed: Path, whole_model: Path, damage: Damage) -> str:
    """What `headhunt extract` says of a damaged copy of the model."""
    shutil.rmtree(indexed / "model", ignore_errors=True)
    shutil.copytree(whole_model, indexed / "model")
    damage(indexed / "model")
    return refusal("extract", cwd=indexed)


def test_the_model_of_these_tests_can_be_used(indexed: Path, whole_model: Path) -> None:
    shutil.copytree(whole_model, indexed / "model", dirs_exist_ok=True)
    assert command("extract", cwd=indexed).code == 0


def becomes(name: str, content: bytes | str) -> Damage:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def lacks(*names: str) -> Damage:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def cut_off(name: str, share: float) -> Damage:
    return lambda folder: os.truncate(folder / name, int((folder / name).stat().st_size * share))


def with_values(name: str, **values: Any) -> Damage:
    """A JSON file with other values at paths such as `text_config.hidden_size`; written a__b."""

    def change(folder: Path) -> None:
        raw = json.loads((folder / name).read_text())
        for place, value in values.items():
            *above, last = place.split("__")
            inner = raw
            for key in above:
                inner = inner[key]
            inner[last] = value
        (folder / name).write_text(json.dumps(raw))

    return change


def both(*damages: Damage) -> Damage:
    def do(folder: Path) -> None:
        for damage in damages:
            damage(folder)

    return do


def with_tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Damage:
    return lambda folder: save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, {"format": "pt"})


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def in_parts(index: str) -> Damage:
    return both(lacks(WEIGHTS), becomes("model.safetensors.index.json", index))


BROKEN = {
    "empty": b"",
    "cut": b'{"a": ',
    "binary": b"\xff\x00\xfe",
    "list": b"[1]",
    "text": b'"x"',
    "deep": b"[" * 100_000,
}
DAMAGES: dict[str, tuple[Damage, str]] = {
    **{f"config {kind}": (becomes(CONFIG, content), "config.json") for kind, content in BROKEN.items()},
    "config missing": (lacks(CONFIG), "config.json"),
    "config {}": (becomes(CONFIG, "{}"), "supported"),
    "config of another model": (with_values(CONFIG, model_type="bert"), "supported"),
    "config of no type": (with_values(CONFIG, model_type=None), "supported"),
    "config of a type of types": (with_values(CONFIG, model_type=["internvl"]), "supported"),
    "config with code": (
        with_values(CONFIG, model_type="internvl_chat", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.M"}),
        "supported",
    ),
    "config of a text model that does not exist": (with_values(CONFIG, text_config={"model_type": "none"}), "model"),
    "config without text": (with_values(CONFIG, text_config=None), "lacks weights: config.json describes"),
    "config of another width": (with_values(CONFIG, text_config__hidden_size=32), "model"),
    "config of a million layers": (with_values(CONFIG, text_config__num_hidden_layers=10**6), "model"),
    "config of a width that no memory holds": (with_values(CONFIG, text_config__hidden_size=2**40), "model"),
    **{f"tokenizer {kind}": (becomes("tokenizer.json", content), "tokenizer") for kind, content in BROKEN.items()},
    **{
        f"tokenizer config {kind}": (becomes("tokenizer_config.json", content), "model")
        for kind, content in BROKEN.items()
    },
    "tokenizer missing": (lacks("tokenizer.json", "tokenizer_config.json"), "model"),
    "template missing": (lacks("chat_template.jinja"), "template"),
    "template broken": (becomes("chat_template.jinja", "{% for m in %}"), "template"),
    "template of endless text": (
        becomes("chat_template.jinja", "{% for i in range(10**9) %}x{% endfor %}"),
        "template",
    ),
    "template without the question": (becomes("chat_template.jinja", "hello"), "model"),
    "weights missing": (lacks(WEIGHTS), WEIGHTS),
    "weights empty": (becomes(WEIGHTS, b""), WEIGHTS),
    "weights garbage": (becomes(WEIGHTS, b"\x07" * 999), WEIGHTS),
    "weights cut off": (cut_off(WEIGHTS, 0.9), WEIGHTS),
    "weights without data": (cut_off(WEIGHTS, 0.001), WEIGHTS),
    "weights of other shapes": (with_tensors(lambda t: {k: v[..., :-1].contiguous() for k, v in t.items()}), "model"),
    "weights of other names": (with_tensors(lambda t: {f"x.{k}": v for k, v in t.items()}), "lacks"),
    "weights none": (with_tensors(lambda t: {}), "lacks"),
    "weights half": (with_tensors(lambda t: dict(list(t.items())[::2])), "lacks"),
    "weights pickled": (pickled, "pytorch_model.bin"),
    "parts missing": (in_parts(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}})), "model-00001"),
    "parts elsewhere": (in_parts(json.dumps({"weight_map": {"a": "../../footage/a.mp4"}})), "model"),
    **{f"index {kind}": (in_parts(content.decode("latin-1")), "index") for kind, content in BROKEN.items()},
    "index {}": (in_parts("{}"), "index"),
    "index of a list": (in_parts('{"weight_map": []}'), "index"),
    "index of numbers": (in_parts('{"weight_map": {"a": 7}}'), "lacks"),
    **{
        f"preprocessing {kind}": (becomes("preprocessor_config.json", content), "preprocessor_config.json")
        for kind, content in BROKEN.items()
    },
    "preprocessing of text": (becomes("preprocessor_config.json", '{"image_mean": "grey"}'), "model"),
    "preprocessing of two colours": (becomes("preprocessor_config.json", '{"image_mean": [0.5, 0.5]}'), "model"),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES.keys())
def test_no_model_folder_is_too_damaged(indexed: Path, whole_model: Path, damage: Damage, says: str) -> None:
    message = refuse_model(indexed, whole_model, damage)
    assert says in message
    assert "model" in message


CONFIG_PLACES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
)
VISION_PLACES = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
few_models = settings(max_examples=25, suppress_health_check=list(HealthCheck))


@few_models
@given(
    st.sampled_from([f"text_config__{n}" for n in CONFIG_PLACES] + [f"vision_config__{n}" for n in VISION_PLACES]
        + ["text_config", "vision_config", "image_token_id", "downsample_ratio", "architectures", "dtype"]),
    st.sampled_from([None, -1, 0, 1, 3, 1.5, "x", "", [], {}, [1, 2], {"a": 1}, True]),
)  # fmt: skip
def test_no_value_of_a_configuration_is_too_odd(indexed: Path, whole_model: Path, place: str, value: Any) -> None:
    shutil.rmtree(indexed / "model", ignore_errors=True)
    shutil.copytree(whole_model, indexed / "model")
    with_values(CONFIG, **{place: value})(indexed / "model")
    done = command("extract", cwd=indexed)
    if done.code:  # some of these values change nothing
        assert "model" in refusal_of(done)


def test_code_in_a_model_folder_is_not_run(indexed: Path, whole_model: Path, tmp_path: Path) -> None:
    """Where transformers has a class of its own, that is taken; where it has none, the model is refused."""
    evil = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    maps = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoTokenizer": ["evil.Tokenizer", None]}

    def with_code(folder: Path) -> None:
        (folder / "evil.py").write_text(evil)
        for name in (CONFIG, "tokenizer_config.json"):
            with_values(name, auto_map=maps, tokenizer_class="Evil")(folder)

    shutil.rmtree(indexed / "model", ignore_errors=True)
    shutil.copytree(whole_model, indexed / "model")
    with_code(indexed / "model")
    done = command("extract", cwd=indexed)
    assert done.code == 0, done.err
    assert "trust_remote_code" not in refuse_model(
        indexed, whole_model, both(with_code, with_values(CONFIG, model_type="evil"))
    )
    assert not (tmp_path / "ran").exists()
