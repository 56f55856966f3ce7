"""From which checkpoint a pre-training goes on: one whose past is that of the parameters, or none."""

from pathlib import Path
from typing import Any

import pytest
import torch

from headhunt_svc.demo.checkpoints import CHECKPOINT, STABLE, read_checkpoint, write_checkpoint
from headhunt_svc.demo.params import DEMO_PARAMS, PretrainParams, load_demo_params
from headhunt_svc.errors import ConfigError

WIDE = load_demo_params(DEMO_PARAMS.with_name("params-wide.yaml")).pretrain
DECAY, END = (step for step, _ in WIDE.speak.schedule)


def changed(**update: Any) -> PretrainParams:
    return WIDE.model_copy(update=update)


def speaks(**update: Any) -> PretrainParams:
    return changed(speak=WIDE.speak.model_copy(update=update))


LONGER = speaks(steps=2 * END, schedule=((2 * DECAY, 1.0), (2 * END, 0.0)), vision_from=0.4)
SHORTER = speaks(steps=DECAY, schedule=((DECAY - 500, 1.0), (DECAY, 0.0)), vision_from=1.0)
OTHERS = {
    "learning rate": speaks(muon_lr=0.01),
    "batch": speaks(batch=4),
    "vision joins earlier": speaks(vision_from=0.1),
    "warm-up": speaks(warmup_steps=50),
    "stage see": changed(see=WIDE.see.model_copy(update={"steps": 5})),
    "world": changed(world="narrow"),
    "ema": changed(ema=0.9),
    "windows": changed(windows=10),
    "model": changed(model=WIDE.model.model_copy(update={"n_layers": 3})),
}


def write(folder: Path, name: str, steps: int, params: PretrainParams = WIDE) -> None:
    write_checkpoint(folder / name, {"w": torch.tensor([float(steps)])}, params, "speak", steps)


def test_a_checkpoint_of_the_same_parameters_is_read_back(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path, WIDE) is None
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
    for params, steps in ((WIDE, DECAY + 100), (LONGER, DECAY)):
        checkpoint = read_checkpoint(tmp_path, params)
        assert checkpoint is not None
        assert checkpoint[1] == steps


@pytest.mark.parametrize("params", OTHERS.values(), ids=OTHERS)
def test_a_run_with_another_past_is_refused(tmp_path: Path, params: PretrainParams) -> None:
    write(tmp_path, CHECKPOINT, DECAY)
    write(tmp_path, STABLE, DECAY)
    with pytest.raises(ConfigError, match=r"before-decay\.safetensors is of a run with other parameters: give those"):
        read_checkpoint(tmp_path, params)
