"""A process of the pre-training: its losses, one step, and its state on disk.

Everything drawn in a step is a function of (seed, stage, step, rank), so that a run that was stopped goes on from its
last checkpoint and ends with the same weights.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from transformers import InternVLForConditionalGeneration

from headhunt_svc.demo.checkpoints import (
    CHECKPOINT,
    STABLE,
    STAGES,
    StageName,
    check_tensors,
    decays_from,
    easy_share,
    learning_rate_factor,
    read_checkpoint,
    vision_learns,
    write_checkpoint,
)
from headhunt_svc.demo.conversation import IGNORED, Conversation, normalise
from headhunt_svc.demo.model import build_model, build_tokenizer
from headhunt_svc.demo.muon import Muon
from headhunt_svc.demo.params import PretrainParams, PretrainStageParams
from headhunt_svc.demo.pool import Pool
from headhunt_svc.demo.precision import product_dtype
from headhunt_svc.demo.questions import NAMES, Witness, probes, training_questions
from headhunt_svc.demo.recognition import SHARPNESS, Recognition
from headhunt_svc.demo.scenes import WINDOW_FRAMES
from headhunt_svc.demo.targets import GRID, LOOKS, N_LEARNT, mirror, placed
from headhunt_svc.demo.wide.kinds import KINDS
from headhunt_svc.demo.wide.windows import STRIDE
from headhunt_svc.errors import ConfigError

N_FRAMES = WINDOW_FRAMES // STRIDE
HELD_OUT = 300  # windows of the pool that are never trained on
PROBES_WEIGHT = 2.0
DENSE_SCALE = 64.0  # the dense loss is the sum over channels divided by this, about the number that the first model had


class Drawn(NamedTuple):
    """A clip of a batch: the number of its window, whether it is mirrored, and among which windows it was drawn."""

    window: int
    mirrored: bool
    among: Sequence[int]


class Trainer:
    """One process of the pre-training, with its own copy of the model and its share of every batch."""

    def __init__(self, params: PretrainParams, pool: Path, work: Path, rank: int = 0) -> None:
        self.params, self.work, self.rank = params, work, rank
        self.pool = Pool(pool)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = build_tokenizer()
        self.model: InternVLForConditionalGeneration = build_model(self.tokenizer, params.model, params.seed)
        self.dense_head = nn.Linear(params.model.hidden_size, N_LEARNT + 1)  # used in pre-training only
        for module in (self.model, self.dense_head):
            nn.Module.to(module, self.device)
        self.held_out = range(len(self.pool) - HELD_OUT, len(self.pool))  # windows
        self.seen = self.pool.facts[: self.held_out.start]
        self.talk = Conversation(self.model, self.tokenizer, N_FRAMES)
        self.attention = self.talk.attention
        self.recognition = Recognition(self.talk.encode, len(self._embeddings), NAMES)
        self.easy = [i for i, facts in enumerate(self.seen) if not Witness(facts).shown() & KINDS.keys()]
        if not self.easy and any(stage.easy for stage in (params.see, params.speak)):
            raise ConfigError("no window shows the corpus' kinds only: give more windows, or no `easy`")
        # without the embeddings, which are also the weights of lm_head
        matrices = [p for n, p in self.model.named_parameters() if p.ndim == 2 and "embed_tokens" not in n]
        matrix_ids = {id(p) for p in matrices}
        others = [p for p in [*self.model.parameters(), *self.dense_head.parameters()] if id(p) not in matrix_ids]
        self.tower = {id(p) for p in self.model.model.vision_tower.parameters()}
        others.sort(key=lambda p: id(p) in self.tower)  # the tower's come last, as in the optimiser's two groups
        tower = [p for p in others if id(p) in self.tower]
        self.muon = Muon(matrices)
        groups = [{"params": others[: len(others) - len(tower)]}, {"params": tower}]
        self.adamw = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
        self.others, self.all = others, matrices + others
        n = len(LOOKS)
        weights = ([2.0] + [5.0] * (n - 1)) * 4 + [2.0] * (N_LEARNT - 4 * n) + [1.0]
        self.positive_weight = torch.tensor(weights, device=self.device)
        # in float64: in float32, small steps towards the weights are lost
        self.average = {n: p.detach().double() for n, p in self.model.named_parameters()} if params.ema else {}

    # -- one step -------------------------------------------------------------------------------------------------
    def _clips(
        self, rng: np.random.Generator, n: int, n_frames: int, easy: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor, list[Drawn]]:
        """n random clips, half of them mirrored: pixels[n * frame, 3, h, w], dense targets, and what was drawn.

        The last dense target is the brightness of the token's part of the picture. easy: share of clips drawn from
        windows that show the corpus' kinds only.
        """
        frames, targets, drawn = [], [], []
        for _ in range(n):
            among = self.easy if easy and rng.random() < easy else range(len(self.seen))
            i, mirrored = among[int(rng.integers(len(among)))], bool(rng.random() < 0.5)
            chosen = np.sort(rng.choice(N_FRAMES, n_frames, replace=False))
            x, y = self.pool.frames(i)[chosen], self.pool.targets(i)[chosen]
            if mirrored:
                x, y = x[:, :, ::-1], mirror(y)
            frames.append(x)
            targets.append(placed(y))
            drawn.append(Drawn(i, mirrored, among))
        light = rng.uniform(0.82, 1.15, (n, 1)) * rng.uniform(0.94, 1.06, (n, 3))
        factor, shown, marked = (
            torch.from_numpy(x).to(self.device) for x in (light, *map(np.concatenate, (frames, targets)))
        )
        factor = factor.float().repeat_interleave(n_frames, 0)[:, None, None, :]
        pixels = (shown.float() / 255 * factor).clamp_(0, 1)
        brightness = F.adaptive_avg_pool2d(pixels.mean(-1), GRID // 2).flatten(1)[..., None]
        dense = torch.cat([marked.float(), brightness], -1)
        return normalise(pixels), dense, drawn

    def _dense_loss(self, visual: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = self.dense_head(visual.float())
        loss = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=self.positive_weight, reduction="none")
        return loss[..., :-1].sum(-1).mean() / DENSE_SCALE + 0.1 * loss[..., -1].mean()

    def _autocast(self) -> torch.autocast:
        dtype = product_dtype(self.device)
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)

    def _visual(self, pixels: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            return torch.as_tensor(self.model.model.get_image_features(pixels).pooler_output)

    @property
    def _embeddings(self) -> torch.Tensor:
        return cast(torch.Tensor, self.model.get_input_embeddings().weight)

    def _recognition_loss(self, tokens: torch.Tensor, drawn: list[Drawn], embeddings: torch.Tensor) -> torch.Tensor:
        """Do the states tokens[clip, token, width] name what the clips show?"""
        present = self.recognition.present(Witness(self.seen[clip.window]).shown() for clip in drawn)
        return self.recognition.loss(tokens, embeddings, present)

    def see_loss(self, rng: np.random.Generator, step: int) -> torch.Tensor:
        """Stage `see`: dense targets of two frames a clip, and what it shows."""
        stage = self.params.see
        pixels, targets, drawn = self._clips(rng, stage.batch, 2, easy_share(step, stage))
        visual = self._visual(pixels)
        loss = self._dense_loss(visual, targets)
        if stage.recognition:
            embeddings = self._embeddings.detach()  # they learn in `speak`
            tokens = visual.reshape(len(drawn), -1, visual.shape[-1])
            loss = loss + stage.recognition * self._recognition_loss(tokens, drawn, embeddings)
        return loss

    def speak_loss(self, rng: np.random.Generator, step: int) -> torch.Tensor:
        """Stage `speak`: next-token loss on answers; an answer of l tokens weighs l / sqrt(l)."""
        stage = self.params.speak
        n, n_frames = stage.clips(step)
        self.talk.show(n_frames or N_FRAMES)
        pixels, targets, drawn = self._clips(rng, n, n_frames or N_FRAMES, easy_share(step, stage))
        clips = []
        for clip in drawn:
            questions = training_questions(self.seen, clip.window, rng, clip.among)
            if self.params.probes:
                questions += probes(self.seen, clip.window, rng, clip.among, self.params.probes)
            clips.append([q.mirrored() for q in questions] if clip.mirrored else questions)
        packed = self.talk.pack(clips)
        visual = self._visual(pixels)
        self._disturb(rng, n)
        with self._autocast():
            states = self.talk.states(visual, packed)
            following = F.pad(packed.labels[:, 1:], (0, 1), value=IGNORED)
            answers = following != IGNORED
            logits = self.model.lm_head(states.last[answers])
        loss = F.cross_entropy(logits.float(), following[answers], reduction="none")
        blocks = F.pad(packed.blocks[:, 1:], (0, 1), value=-1) + torch.arange(n, device=self.device)[:, None] * 64
        _, which, lengths = blocks[answers].unique(return_inverse=True, return_counts=True)
        weight = lengths[which].float().rsqrt()
        total = (loss * weight).sum() / weight.sum() + 0.5 * self._dense_loss(visual, targets)
        embeddings = self._embeddings
        if stage.recognition:
            for tokens in (visual.reshape(n, -1, visual.shape[-1]), states.middle):
                total = total + 0.5 * stage.recognition * self._recognition_loss(tokens, drawn, embeddings)
        if self.params.probes:
            total = total + PROBES_WEIGHT * self._probes_loss(states.late, packed.asked, embeddings)
        if self.params.orthogonality:
            total = total + self.params.orthogonality * torch.stack(self.attention.similarities).mean()
        return torch.as_tensor(total)

    def _probes_loss(self, late: torch.Tensor, asked: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Do the states late[clip, token, width] at the end of yes/no questions point at yes or at no?"""
        yes, no = (embeddings[self.talk.encode(word)[0]] for word in ("yes", "no"))
        ends = asked != IGNORED
        cosine = F.normalize(late[ends].float(), dim=-1) @ F.normalize((yes - no).float(), dim=0)
        return F.binary_cross_entropy_with_logits(SHARPNESS * cosine, asked[ends].float())

    def _disturb(self, rng: np.random.Generator, n: int) -> None:
        """Choose heads to leave out, and let heads be compared; rng is drawn from only if heads are left out."""
        share, sizes = self.params.head_dropout, self.params.model
        if share:
            kept = (rng.random((sizes.n_layers, n, sizes.n_heads)) >= share) / (1 - share)
            self.attention.kept = torch.from_numpy(kept).float().to(self.device)
        self.attention.compares, self.attention.similarities = bool(self.params.orthogonality), []

    def step(self, name: StageName, step: int) -> float:
        """One update from the mean gradient of all processes; returns this process's loss.

        Raises:
            ConfigError: loss or gradient is not finite; the weights are then as before.
        """
        stage: PretrainStageParams = getattr(self.params, name)
        rng = np.random.default_rng([self.params.seed, STAGES.index(name), step, self.rank])
        self.model.model.vision_tower.requires_grad_(vision_learns(step, stage))
        loss = (self.see_loss if name == "see" else self.speak_loss)(rng, step)
        loss.backward()
        learning = [p for p in self.all if p.grad is not None]
        if self.params.processes > 1:
            flat = torch.cat([p.grad.flatten() for p in learning if p.grad is not None])
            summed = flat.cpu()  # gloo sums on the CPU; there, this is the same tensor
            dist.all_reduce(summed)
            flat = summed.to(self.device) / self.params.processes
            for p, part in zip(learning, flat.split([p.numel() for p in learning]), strict=True):
                p.grad = part.view_as(p)
        norm, value = float(nn.utils.clip_grad_norm_(learning, 1.0)), float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(norm)):  # the norm is the same in all processes
            reason = f"loss {value:g} and gradient {norm:g} in step {step + 1} of {name}"
            raise ConfigError(f"the training diverged ({reason}): lower the learning rates; nothing was exported")
        factor = learning_rate_factor(step, stage)
        for group, share in zip(self.adamw.param_groups, (1.0, stage.vision_rate), strict=True):
            group["lr"] = stage.adamw_lr * factor * share
        shares = [stage.vision_rate if id(p) in self.tower else 1.0 for p in self.muon.parameters]
        self.muon.step([stage.muon_lr * factor * share for share in shares])
        self.adamw.step()
        for p in self.all:
            p.grad = None
        with torch.no_grad():
            for n, p in self.model.named_parameters() if self.average else ():
                self.average[n].lerp_(p.double(), 1 - self.params.ema)
        return value

    @contextmanager
    def measured(self) -> Iterator[InternVLForConditionalGeneration]:
        """The model to measure and export: undisturbed, with the averaged weights if there are any."""
        kept, compares, own = self.attention.kept, self.attention.compares, {}
        self.attention.kept, self.attention.compares = None, False
        self.talk.show(N_FRAMES)
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for n, average in self.average.items():
                own[n] = parameters[n].detach().clone()
                parameters[n].copy_(average)
            yield self.model
            for n, weight in own.items():
                parameters[n].copy_(weight)
        self.attention.kept, self.attention.compares = kept, compares

    # -- stop and resume ------------------------------------------------------------------------------------------
    def _tensors(self) -> dict[str, torch.Tensor]:
        """All weights and optimiser states by name: the tensors themselves, no copies."""
        tensors: dict[str, torch.Tensor] = {f"model.{n}": p for n, p in self.model.named_parameters()}
        tensors |= {f"dense.{n}": p for n, p in self.dense_head.named_parameters()}
        tensors |= {f"muon.{i}": b for i, b in enumerate(self.muon.buffers)}
        tensors |= {f"average.{n}": a for n, a in self.average.items()}
        for i, p in enumerate(self.others):
            tensors |= {f"adamw.{i}.{k}": v for k, v in self.adamw.state.get(p, {}).items()}
        return tensors

    def _learnt(self, stage: StageName, steps: int) -> dict[int, nn.Parameter]:
        """The parameters of AdamW, by number, that have had a gradient after `steps` steps of `stage`."""
        speaks, see = stage == "speak", self.params.see
        saw = vision_learns(see.steps - 1 if speaks else steps - 1, see)
        saw = saw or (speaks and vision_learns(steps - 1, self.params.speak))
        without = set() if saw else set(self.tower)
        without |= {id(p) for p in self.model.model.language_model.parameters() if not speaks}
        return {i: p for i, p in enumerate(self.others) if id(p) not in without}

    def save(self, stage: StageName, steps: int) -> None:
        """Write a checkpoint: the state after `steps` steps of `stage`."""
        write_checkpoint(self.work / CHECKPOINT, self._tensors(), self.params, stage, steps)
        own: PretrainStageParams = getattr(self.params, stage)
        if self.params.keep_before_decay and stage == STAGES[-1] and steps == decays_from(own):
            write_checkpoint(self.work / STABLE, self._tensors(), self.params, stage, steps)

    def resume(self) -> tuple[StageName, int]:
        """Load the checkpoint, if there is one: (stage, steps done).

        Raises:
            ConfigError: it is of other parameters.
            ArtifactError: it is damaged, or a tensor or optimiser state is missing.
        """
        checkpoint = read_checkpoint(self.work, self.params)
        if checkpoint is None:
            return STAGES[0], 0
        stage, steps, saved, _ = checkpoint
        learnt = self._learnt(stage, steps)
        expected = {name: tensor.shape for name, tensor in self._tensors().items() if not name.startswith("adamw.")}
        for i, p in learnt.items():
            expected |= {
                f"adamw.{i}.step": torch.Size(),
                f"adamw.{i}.exp_avg": p.shape,
                f"adamw.{i}.exp_avg_sq": p.shape,
            }
        check_tensors(checkpoint, expected)
        for i, p in learnt.items():  # the count of steps stays on the CPU, as AdamW has it
            own = {k: saved[f"adamw.{i}.{k}"] for k in ("step", "exp_avg", "exp_avg_sq")}
            self.adamw.state[p] = {k: v if k == "step" else v.to(self.device) for k, v in own.items()}
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(saved[name])
        return stage, steps
