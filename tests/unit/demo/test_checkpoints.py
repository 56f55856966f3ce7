"""From which checkpoint a pre-training goes on: one whose past is that of the parameters, or none."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from conftest import ROOT
from headhunt_svc.demo.checkpoints import (
    CHECKPOINT,
    STABLE,
    Checkpoint,
    check_tensors,
    decays_from,
    past,
    read_checkpoint,
    write_checkpoint,
)
from headhunt_svc.demo.params import PretrainParams, load_demo_params
from headhunt_svc.errors import ArtifactError, ConfigError

DECAY, END = 2000, 3000
SPEAK = {"steps": END, "schedule": ((DECAY, 1.0), (END, 0.0)), "vision_from": 0.9}
RECIPE = load_demo_params().pretrain
RECIPE = RECIPE.model_copy(update={"speak": RECIPE.speak.model_copy(update=SPEAK)})


def changed(**update: Any) -> PretrainParams:
    return RECIPE.model_copy(update=update)


def speaks(**update: Any) -> PretrainParams:
    return changed(speak=RECIPE.speak.model_copy(update=update))


LONGER = speaks(steps=2 * END, schedule=((2 * DECAY, 1.0), (2 * END, 0.0)), vision_from=0.9)
SHORTER = speaks(steps=DECAY, schedule=((DECAY - 500, 1.0), (DECAY, 0.0)), vision_from=1.0)
OTHERS = {
    "learning rate": speaks(muon_lr=0.01),
    "batch": speaks(batch=4),
    "vision joins earlier": speaks(vision_from=0.1),
    "vision learns more slowly": speaks(vision_rate=0.5),
    "warm-up": speaks(warmup_steps=50),
    "more easy windows": speaks(easy=((0, 0.75),)),
    "stage see": changed(see=RECIPE.see.model_copy(update={"steps": 5})),
    "pool": changed(pool_seed=2),
    "ema": changed(ema=0.9),
    "windows": changed(windows=10),
    "model": changed(model=RECIPE.model.model_copy(update={"n_layers": 3})),
}


def test_the_shipped_recipe_can_be_prolonged_as_the_docs_say() -> None:
    shipped = load_demo_params().pretrain
    page = (ROOT / "docs" / "demo-model.md").read_text()
    said = re.search(r"`steps: (\d+)`,\s+`schedule: (.*?)`, `vision_from: (.*?)` and\s+`easy: (.*?)` of `speak`", page)
    assert said is not None
    schedule, easy = (tuple(map(tuple, json.loads(said[group]))) for group in (2, 4))
    update = {"steps": int(said[1]), "schedule": schedule, "vision_from": float(said[3]), "easy": easy}
    longer = shipped.model_copy(update={"speak": shipped.speak.model_copy(update=update)})
    steps = decays_from(shipped.speak)
    assert longer.speak.steps > shipped.speak.steps
    assert [longer.speak.steps - easy[-1][0], easy[-1][1]] == [
        shipped.speak.steps - shipped.speak.easy[-1][0],
        shipped.speak.easy[-1][1],
    ]
    assert past(longer, "speak", steps) == past(shipped, "speak", steps)


def write(folder: Path, name: str, steps: int, params: PretrainParams = RECIPE) -> None:
    write_checkpoint(folder / name, {"w": torch.tensor([float(steps)])}, params, "speak", steps)


def test_a_checkpoint_of_the_same_parameters_is_read_back(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path, RECIPE) is None
    write(tmp_path, CHECKPOINT, DECAY + 100)
    checkpoint = read_checkpoint(tmp_path, changed(checkpoint_every=7))
    assert checkpoint is not None
    assert (*checkpoint[:2], checkpoint[2]["w"].item()) == ("speak", DECAY + 100, DECAY + 100)


@pytest.mark.parametrize("params", [LONGER, SHORTER], ids=["longer", "shorter"])
def test_another_schedule_goes_on_from_where_both_were_the_same(tmp_path: Path, params: PretrainParams) -> None:
    write(tmp_path, CHECKPOINT, DECAY - 600)
    checkpoint = read_checkpoint(tmp_path, params)
    assert checkpoint is not None
    assert checkpoint[1] == DECAY - 600
    write(tmp_path, CHECKPOINT, DECAY + 100)
    with pytest.raises(ConfigError, match=r"checkpoint\.safetensors is of a run with other parameters"):
        read_checkpoint(tmp_path, params)


def test_a_longer_run_goes_on_from_before_the_decay(tmp_path: Path) -> None:
    write(tmp_path, CHECKPOINT, DECAY + 100)
    write(tmp_path, STABLE, DECAY)
    for params, steps in ((RECIPE, DECAY + 100), (LONGER, DECAY)):
        checkpoint = read_checkpoint(tmp_path, params)
        assert checkpoint is not None
        assert checkpoint[1] == steps


@pytest.mark.parametrize("params", OTHERS.values(), ids=OTHERS)
def test_a_run_with_another_past_is_refused(tmp_path: Path, params: PretrainParams) -> None:
    write(tmp_path, CHECKPOINT, DECAY)
    write(tmp_path, STABLE, DECAY)
    with pytest.raises(ConfigError, match=r"before-decay\.safetensors is of a run with other parameters: give those"):
        read_checkpoint(tmp_path, params)


METADATA = {"stage": "speak", "step": "5", "params": RECIPE.model_dump_json()}
WRONG_METADATA: dict[str, dict[str, str] | None] = {
    "no metadata": None,
    "no stage": {"step": "5", "params": RECIPE.model_dump_json()},
    "unknown stage": METADATA | {"stage": "hear"},
    "no step done": METADATA | {"step": "0"},
    "more steps than there are": METADATA | {"step": str(END + 1)},
    "step in words": METADATA | {"step": "five"},
    "no parameters": METADATA | {"params": "{}"},
}


@pytest.mark.parametrize("metadata", WRONG_METADATA.values(), ids=WRONG_METADATA)
def test_wrong_metadata_is_damage(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / CHECKPOINT, metadata)
    with pytest.raises(
        ArtifactError, match=r"checkpoint\.safetensors is damaged or of another version .*: delete it to start again$"
    ):
        read_checkpoint(tmp_path, RECIPE)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_part_of_a_checkpoint_is_damage_and_the_earlier_one_is_named(tmp_path: Path, share: float) -> None:
    for name in (CHECKPOINT, STABLE):
        write(tmp_path, name, DECAY)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        ArtifactError,
        match=r"checkpoint\.safetensors is damaged or of another version .*: delete it to go on from before-",
    ):
        read_checkpoint(tmp_path, RECIPE)
    (tmp_path / CHECKPOINT).unlink()
    with pytest.raises(
        ArtifactError, match=r"before-decay\.safetensors is damaged or of another version .*: delete it to start again$"
    ):
        read_checkpoint(tmp_path, RECIPE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_damage(tmp_path: Path, value: float) -> None:
    tensors = {"fine": torch.ones(2), "ruined": torch.tensor([0.0, value])}
    write_checkpoint(tmp_path / CHECKPOINT, tensors, RECIPE, "speak", 5)
    with pytest.raises(ArtifactError, match=r"is damaged or of another version \(not finite: ruined\)"):
        read_checkpoint(tmp_path, RECIPE)


def test_names_and_shapes_of_tensors_are_compared(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2, 3), "b": torch.ones(2), "c": torch.ones(1)}
    checkpoint = Checkpoint("speak", 5, tensors, tmp_path / STABLE)
    check_tensors(checkpoint, {name: tensor.shape for name, tensor in tensors.items()})
    expected = {"a": torch.Size([3, 2]), "b": torch.Size([2]), "d": torch.Size([1])}
    with pytest.raises(ArtifactError, match=r"another shape: a; c; d\): delete it to start again"):
        check_tensors(checkpoint, expected)
