"""Pre-training in miniature: it learns, it resumes exactly, it is deterministic."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import nn

from headhunt_svc.cli.demo import demo_seeds
from headhunt_svc.demo import pretraining
from headhunt_svc.demo.checkpoints import CHECKPOINT, STABLE, learning_rate_factor, read_checkpoint, write_checkpoint
from headhunt_svc.demo.muon import orthogonalise
from headhunt_svc.demo.params import DemoModelParams, PretrainParams, PretrainStageParams, ShortClips
from headhunt_svc.demo.pretraining import Trainer, is_trained, pretrain
from headhunt_svc.demo.questions import training_questions
from headhunt_svc.errors import ArtifactError, ConfigError

STAGE = PretrainStageParams(
    steps=4, batch=4, muon_lr=0.02, adamw_lr=0.003, schedule=((2, 1.0), (4, 0.0)), warmup_steps=1
)
SMALL = DemoModelParams(
    vision_width=32,
    vision_layers=1,
    hidden_size=32,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=8,
    intermediate_size=48,
)
MINI = PretrainParams(windows=24, processes=1, checkpoint_every=2, see=STAGE, speak=STAGE, model=SMALL)
OPTIONS = {"ema": 0.5, "head_dropout": 0.25, "orthogonality": 0.1, "probes": 4}
SHORT = STAGE.model_copy(update={"recognition": 1.0, "short": ShortClips(steps=2, batch=6)})
WITH_OPTIONS = MINI.model_copy(update={**OPTIONS, "speak": SHORT})


@pytest.fixture(autouse=True)
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "HELD_OUT", 4)
    monkeypatch.setattr(pretraining, "FRESH_WINDOWS", 16)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)


def test_orthogonalise_makes_all_singular_values_about_one() -> None:
    x = torch.randn(3, 20, 8, generator=torch.Generator().manual_seed(0))
    s = torch.linalg.svdvals(orthogonalise(x))
    assert s.min() > 0.6
    assert s.max() < 1.3


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


def test_averaged_weights_are_measured_and_the_others_go_on(tmp_path: Path) -> None:
    pretraining.make_pool(tmp_path / "pool", 24, 96, 1)
    trainer = Trainer(MINI.model_copy(update={"ema": 0.75}), tmp_path / "pool", tmp_path)
    weight = trainer.model.model.language_model.layers[0].mlp.up_proj.weight
    weights = [weight.detach().clone()]
    for step in range(3):
        trainer.step("speak", step)
        weights.append(weight.detach().clone())
    expected = 0.75**3 * weights[0] + 0.25 * (0.75**2 * weights[1] + 0.75 * weights[2] + weights[3])
    with trainer.measured():
        torch.testing.assert_close(weight.detach(), expected)
    assert torch.equal(weight, weights[3])


def test_options_change_the_training_only_where_they_are_asked_for(tmp_path: Path) -> None:
    pretraining.make_pool(tmp_path / "pool", 24, 96, 1)

    def after_a_step(**options: float) -> torch.Tensor:
        trainer = Trainer(MINI.model_copy(update=options), tmp_path / "pool", tmp_path)
        trainer.step("speak", 0)
        return trainer.model.model.language_model.layers[1].self_attn.v_proj.weight.detach().clone()

    plain = after_a_step()
    assert torch.equal(plain, after_a_step(ema=0.5))
    for options in ({"head_dropout": 0.5}, {"orthogonality": 1.0}):
        assert not torch.equal(plain, after_a_step(**options))


def test_both_losses_go_down_on_a_batch_seen_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretraining.make_pool(tmp_path / "pool", 24, 96, 1)
    long = STAGE.model_copy(update={"steps": 100, "schedule": ((0, 1.0),)})
    trainer = Trainer(MINI.model_copy(update={"see": long, "speak": long}), tmp_path / "pool", tmp_path)
    monkeypatch.setattr(pretraining.np.random, "default_rng", lambda seed, real=np.random.default_rng: real(0))
    for name in ("see", "speak"):
        losses = [trainer.step(name, i) for i in range(12)]
        assert losses[-1] < 0.8 * losses[0]


def test_clips_in_one_row_equal_plain_attention_clip_by_clip(tmp_path: Path) -> None:
    """Against transformers' own SDPA with the whole mask; the model attends as before afterwards."""
    pretraining.make_pool(tmp_path / "pool", 24, 96, 1)
    trainer = Trainer(MINI, tmp_path / "pool", tmp_path)
    talk, language = trainer.talk, trainer.model.model.language_model
    packed = talk.pack([training_questions(trainer.seen, i, np.random.default_rng(0), range(3)) for i in range(3)])
    visual = torch.randn(3 * 8, 16, SMALL.hidden_size, generator=torch.Generator().manual_seed(0))
    ours, n = talk.hidden(visual, packed), len(talk.prefix)
    embed = trainer.model.get_input_embeddings()
    for clip, hidden in enumerate(ours):
        asked = packed.blocks[clip] > 0
        prefix = embed(talk.prefix)
        prefix[talk.is_visual] = visual[8 * clip : 8 * (clip + 1)].flatten(0, 1)
        blocks = torch.cat([torch.zeros(n, dtype=torch.long), packed.blocks[clip][asked]])
        visible = ((blocks == 0) | (blocks[:, None] == blocks)).tril()
        theirs = language(
            inputs_embeds=torch.cat([prefix, embed(packed.ids[clip][asked])])[None],
            attention_mask=torch.zeros(visible.shape).masked_fill(~visible, -1e9)[None, None],
            position_ids=torch.cat([torch.arange(n), packed.positions[clip][asked]])[None],
            use_cache=False,
        ).last_hidden_state[0, n:]
        torch.testing.assert_close(hidden[asked], theirs, rtol=1e-4, atol=1e-5)


def test_the_vision_tower_joins_in_when_told(tmp_path: Path) -> None:
    pretraining.make_pool(tmp_path / "pool", 24, 96, 1)
    speak = STAGE.model_copy(update={"vision_from": 0.5})
    trainer = Trainer(MINI.model_copy(update={"speak": speak}), tmp_path / "pool", tmp_path)
    weight = trainer.model.model.vision_tower.encoder.layer[0].attention.q_proj.weight
    before = weight.detach().clone()
    trainer.step("speak", 1)
    assert torch.equal(weight, before)
    trainer.step("speak", 2)
    assert not torch.equal(weight, before)


def test_the_vision_tower_learns_at_a_rate_of_its_own(tmp_path: Path) -> None:
    pretraining.make_pool(tmp_path / "pool", 24, 96, 1)

    def change(rate: float) -> tuple[dict[bool, torch.Tensor], dict[bool, torch.Tensor]]:
        """Of matrices and other weights after one step: of the tower's (True) and of all others (False)."""
        speak = STAGE.model_copy(update={"vision_rate": rate})
        trainer = Trainer(MINI.model_copy(update={"speak": speak}), tmp_path / "pool", tmp_path)
        before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
        trainer.step("speak", 0)
        changes: tuple[dict[bool, torch.Tensor], dict[bool, torch.Tensor]] = ({}, {})
        for matrix in (False, True):
            for tower in (False, True):
                parts = [
                    (p.detach() - before[n]).flatten()
                    for n, p in trainer.model.named_parameters()
                    if (p.ndim == 2) == matrix and ("vision_tower" in n) == tower
                ]
                changes[matrix][tower] = torch.cat(parts)
        return changes

    for whole, half in zip(change(1.0), change(0.5), strict=True):
        torch.testing.assert_close(half[False], whole[False])
        torch.testing.assert_close(half[True], 0.5 * whole[True], rtol=0.01, atol=1e-7)
        assert whole[True].abs().max() > 1e-4


def test_a_resumed_trainer_needs_the_optimiser_states_of_all_that_has_learnt(tmp_path: Path) -> None:
    pretraining.make_pool(tmp_path / "pool", 24, 96, 1)
    late = MINI.model_copy(update={"see": STAGE.model_copy(update={"vision_from": 1.0})})
    for params, name in ((MINI, "see"), (MINI, "speak"), (late, "see"), (late, "speak")):
        trainer, other = (Trainer(params, tmp_path / "pool", tmp_path) for _ in range(2))
        trainer.step("see", 0)
        if name == "speak":
            trainer.step("speak", 0)
        trainer.save(name, 1)
        assert other.resume() == (name, 1)
        tensors = trainer._tensors()
        assert other._tensors().keys() == tensors.keys()
        assert all(torch.equal(other._tensors()[k], v) for k, v in tensors.items())
    for missing in ("adamw.", "adamw.0.exp_avg_sq", "dense.bias"):
        rest = {k: v for k, v in tensors.items() if not k.startswith(missing)}
        write_checkpoint(tmp_path / CHECKPOINT, rest, late, "speak", 1)
        with pytest.raises(
            ArtifactError, match=rf"is damaged or of another version \(missing, .*{missing}.*delete it to start again"
        ):
            Trainer(late, tmp_path / "pool", tmp_path).resume()


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


def test_products_are_in_bfloat16_only_where_the_processor_multiplies_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretraining.make_pool(tmp_path / "pool", 24, 96, 1)
    trainer = Trainer(MINI, tmp_path / "pool", tmp_path)
    pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    matrix = torch.randn(1, 8, 20, generator=torch.Generator().manual_seed(1))
    exact = trainer.model.model.get_image_features(pixels).pooler_output
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert torch.equal(trainer._visual(pixels), exact)
    precise = orthogonalise(matrix)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert trainer._visual(pixels).dtype == torch.bfloat16
    assert 0 < (orthogonalise(matrix) - precise).abs().max() < 0.05


def test_easy_clips_without_a_window_of_the_corpus_kinds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretraining.make_pool(tmp_path / "pool", 5, 96, 1)
    easy = MINI.model_copy(update={"speak": STAGE.model_copy(update={"easy": ((0, 1.0),)})})
    monkeypatch.setattr(pretraining.Witness, "shown", lambda self: frozenset(pretraining.KINDS))
    Trainer(MINI, tmp_path / "pool", tmp_path)
    with pytest.raises(ConfigError, match="no window shows the corpus' kinds only"):
        Trainer(easy, tmp_path / "pool", tmp_path)


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
