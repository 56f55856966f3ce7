"""The table of families: this package's own, those that other distributions add, and what is said of broken ones."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from headhunt_svc.errors import ModelError
from headhunt_svc.model.families import BUILT_IN, family_of, model_types, nearest_checkpoint, plugins
from helpers.distributions import install

SOUND = """
from headhunt_svc.model.families.internvl import InternVL


class Mine(InternVL):
    checkpoints = ("me/mine-8B",)
"""


def test_own_families_load_and_say_what_they_are_for() -> None:
    assert model_types() == tuple(sorted(BUILT_IN))
    for plugin in plugins():
        family = plugin.load()
        assert plugin.distribution == "headhunt-svc"
        assert family.name
        assert family.checkpoints
    names = [name for plugin in plugins() for name in plugin.load().checkpoints]
    assert len(names) == len(set(names))


def test_the_table_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\nfrom headhunt_svc.model.families import nearest_checkpoint\n"
        "assert nearest_checkpoint('OpenGVLab/InternVL3-8B') == 'OpenGVLab/InternVL3-8B-hf'\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize(
    ("mllm_id", "model_type", "nearest"),
    [
        ("OpenGVLab/InternVL3-8B", "internvl_chat", "OpenGVLab/InternVL3-8B-hf"),
        ("OpenGVLab/InternVL3-8B-Instruct", "internvl_chat", "OpenGVLab/InternVL3-8B-hf"),
        ("OpenGVLab/InternVL3_5-4B", "internvl_chat", "OpenGVLab/InternVL3_5-4B-HF"),
        ("/models/internvl3-1b/", None, "OpenGVLab/InternVL3-1B-hf"),
        ("lmms-lab/llava-onevision-qwen2-7b-ov", "llava", "llava-hf/llava-onevision-qwen2-7b-ov-hf"),
        ("HuggingFaceTB/SmolVLM-500M-Instruct", "idefics3", "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"),
        ("acme/kestrel-9", "bert", None),
    ],
)
def test_nearest_checkpoint(mllm_id: str, model_type: str | None, nearest: str | None) -> None:
    assert nearest_checkpoint(mllm_id, model_type) == nearest


def test_an_unsupported_type_names_what_is_supported_and_what_is_nearest() -> None:
    with pytest.raises(
        ModelError, match=r"'internvl_chat', which is not supported .*; supported: internvl, llava.*; nearest: "
    ) as info:
        family_of("internvl_chat", "OpenGVLab/InternVL3-2B")
    assert str(info.value).endswith("nearest: OpenGVLab/InternVL3-2B-hf")


def test_a_decoder_that_was_not_checked_is_refused_by_name() -> None:
    assert family_of("internvl", "OpenGVLab/InternVL3_5-8B-HF", "qwen3").name == "InternVL3 and InternVL3.5"
    with pytest.raises(
        ModelError, match=r"^OpenGVLab/gpt has a decoder of type 'gpt_oss', which is not supported in InternVL3 and"
    ):
        family_of("internvl", "OpenGVLab/gpt", "gpt_oss")


def test_an_installed_distribution_adds_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(
        install(tmp_path, "acme-families", "1.2", {"kestrel": "acme_sound:Mine"}, acme_sound=SOUND)
    )
    assert "kestrel" in model_types()
    assert type(family_of("kestrel", "me/mine")).__name__ == "Mine"
    assert nearest_checkpoint("you/mine-8B-int4") == "me/mine-8B"


@pytest.mark.parametrize(
    ("value", "source", "says"),
    [
        (
            "acme_import:Mine",
            "import nowhere_to_be_seen\n",
            "cannot be imported: ModuleNotFoundError: No module named 'nowhere_to_be_seen'; repair or uninstall",
        ),
        ("acme_syntax:Mine", "class :\n", "cannot be imported: SyntaxError: "),
        ("acme_exit:Mine", "raise RuntimeError('one\\ntwo')\n", "cannot be imported: RuntimeError: one; repair"),
        ("acme_name:Mine", "Other = 1\n", "cannot be imported: AttributeError: "),
        ("acme_missing:Mine", None, "cannot be imported: ModuleNotFoundError: No module named 'acme_missing'"),
        ("acme_instance:Mine", "Mine = 5\n", "is not a subclass of headhunt_svc.model.families.Family"),
        ("acme_plain:Mine", "class Mine:\n    name = 'x'\n", "is not a subclass of headhunt_svc.model.families.Family"),
        (
            "acme_half:Mine",
            "from headhunt_svc.model.families import Family\n\n\nclass Mine(Family):\n    pass\n",
            "lacks clip_text, encode_frames, picture_inputs, token_grid, with_encoded_frames, see docs/adding-",
        ),
    ],
)
def test_a_broken_plug_in_is_named_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
    source: str | None,
    says: str,
) -> None:
    modules = {} if source is None else {value.partition(":")[0]: source}
    monkeypatch.syspath_prepend(install(tmp_path, "acme-families", "1.2", {"kestrel": value}, **modules))
    with pytest.raises(ModelError) as info:
        family_of("kestrel", "me/mine")
    assert str(info.value).startswith(f"the model family 'kestrel' of acme-families 1.2 ({value}) {says}")
    assert "\n" not in str(info.value)
    assert family_of("internvl", "x").name  # the others work
    with caplog.at_level(logging.WARNING):
        assert nearest_checkpoint("OpenGVLab/InternVL3-8B") == "OpenGVLab/InternVL3-8B-hf"
    assert [record.getMessage() for record in caplog.records] == [str(info.value)]


def test_two_for_one_model_type_are_both_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("acme-families", "other-families"):
        folder = install(
            tmp_path / name, name, "1.2", {"kestrel": "acme_two:Mine", "qwen3_vl": "acme_two:Mine"}, acme_two=SOUND
        )
        monkeypatch.syspath_prepend(folder)
    with pytest.raises(ModelError) as info:
        family_of("kestrel", "me/mine")
    says = "model type 'kestrel' is claimed by {} and {}: uninstall all but one of them"
    two = ("other-families 1.2", "acme-families 1.2")
    assert str(info.value) in {says.format(*two), says.format(*two[::-1])}
    with pytest.raises(ModelError, match=r"'qwen3_vl' is claimed by headhunt-svc and \S+ 1\.2 and \S+ 1\.2:"):
        family_of("qwen3_vl", "me/mine")
    assert family_of("internvl", "x").name
