"""A process of the pre-training: it learns, what is not asked for changes nothing, its state is whole."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headhunt_svc.demo import trainer as training
from headhunt_svc.demo.checkpoints import CHECKPOINT, write_checkpoint
from headhunt_svc.demo.muon import orthogonalise
from headhunt_svc.demo.pool import make_pool
from headhunt_svc.demo.questions import training_questions
from headhunt_svc.demo.trainer import Trainer
from headhunt_svc.errors import ArtifactError, ConfigError
from helpers.pretraining import MINI, SMALL, STAGE


@pytest.fixture(autouse=True)
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "HELD_OUT", 4)


def test_averaged_weights_are_measured_and_the_others_go_on(tmp_path: Path) -> None:
    make_pool(tmp_path / "pool", 24, 96, 1)
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
    make_pool(tmp_path / "pool", 24, 96, 1)

    def after_a_step(**options: float) -> torch.Tensor:
        trainer = Trainer(MINI.model_copy(update=options), tmp_path / "pool", tmp_path)
        trainer.step("speak", 0)
        return trainer.model.model.language_model.layers[1].self_attn.v_proj.weight.detach().clone()

    plain = after_a_step()
    assert torch.equal(plain, after_a_step(ema=0.5))
    for options in ({"head_dropout": 0.5}, {"orthogonality": 1.0}):
        assert not torch.equal(plain, after_a_step(**options))


def test_both_losses_go_down_on_a_batch_seen_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pool(tmp_path / "pool", 24, 96, 1)
    long = STAGE.model_copy(update={"steps": 100, "schedule": ((0, 1.0),)})
    trainer = Trainer(MINI.model_copy(update={"see": long, "speak": long}), tmp_path / "pool", tmp_path)
    monkeypatch.setattr(training.np.random, "default_rng", lambda seed, real=np.random.default_rng: real(0))
    for name in ("see", "speak"):
        losses = [trainer.step(name, i) for i in range(12)]
        assert losses[-1] < 0.8 * losses[0]


def test_clips_in_one_row_equal_plain_attention_clip_by_clip(tmp_path: Path) -> None:
    """Against transformers' own SDPA with the whole mask; the model attends as before afterwards."""
    make_pool(tmp_path / "pool", 24, 96, 1)
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
    make_pool(tmp_path / "pool", 24, 96, 1)
    speak = STAGE.model_copy(update={"vision_from": 0.5})
    trainer = Trainer(MINI.model_copy(update={"speak": speak}), tmp_path / "pool", tmp_path)
    weight = trainer.model.model.vision_tower.encoder.layer[0].attention.q_proj.weight
    before = weight.detach().clone()
    trainer.step("speak", 1)
    assert torch.equal(weight, before)
    trainer.step("speak", 2)
    assert not torch.equal(weight, before)


def test_the_vision_tower_learns_at_a_rate_of_its_own(tmp_path: Path) -> None:
    make_pool(tmp_path / "pool", 24, 96, 1)

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
    make_pool(tmp_path / "pool", 24, 96, 1)
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


def test_products_are_in_bfloat16_only_where_the_processor_multiplies_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pool(tmp_path / "pool", 24, 96, 1)
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
    make_pool(tmp_path / "pool", 5, 96, 1)
    easy = MINI.model_copy(update={"speak": STAGE.model_copy(update={"easy": ((0, 1.0),)})})
    monkeypatch.setattr(training.Witness, "shown", lambda self: frozenset(training.KINDS))
    Trainer(MINI, tmp_path / "pool", tmp_path)
    with pytest.raises(ConfigError, match="no window shows the corpus' kinds only"):
        Trainer(easy, tmp_path / "pool", tmp_path)
