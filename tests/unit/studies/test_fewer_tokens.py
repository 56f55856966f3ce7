"""The arms of `headhunt fewer-tokens`, without a model."""

from pathlib import Path

import pytest
import torch

from headhunt_svc.cli.fewer_tokens import print_tokens
from headhunt_svc.errors import ConfigError
from headhunt_svc.model.families.internvl import InternVL
from headhunt_svc.params import Params, load_params
from headhunt_svc.studies.fewer_tokens import SHARES, _arms, at_random, fewer_tokens, first_of_pairs, in_pairs

PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture
def params() -> Params:
    return load_params(PARAMS)


def test_every_share_has_a_control_with_as_many_tokens(params: Params) -> None:
    arms = {arm.name: arm for arm in _arms(params)}
    assert arms["all"].share == 1
    for share in SHARES:
        assert arms[f"changed {share:g}"].share == arms[f"random {share:g}"].share == share
        assert arms[f"changed {share:g}"].choice is not arms[f"random {share:g}"].choice
    half = arms["half of the frames"].segmentation
    assert half.frames_per_segment == params.segmentation.frames_per_segment // 2
    assert half.length_s == params.segmentation.length_s


def test_random_places_are_the_same_for_the_same_pictures() -> None:
    pictures = torch.arange(2 * 4 * 3 * 8 * 8).view(2, 4, 3, 8, 8).to(torch.uint8)
    first = at_random(pictures, (4, 2, 2))
    assert torch.equal(first, at_random(pictures.clone(), (4, 2, 2)))
    assert not torch.equal(first, at_random(pictures // 2, (4, 2, 2)))
    assert first.shape == (2, 4, 2, 2)


def test_pairs_of_frames_are_averaged_and_the_first_stands_for_both() -> None:
    frames = [(torch.full((2, 3), float(i)),) for i in range(5)]
    family = InternVL()
    (tokens,) = in_pairs(family).with_encoded_frames(None, [frames])["mm_encoder_outputs"].values()
    assert tokens.pooler_output.mean((1, 2)).tolist() == [0.5, 0.5, 2.5, 2.5, 4]
    (tokens,) = family.with_encoded_frames(None, [frames])["mm_encoder_outputs"].values()
    assert tokens.pooler_output.mean((1, 2)).tolist() == [0, 1, 2, 3, 4]
    scores = first_of_pairs(torch.zeros(2, 4, 3, 8, 8, dtype=torch.uint8), (4, 2, 2))
    assert scores.shape == (2, 4, 2, 2)
    assert scores[1, :, 0, 1].tolist() == [1, 0, 1, 0]


def test_shares_are_compared_with_all_tokens(params: Params, tmp_path: Path) -> None:
    half = params.model_copy(update={"mllm": params.mllm.model_copy(update={"keep_tokens": 0.5})})
    with pytest.raises(ConfigError, match=r"keep_tokens is 0\.5"):
        fewer_tokens(half, tmp_path / "index", tmp_path / "labels", tmp_path, tmp_path / "out.json")


def test_the_table_has_a_row_an_arm(capsys: pytest.CaptureFixture[str]) -> None:
    test = {"roc_auc": 0.9, "roc_auc_interval": [0.8, 0.95], "average_precision": 0.7}
    test |= {"average_precision_interval": [0.6, 0.8], "groups": {"unseen_kinds": {"roc_auc": 0.81}}}
    none = {**test, "groups": {"unseen_kinds": {"undefined": "no kind is unseen"}}}
    validation = {"roc_auc": 0.97, "average_precision": 0.9}
    rows = {"all": (128, test), "changed 0.5": (64, none)}
    result = {}
    for name, (n, row) in rows.items():
        figures = {"test": row, "validation": validation}
        result[name] = {"tokens": n, "anew": figures, "same_heads": figures}
    print_tokens(result)
    lines = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert "128" in lines[0]
    assert "0.8100" in lines[0]
    assert "64" in lines[1]
    assert " - " in lines[1]
