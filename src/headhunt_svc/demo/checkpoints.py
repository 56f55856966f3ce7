"""Checkpoints of the pre-training: what they hold, and under which parameters a run may go on from one.

A run may go on under other parameters if they would have given the same state up to there: so a run whose learning
rate has not begun to fall can be prolonged.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from headhunt_svc.demo.params import PretrainParams, PretrainStageParams
from headhunt_svc.errors import ArtifactError, ConfigError, list_problems, reason_of
from headhunt_svc.storage.files import write_bytes

StageName = Literal["see", "speak"]
STAGES: tuple[StageName, ...] = ("see", "speak")
CHECKPOINT = "checkpoint.safetensors"
STABLE = "before-decay.safetensors"  # before the learning rate of `speak` falls
NO_INFLUENCE = {"checkpoint_every", "keep_before_decay"}  # on the weights


class Checkpoint(NamedTuple):
    """A state to go on from: the stage, how many of its steps are done, all tensors by name, and the file."""

    stage: StageName
    steps: int
    tensors: dict[str, torch.Tensor]
    path: Path


def learning_rate_factor(step: int, stage: PretrainStageParams) -> float:
    """Warm-up, then straight lines between the points of the schedule; never below 1 %."""
    return min(1.0, (step + 1) / stage.warmup_steps) * max(_between(stage.schedule, step), 0.01)


def _between(points: Sequence[tuple[int, float]], step: int) -> float:
    steps, values = zip(*points, strict=True)
    return float(np.interp(step, steps, values))


def easy_share(step: int, stage: PretrainStageParams) -> float:
    """Which share of this step's clips is drawn from windows that show the corpus' kinds only."""
    return _between(stage.easy, step) if stage.easy else 0.0


def vision_learns(step: int, stage: PretrainStageParams) -> bool:
    """Does the vision tower learn in this step?"""
    return step >= stage.vision_from * stage.steps


def decays_from(stage: PretrainStageParams) -> int:
    """After how many steps the learning rate begins to fall for good."""
    highest = max(factor for _, factor in stage.schedule)
    return max(step for step, factor in stage.schedule if factor == highest)


def past(params: PretrainParams, name: StageName, steps: int) -> dict[str, Any]:
    """Everything in the parameters that determines the state after `steps` steps of stage `name`."""
    dump = params.model_dump(mode="json", exclude={*NO_INFLUENCE, *STAGES})
    for stage_name in STAGES[: STAGES.index(name) + 1]:
        stage: PretrainStageParams = getattr(params, stage_name)
        done = range(steps if stage_name == name else stage.steps)
        dump[stage_name] = stage.model_dump(include={"muon_lr", "adamw_lr", "vision_rate", "recognition"})
        dump[stage_name]["steps"] = [
            (learning_rate_factor(i, stage), vision_learns(i, stage), stage.clips(i), easy_share(i, stage))
            for i in done
        ]
    return dump


def write_checkpoint(
    path: Path, tensors: Mapping[str, torch.Tensor], params: PretrainParams, stage: StageName, steps: int
) -> None:
    """Write the state after `steps` steps of `stage`."""
    metadata = {"stage": stage, "step": str(steps), "params": params.model_dump_json()}
    write_bytes(path, save({k: v.detach().contiguous() for k, v in tensors.items()}, metadata))


def _damaged(path: Path, why: str) -> ArtifactError:
    stable = path.with_name(STABLE)
    instead = f"go on from {STABLE}" if path != stable and stable.exists() else "start again"
    return ArtifactError(f"{path} is damaged or of another version ({why}): delete it to {instead}")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, KeyError, TypeError, ValueError) as exc:
        raise _damaged(path, reason_of(exc)) from exc


def check_tensors(checkpoint: Checkpoint, expected: Mapping[str, torch.Size]) -> None:
    """Has a checkpoint the tensors of these names and shapes, and no others?

    Raises:
        ArtifactError: it has not; the message names them.
    """
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    wrong = sorted(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))
    if wrong:
        raise _damaged(checkpoint.path, f"missing, unknown or of another shape: {list_problems(wrong)}")


def read_checkpoint(folder: Path, params: PretrainParams) -> Checkpoint | None:
    """The furthest checkpoint in a folder; None if there is none.

    Raises:
        ConfigError: it is of other parameters, with which the run would have come to another state.
        ArtifactError: it cannot be read, or holds a value that is not finite.
    """
    for path in (folder / CHECKPOINT, folder / STABLE):
        if not path.exists():
            continue
        with _reading(path):
            with safe_open(path, "pt") as f:
                metadata = f.metadata()
            stage: StageName = STAGES[STAGES.index(metadata["stage"])]
            steps, written = int(metadata["step"]), PretrainParams.model_validate_json(metadata["params"])
            if not 0 < steps <= getattr(written, stage).steps:
                raise ValueError(f"step {steps} of {stage}")
        if steps <= getattr(params, stage).steps and past(written, stage, steps) == past(params, stage, steps):
            with _reading(path):
                tensors = load_file(path)
            infinite = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
            if infinite:
                raise _damaged(path, f"not finite: {list_problems(infinite)}")
            return Checkpoint(stage, steps, tensors, path)
        if path.name == CHECKPOINT and (folder / STABLE).exists():
            continue
        raise ConfigError(f"{path} is of a run with other parameters: give those, or delete it to start again")
    return None
