"""What lets pre-training learn faster: tokens point at words, questions at yes or no, short and easy clips first."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from headhunt_svc.demo import trainer as training
from headhunt_svc.demo.checkpoints import easy_share
from headhunt_svc.demo.conversation import IGNORED, Conversation
from headhunt_svc.demo.model import build_model, build_tokenizer
from headhunt_svc.demo.params import DemoModelParams, PretrainParams, PretrainStageParams, ShortClips
from headhunt_svc.demo.pool import make_pool
from headhunt_svc.demo.questions import NAMES, YES_NO, Witness, probes, training_questions
from headhunt_svc.demo.recognition import Recognition
from headhunt_svc.demo.scenes import SceneFacts
from headhunt_svc.demo.shapes import Facts
from headhunt_svc.demo.targets import N_LEARNT, N_TARGETS, PLACE, mirror
from headhunt_svc.demo.trainer import Trainer
from headhunt_svc.demo.wide.kinds import KINDS

TOKENIZER = build_tokenizer()
STAGE = PretrainStageParams(steps=4, batch=4, muon_lr=0.02, adamw_lr=0.003, schedule=((4, 1.0),))
FACTS = SceneFacts((Facts("fall", visible=True, x=0.5, colour="red"),), "same", shaking=False)
SMALL = DemoModelParams(
    vision_width=32, vision_layers=1, hidden_size=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8
)


def encode(text: str) -> list[int]:
    return list(TOKENIZER(text, add_special_tokens=False)["input_ids"])


@pytest.fixture(scope="module")
def recognition() -> Recognition:
    return Recognition(encode, len(TOKENIZER), NAMES)


@pytest.fixture(scope="module")
def embeddings() -> torch.Tensor:
    return torch.randn(len(TOKENIZER), 64, generator=torch.Generator().manual_seed(0))


def test_each_kind_that_is_asked_about_has_a_name_of_its_own(recognition: Recognition) -> None:
    assert set(YES_NO) | set(KINDS) <= set(recognition.kinds)
    likeness = recognition.weights @ recognition.weights.T
    likeness.fill_diagonal_(0)
    assert float(likeness.max()) < 0.75  # a dog, and somebody who walks one
    rare, common = encode(" dog")[0], encode("is")[0]
    dog = recognition.weights[recognition.kinds.index("dog")]
    assert dog[rare] > 10 * dog[common]


def test_states_that_point_at_a_name_are_right_and_others_wrong(
    recognition: Recognition, embeddings: torch.Tensor
) -> None:
    present = recognition.present([frozenset({"dog", "night"}), frozenset()])
    names = recognition.weights @ embeddings
    dog, night, car = (names[recognition.kinds.index(kind)] for kind in ("dog", "night", "car"))
    nothing = -names.sum(0)
    pictures = torch.stack([torch.stack([dog, night, nothing]), torch.stack([nothing] * 3)])
    wrong = torch.stack([torch.stack([car, night, nothing]), torch.stack([dog, nothing, nothing])])
    right = recognition.loss(pictures, embeddings, present)
    assert right < 0.5 * recognition.loss(wrong, embeddings, present)
    torch.testing.assert_close(recognition.loss(pictures.flip(1) * 3, embeddings, present), right)  # any place, length


def test_tokens_can_learn_what_is_there(recognition: Recognition, embeddings: torch.Tensor) -> None:
    shown = [frozenset({kind}) for kind in ("dog", "rain", "fall", "shaking")]
    present = recognition.present(shown)
    assert present.sum(1).tolist() == [1.0] * 4
    states = torch.zeros(4, 6, 64).normal_(generator=torch.Generator().manual_seed(1)).requires_grad_()
    optimiser = torch.optim.Adam([states], lr=0.1)
    losses = []
    for _ in range(60):
        loss = recognition.loss(states, embeddings, present)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    work = tmp_path_factory.mktemp("work")
    make_pool(work / "pool", 60, 96, 1)
    speak = STAGE.model_copy(
        update={"recognition": 1.0, "easy": ((0, 1.0), (2, 0.0)), "short": ShortClips(steps=3, batch=6)}
    )
    params = PretrainParams(windows=60, processes=1, probes=6, see=STAGE, speak=speak, model=SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "HELD_OUT", 4)
        yield Trainer(params, work / "pool", work)


def test_easy_clips_show_the_corpus_kinds_only_and_so_do_their_questions(trainer: Trainer) -> None:
    assert 0 < len(trainer.easy) < len(trainer.seen)
    for easy in (0.0, 1.0):
        _, _, drawn = trainer._clips(np.random.default_rng(0), 40, 1, easy)
        assert any(Witness(trainer.seen[clip.window]).shown() & KINDS.keys() for clip in drawn) == (easy == 0)
        rng = np.random.default_rng(0)
        questions = [q for c in drawn for q in training_questions(trainer.seen, c.window, rng, c.among)]
        questions += [q for c in drawn for q in probes(trainer.seen, c.window, rng, c.among, 6)]
        asked = {q.kind.removeprefix("yn_") for q in questions if q.kind.startswith("yn_")}
        assert bool(asked & KINDS.keys()) == (easy == 0)


def test_a_mirrored_clip_has_mirrored_targets_and_tokens_where_they_are(trainer: Trainer) -> None:
    _, dense, drawn = trainer._clips(np.random.default_rng(0), 8, 1)
    places = dense[..., N_LEARNT - PLACE.shape[1] : N_LEARNT].numpy()
    np.testing.assert_array_equal(places, np.broadcast_to(PLACE, places.shape))
    assert {clip.mirrored for clip in drawn} == {False, True}
    for row, clip in zip(dense[:, :, :N_TARGETS].numpy(), drawn, strict=True):
        pictures = trainer.pool.targets(clip.window)
        pictures = mirror(pictures) if clip.mirrored else pictures
        assert np.abs(pictures / 255 - row).max((1, 2)).min() < 1e-6


def test_the_share_of_easy_clips_goes_straight_from_point_to_point() -> None:
    stage = STAGE.model_copy(update={"easy": ((0, 1.0), (10, 0.5), (20, 0.5), (30, 0.75))})
    assert [easy_share(step, stage) for step in (0, 5, 10, 15, 30, 1000)] == [1.0, 0.75, 0.5, 0.5, 0.75, 0.75]
    assert easy_share(0, STAGE) == 0.0


def test_probes_ask_for_what_is_there_and_for_what_is_elsewhere(trainer: Trainer) -> None:
    for i in range(40):
        asked = probes(trainer.seen, i, np.random.default_rng(i), range(40), 6)
        there = Witness(trainer.seen[i]).shown()
        assert len({q.kind for q in asked}) == len(asked) == 6
        assert [q.answer == "yes" for q in asked] == [q.kind.removeprefix("yn_") in there for q in asked]
        assert sum(q.answer == "yes" for q in asked) == min(len(there & set(YES_NO)), 3)
        assert not any(q.in_words for q in asked)


def test_a_probe_ends_at_its_question_mark_and_has_no_answer_in_words() -> None:
    talk = Conversation(build_model(TOKENIZER, SMALL, 1), TOKENIZER, 2)
    probe = probes([FACTS], 0, np.random.default_rng(0), [0], 2)[0]
    packed = talk.pack([[probe, replace(probe, in_words=True)]])
    first, second = packed.blocks[0] == 1, packed.blocks[0] == 2
    assert TOKENIZER.decode(packed.ids[0, first]) == probe.text
    assert (packed.labels[0, first] == IGNORED).all()
    assert TOKENIZER.decode(packed.ids[0, second]).startswith(probe.text + "<|im_end|>")
    for block in (first, second):  # both say at the question mark what the answer is
        ends = packed.ids[0, block][packed.asked[0, block] != IGNORED]
        assert TOKENIZER.decode(ends) == "?"
    assert set(packed.asked[0].tolist()) == {IGNORED, 1}


def test_first_steps_have_more_clips_of_fewer_frames(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = Trainer._visual

    def visual(self: Trainer, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return real(self, pixels)

    monkeypatch.setattr(Trainer, "_visual", visual)
    for step in (2, 3):
        assert np.isfinite(trainer.step("speak", step))
    assert sizes == [6 * 2, 4 * 8]
    with trainer.measured():
        assert int(trainer.talk.is_visual.sum()) == 8 * 16


def test_short_clips_are_refused_where_all_are_short() -> None:
    short = STAGE.model_copy(update={"short": ShortClips(steps=1, batch=2)})
    with pytest.raises(ValidationError, match="short clips are for stage speak"):
        PretrainParams(see=short, speak=STAGE)


def test_queries_that_begin_as_keys_find_what_is_alike() -> None:
    """With like_keys, a token's own key is often the best of 40 for its query; by chance it is one of 40."""
    states = torch.randn(40, SMALL.hidden_size, generator=torch.Generator().manual_seed(0))
    best = {}
    for like_keys in (0.0, 1.0):
        model = build_model(TOKENIZER, SMALL.model_copy(update={"like_keys": like_keys}), 1)
        attention = model.model.language_model.layers[0].self_attn
        queries = (attention.q_proj.weight @ states.T).view(4, 8, 40)
        keys = (attention.k_proj.weight @ states.T).view(2, 8, 40).repeat_interleave(2, 0)
        own = (queries.transpose(1, 2) @ keys).argmax(2) == torch.arange(40)
        best[like_keys] = float(own.float().mean())
    assert best[0.0] < 0.1 < 0.4 < best[1.0]
