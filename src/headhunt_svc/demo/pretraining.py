"""Pre-trains the embedded MLLM in two stages; no text or target says normal or anomalous.

see:   vision tower and projector learn dense targets (what stands where) from single frames.
speak: language model and projector learn to answer questions; the vision tower joins in for the last steps.

Two single-threaded processes average their gradients (faster than one process with two threads on small
matrices). Everything drawn in a step is a function of (seed, stage, step, rank), so that a run that was stopped
goes on from its last checkpoint and ends with the same weights.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn
from torch.multiprocessing.spawn import spawn
from transformers import AttentionInterface, InternVLForConditionalGeneration

from headhunt_svc.demo.conversation import IGNORED, Conversation, normalise
from headhunt_svc.demo.model import build_model, build_tokenizer
from headhunt_svc.demo.muon import Muon
from headhunt_svc.demo.params import PretrainParams, PretrainStageParams
from headhunt_svc.demo.pool import STRIDE, Pool, make_pool
from headhunt_svc.demo.questions import training_questions
from headhunt_svc.demo.scenes import WINDOW_FRAMES
from headhunt_svc.demo.skills import skills
from headhunt_svc.demo.targets import GRID, N_CELL, N_TARGETS, OCCUPANCY, mirror
from headhunt_svc.storage.files import write_bytes, write_json

N_FRAMES = WINDOW_FRAMES // STRIDE
HELD_OUT = 300  # windows of the pool that are never trained on
FRESH_WINDOWS = 700  # rendered with another seed, for the final accuracies
STAGES = ("see", "speak")
CHECKPOINT = "checkpoint.safetensors"
DOMAIN = "the rendered scenes of the demo"  # what the model has seen; bundles and reports repeat it


def packed_attention(prefix: int) -> Callable[..., tuple[torch.Tensor, None]]:
    """Scaled dot-product attention for rows of a Conversation, whose first `prefix` tokens are plainly causal.

    In float32, outside autocast: on CPUs bf16 attention with narrow heads is slower.
    """

    def attention(
        module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None,
        dropout: float = 0.0, scaling: float | None = None, **_: object,
    ) -> tuple[torch.Tensor, None]:  # fmt: skip
        groups = query.shape[1] // key.shape[1]
        with torch.autocast("cpu", enabled=False):
            q = query.float()
            k, v = (x.float().repeat_interleave(groups, 1) for x in (key, value))
            before = F.scaled_dot_product_attention(
                q[:, :, :prefix], k[:, :, :prefix], v[:, :, :prefix], is_causal=True, scale=scaling
            )
            question_mask = None if mask is None else mask[:, :, prefix:]
            after = F.scaled_dot_product_attention(q[:, :, prefix:], k, v, attn_mask=question_mask, scale=scaling)
        return torch.cat([before, after], 2).transpose(1, 2).contiguous(), None

    return attention


def learning_rate_factor(step: int, stage: PretrainStageParams) -> float:
    """Warm-up, then straight lines between the points of the schedule; never below 1 %."""
    steps, factors = zip(*stage.schedule, strict=True)
    return min(1.0, (step + 1) / stage.warmup_steps) * max(float(np.interp(step, steps, factors)), 0.01)


class Trainer:
    """One process of the pre-training, with its own copy of the model and its share of every batch."""

    def __init__(self, params: PretrainParams, pool: Path, work: Path, rank: int = 0) -> None:
        self.params, self.work, self.rank = params, work, rank
        self.pool = Pool(pool)
        self.tokenizer = build_tokenizer()
        self.model: InternVLForConditionalGeneration = build_model(self.tokenizer, params.model, params.seed)
        self.dense_head = nn.Linear(params.model.hidden_size, N_TARGETS + 1)  # used in pre-training only
        self.talk = Conversation(self.model, self.tokenizer, N_FRAMES)
        AttentionInterface.register("packed", packed_attention(len(self.talk.prefix)))
        self.model.model.language_model.config._attn_implementation = "packed"
        # without the embeddings, which are also the weights of lm_head
        matrices = [p for n, p in self.model.named_parameters() if p.ndim == 2 and "embed_tokens" not in n]
        matrix_ids = {id(p) for p in matrices}
        others = [p for p in [*self.model.parameters(), *self.dense_head.parameters()] if id(p) not in matrix_ids]
        self.muon = Muon(matrices)
        self.adamw = torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0)
        self.all = matrices + others
        cells = [2.0] + [5.0] * (len(OCCUPANCY) - 1)
        self.positive_weight = torch.tensor(cells * 4 + [2.0] * (N_TARGETS - N_CELL) + [1.0])

    # -- one step -------------------------------------------------------------------------------------------------
    def _clips(
        self, rng: np.random.Generator, n: int, n_frames: int
    ) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, bool]]]:
        """n random clips, half of them mirrored: pixels[n * frame, 3, h, w], dense targets, and (window, mirrored).

        The last dense target is the brightness of the token's part of the picture.
        """
        frames, targets, drawn = [], [], []
        for _ in range(n):
            i, mirrored = int(rng.integers(len(self.pool) - HELD_OUT)), bool(rng.random() < 0.5)
            chosen = np.sort(rng.choice(N_FRAMES, n_frames, replace=False))
            x, y = self.pool.frames(i)[chosen], self.pool.targets(i)[chosen]
            if mirrored:
                x, y = x[:, :, ::-1], mirror(y)
            frames.append(x)
            targets.append(y)
            drawn.append((i, mirrored))
        light = rng.uniform(0.82, 1.15, (n, 1)) * rng.uniform(0.94, 1.06, (n, 3))
        factor = torch.from_numpy(light).float().repeat_interleave(n_frames, 0)[:, None, None, :]
        pixels = (torch.from_numpy(np.concatenate(frames)).float() / 255 * factor).clamp_(0, 1)
        brightness = F.adaptive_avg_pool2d(pixels.mean(-1), GRID // 2).flatten(1)[..., None]
        dense = torch.cat([torch.from_numpy(np.concatenate(targets)).float() / 255, brightness], -1)
        return normalise(pixels), dense, drawn

    def _dense_loss(self, visual: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = self.dense_head(visual.float())
        loss = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=self.positive_weight, reduction="none")
        return loss[..., :-1].mean() + 0.1 * loss[..., -1].mean()

    def _visual(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.as_tensor(self.model.model.get_image_features(pixels).pooler_output)

    def see_loss(self, rng: np.random.Generator, n: int) -> torch.Tensor:
        """Stage `see`: dense targets of two frames a clip."""
        pixels, targets, _ = self._clips(rng, n, n_frames=2)
        return self._dense_loss(self._visual(pixels), targets)

    def speak_loss(self, rng: np.random.Generator, n: int) -> torch.Tensor:
        """Stage `speak`: next-token loss on answers; an answer of l tokens weighs l / sqrt(l)."""
        pixels, targets, drawn = self._clips(rng, n, n_frames=N_FRAMES)
        clips = []
        for i, mirrored in drawn:
            questions = training_questions(self.pool.facts[i], rng)
            clips.append([q.mirrored() for q in questions] if mirrored else questions)
        packed = self.talk.pack(clips)
        visual = self._visual(pixels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = self.talk.hidden(visual, packed)
            following = F.pad(packed.labels[:, 1:], (0, 1), value=IGNORED)
            answers = following != IGNORED
            logits = self.model.lm_head(hidden[answers])
        loss = F.cross_entropy(logits.float(), following[answers], reduction="none")
        blocks = F.pad(packed.blocks[:, 1:], (0, 1), value=-1) + torch.arange(n)[:, None] * 64
        _, which, lengths = blocks[answers].unique(return_inverse=True, return_counts=True)
        weight = lengths[which].float().rsqrt()
        return torch.as_tensor((loss * weight).sum() / weight.sum() + 0.5 * self._dense_loss(visual, targets))

    def step(self, name: str, step: int) -> float:
        """One update from the mean gradient of all processes; returns this process's loss."""
        stage: PretrainStageParams = getattr(self.params, name)
        rng = np.random.default_rng([self.params.seed, STAGES.index(name), step, self.rank])
        self.model.model.vision_tower.requires_grad_(step >= stage.vision_from * stage.steps)
        loss = (self.see_loss if name == "see" else self.speak_loss)(rng, stage.batch)
        loss.backward()
        learning = [p for p in self.all if p.grad is not None]
        if self.params.processes > 1:
            flat = torch.cat([p.grad.flatten() for p in learning if p.grad is not None])
            dist.all_reduce(flat)
            flat /= self.params.processes
            for p, part in zip(learning, flat.split([p.numel() for p in learning]), strict=True):
                p.grad = part.view_as(p)
        nn.utils.clip_grad_norm_(learning, 1.0)
        factor = learning_rate_factor(step, stage)
        for group in self.adamw.param_groups:
            group["lr"] = stage.adamw_lr * factor
        self.muon.step(stage.muon_lr * factor)
        self.adamw.step()
        for p in self.all:
            p.grad = None
        return float(loss.detach())

    # -- stop and resume ------------------------------------------------------------------------------------------
    def _tensors(self) -> dict[str, torch.Tensor]:
        """All weights and optimiser states by name: the tensors themselves, no copies."""
        tensors: dict[str, torch.Tensor] = {f"model.{n}": p for n, p in self.model.named_parameters()}
        tensors |= {f"dense.{n}": p for n, p in self.dense_head.named_parameters()}
        tensors |= {f"muon.{i}": b for i, b in enumerate(self.muon.buffers)}
        for i, p in enumerate(self.adamw.param_groups[0]["params"]):
            tensors |= {f"adamw.{i}.{k}": v for k, v in self.adamw.state.get(p, {}).items()}
        return tensors

    def save(self, stage: str, step: int) -> None:
        """Write a checkpoint: the state after `step` steps of `stage`."""
        tensors = {k: v.detach().contiguous() for k, v in self._tensors().items()}
        metadata = {"stage": stage, "step": str(step), "params": self.params.model_dump_json()}
        write_bytes(self.work / CHECKPOINT, save(tensors, metadata))

    def resume(self) -> tuple[str, int]:
        """Load the checkpoint of the same parameters, if there is one: (stage, steps done)."""
        path = self.work / CHECKPOINT
        if not path.exists():
            return STAGES[0], 0
        with safe_open(path, "pt") as f:
            metadata = f.metadata()
        if metadata["params"] != self.params.model_dump_json():
            return STAGES[0], 0
        saved = load_file(path)
        for i, p in enumerate(self.adamw.param_groups[0]["params"]):
            names = [k for k in saved if k.startswith(f"adamw.{i}.")]
            if names:
                self.adamw.state[p] = {k.rsplit(".", 1)[1]: saved[k] for k in names}
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(saved[name])
        return metadata["stage"], int(metadata["step"])


def _train(rank: int, params: PretrainParams, pool: Path, work: Path, out: Path) -> None:
    torch.set_num_threads(1)
    console = Console(quiet=rank != 0)
    if params.processes > 1:
        store = work / "rendezvous"
        dist.init_process_group("gloo", init_method=f"file://{store.resolve()}", rank=rank, world_size=params.processes)
    trainer = Trainer(params, pool, work, rank)
    first_stage, first_step = trainer.resume()
    started = time.monotonic()
    held_out = range(len(trainer.pool) - HELD_OUT, len(trainer.pool))
    for name in STAGES[STAGES.index(first_stage) :]:
        stage: PretrainStageParams = getattr(params, name)
        losses: list[float] = []
        for step in range(first_step if name == first_stage else 0, stage.steps):
            losses.append(trainer.step(name, step))
            done = step + 1
            if rank == 0 and (done % params.checkpoint_every == 0 or done == stage.steps):
                trainer.save(name, done)
                elapsed = time.monotonic() - started
                console.print(f"{name} {done}/{stage.steps}  loss {np.mean(losses[-100:]):.4f}  {elapsed:.0f} s")
                if name == "speak" and done % (5 * params.checkpoint_every) == 0:
                    console.print({k: round(v, 3) for k, v in skills(trainer.talk, trainer.pool, held_out).items()})
        first_step = 0
    if rank == 0:
        export(trainer, out)
    if params.processes > 1:
        dist.barrier()
        dist.destroy_process_group()


def export(trainer: Trainer, out: Path) -> None:
    """Model in fp16, tokenizer and accuracies on fresh windows (measured on the fp16 weights) into `out`."""
    params = trainer.params
    fresh = trainer.work / "fresh"
    make_pool(fresh, FRESH_WINDOWS, params.model.image_size, seed=params.pool_seed + 1_000_000)
    out.mkdir(parents=True, exist_ok=True)
    trainer.model.half().save_pretrained(out)
    trainer.tokenizer.save_pretrained(out)
    model = InternVLForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    accuracies = skills(Conversation(model, trainer.tokenizer, N_FRAMES), Pool(fresh), range(FRESH_WINDOWS))
    report = {
        "domain": DOMAIN,
        "parameters": sum(p.numel() for p in model.parameters()),
        "fresh_windows": FRESH_WINDOWS,
        "accuracy": {k: round(v, 4) for k, v in accuracies.items()},
        "params": params.model_dump(mode="json"),
    }
    write_json(out / "pretraining.json", report)


def pretrain(params: PretrainParams, work: Path, out: Path) -> None:
    """Render the pool, run both stages, write the model folder `out`; resumable through `work`.

    The pool in `work`/pool serves every seed; the checkpoint is in `work`/seed-<seed>.
    """
    own = work / f"seed-{params.seed}"
    own.mkdir(parents=True, exist_ok=True)
    pool = work / "pool"
    make_pool(pool, params.windows, params.model.image_size, params.pool_seed)
    (own / "rendezvous").unlink(missing_ok=True)
    if params.processes > 1:
        spawn(_train, (params, pool, own, out), nprocs=params.processes)
    else:
        _train(0, params, pool, own, out)
    (own / CHECKPOINT).unlink()  # finished: the next call starts from scratch
