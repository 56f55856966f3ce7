"""Pre-training in miniature: it learns, it resumes exactly, it is deterministic."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import nn

from headhunt_svc.cli.demo import demo_seeds
from headhunt_svc.demo import pretraining
from headhunt_svc.demo import trainer as training
from headhunt_svc.demo.checkpoints import CHECKPOINT, STABLE, learning_rate_factor, read_checkpoint, write_checkpoint
from headhunt_svc.demo.params import PretrainParams, PretrainStageParams
from headhunt_svc.demo.pretraining import is_trained, pretrain
from headhunt_svc.demo.trainer import Trainer
from headhunt_svc.errors import ArtifactError, ConfigError
from helpers.pretraining import MINI, SHORT, STAGE, WITH_OPTIONS


@pytest.fixture(autouse=True)
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "HELD_OUT", 4)
    monkeypatch.setattr(training, "HELD_OUT", 4)
    monkeypatch.setattr(pretraining, "FRESH_WINDOWS", 16)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)


def test_learning_rate_warms_up_stays_and_decays() -> None:
    stage = PretrainStageParams(
        steps=100, batch=1, muon_lr=1, adamw_lr=1, schedule=((50, 1.0), (100, 0.0)), warmup_steps=10
    )
    factors = [learning_rate_factor(i, stage) for i in range(100)]
    assert factors[0] == 0.1
    assert factors[10:51] == [1.0] * 41
    assert factors[75] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.02)


@pytest.mark.parametrize("params", [MINI, WITH_OPTIONS], ids=["plain", "with options"])
def test_a_stopped_run_ends_with_the_same_weights_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: PretrainParams
) -> None:
    pretrain(params, tmp_path / "work", tmp_path / "straight")
    assert not list((tmp_path / "work").rglob("checkpoint*"))  # a finished run starts afresh
    real, calls = Trainer.step, []

    def stops(self: Trainer, name: str, step: int) -> float:
        calls.append((name, step))
        if len(calls) == 7:
            raise KeyboardInterrupt
        return real(self, name, step)

    monkeypatch.setattr(Trainer, "step", stops)
    with pytest.raises(KeyboardInterrupt):
        pretrain(params, tmp_path / "work", tmp_path / "resumed")
    pretrain(params, tmp_path / "work", tmp_path / "resumed")
    assert calls[6:] == [("speak", 2), ("speak", 2), ("speak", 3)]
    a, b = (load_file(tmp_path / n / "model.safetensors") for n in ("straight", "resumed"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert is_trained(tmp_path / "resumed", params)
    assert not is_trained(tmp_path / "elsewhere", params)
    with pytest.raises(ConfigError, match=r"pretraining\.json is of other parameters"):
        is_trained(tmp_path / "resumed", params.model_copy(update={"windows": 25}))
    report = json.loads((tmp_path / "resumed" / "pretraining.json").read_text())
    assert report["fresh_windows"] == 16
    assert 0 <= report["accuracy"]["yes_no"] <= 1


@pytest.mark.parametrize("record", ["{}", "[]", '{"seed": 1}'])
def test_a_model_of_unknown_parameters_is_named_with_the_way_out(tmp_path: Path, record: str) -> None:
    (tmp_path / "pretraining.json").write_text(record)
    with pytest.raises(ArtifactError, match=r"pretraining\.json does not say of which parameters .*: move .* away"):
        is_trained(tmp_path, MINI)


def test_a_run_is_prolonged_from_before_its_decay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It then ends with the weights of a run that was longer from the start, without taking the first steps again."""
    short = WITH_OPTIONS.model_copy(update={"keep_before_decay": True, "checkpoint_every": 3})
    speak = SHORT.model_copy(update={"steps": 6, "schedule": ((4, 1.0), (6, 0.0))})
    long = short.model_copy(update={"speak": speak})
    pretrain(long, tmp_path / "work", tmp_path / "straight")
    (tmp_path / "work" / "wide-seed-1" / STABLE).unlink()
    pretrain(short, tmp_path / "work", tmp_path / "short")
    taken, real = [], Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, name, step: (taken.append(step), real(self, name, step))[1])
    pretrain(long, tmp_path / "work", tmp_path / "prolonged")
    assert taken == [2, 3, 4, 5]
    a, b = (load_file(tmp_path / n / "model.safetensors") for n in ("straight", "prolonged"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], b) for k, b in load_file(tmp_path / "short" / "model.safetensors").items())


def test_a_run_that_diverges_ends_with_its_last_good_checkpoint_and_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 1.0, 1.0, float("nan")])
    monkeypatch.setattr(Trainer, "see_loss", lambda self, rng, step: next(losses) * self.dense_head.bias.square().sum())
    with pytest.raises(ConfigError, match=r"diverged \(loss nan and gradient nan in step 4 of see\).*nothing was"):
        pretrain(MINI, tmp_path / "work", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    good = read_checkpoint(tmp_path / "work" / "wide-seed-1", MINI)
    assert good is not None
    assert good[:2] == ("see", 2)


def test_a_weight_too_large_for_fp16_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretraining.make_pool(tmp_path / "pool", 5, 96, 1)
    monkeypatch.setattr(pretraining, "make_pool", lambda *args: None)
    trainer = Trainer(MINI, tmp_path / "pool", tmp_path)
    nn.init.constant_(trainer.model.model.language_model.norm.weight, 1e6)
    with pytest.raises(ConfigError, match="not finite in fp16"):
        pretraining.export(trainer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["schedule", "easy"])
@pytest.mark.parametrize("steps", [(3, 2), (3, 3), (-1, 3)])
def test_points_whose_steps_do_not_rise_are_refused(name: str, steps: tuple[int, int]) -> None:
    with pytest.raises(ValidationError, match="steps must rise, from 0 or more"):
        PretrainStageParams.model_validate(STAGE.model_dump() | {name: [(step, 0.5) for step in steps]})


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        pytest.fail("windows are rendered, or a model is trained")

    monkeypatch.setattr(pretraining, "make_pool", refuse)
    monkeypatch.setattr(pretraining, "_train", refuse)


@pytest.mark.usefixtures("no_training")
def test_what_is_wrong_is_refused_before_windows_are_rendered(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    with pytest.raises(ConfigError, match=r"windows is 4: give more than the 4 that are held out"):
        pretrain(MINI.model_copy(update={"windows": 4}), work, out)
    (work / "wide-seed-1").mkdir(parents=True)
    write_checkpoint(work / "wide-seed-1" / CHECKPOINT, {"w": torch.ones(1)}, MINI, "see", 2)
    with pytest.raises(ConfigError, match="of a run with other parameters"):
        pretrain(MINI.model_copy(update={"windows": 25}), work, out)


@pytest.mark.usefixtures("no_training")
def test_a_trained_model_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "pretraining.json").write_text(json.dumps({"params": MINI.model_dump(mode="json")}))
    pretrain(MINI, tmp_path / "work", out)
    assert "already trained" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"is of other parameters: give those, or move .* away"):
        pretrain(WITH_OPTIONS, tmp_path / "work", out)


def test_seeds_are_not_trained_where_they_cannot_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "pretrain", lambda *args: pytest.fail("a seed is trained"))
    shipped = Path("params.yaml").resolve()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"params\.yaml not found"):
        demo_seeds([1], Path("params.yaml"))
    with pytest.raises(ArtifactError, match="headhunt index"):
        demo_seeds([1], shipped)
