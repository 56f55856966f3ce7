"""Pre-trains the embedded MLLM in two stages; no text or target says normal or anomalous.

see:   vision tower and projector learn dense targets (what stands where) from single frames.
speak: language model and projector learn to answer questions; the vision tower joins in later (`vision_from`).

Two single-threaded processes average their gradients (faster than one process with two threads on small
matrices).
"""

import time
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from rich.console import Console
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import ProcessRaisedException, spawn
from transformers import InternVLForConditionalGeneration

from headhunt_svc.demo.checkpoints import CHECKPOINT, STAGES, decays_from, read_checkpoint
from headhunt_svc.demo.conversation import Conversation
from headhunt_svc.demo.params import PretrainParams, PretrainStageParams
from headhunt_svc.demo.pool import Pool, make_pool
from headhunt_svc.demo.skills import skills
from headhunt_svc.demo.trainer import HELD_OUT, N_FRAMES, Trainer
from headhunt_svc.errors import ArtifactError, ConfigError, HeadHuntError
from headhunt_svc.storage.files import read_json, write_json

WORLD = "wide"  # in the names of folders: what an earlier world left there is not taken for this one's
FRESH_WINDOWS = 700  # rendered with another seed, for the final accuracies
REPORT = "pretraining.json"
DOMAIN = "the rendered scenes of the demo"  # what the model has seen; bundles and reports repeat it


def _train(rank: int, params: PretrainParams, pool: Path, work: Path, out: Path) -> None:
    torch.set_num_threads(1)
    console = Console(quiet=rank != 0)
    if params.processes > 1:
        store = work / "rendezvous"
        dist.init_process_group("gloo", init_method=f"file://{store.resolve()}", rank=rank, world_size=params.processes)
    trainer = Trainer(params, pool, work, rank)
    first_stage, first_step = trainer.resume()
    if first_step:
        console.print(f"goes on after step {first_step} of {first_stage}")
    started = time.monotonic()
    for name in STAGES[STAGES.index(first_stage) :]:
        stage: PretrainStageParams = getattr(params, name)
        losses: list[float] = []
        for step in range(first_step if name == first_stage else 0, stage.steps):
            losses.append(trainer.step(name, step))
            done = step + 1
            kept = name == "speak" and params.keep_before_decay and done == decays_from(stage)
            if rank == 0 and (done % params.checkpoint_every == 0 or done == stage.steps or kept):
                trainer.save(name, done)
                elapsed = time.monotonic() - started
                console.print(f"{name} {done}/{stage.steps}  loss {np.mean(losses[-100:]):.4f}  {elapsed:.0f} s")
                if name == "speak" and done % (5 * params.checkpoint_every) == 0:
                    with trainer.measured():
                        measured = skills(trainer.talk, trainer.pool, trainer.held_out)
                    console.print({k: round(v, 3) for k, v in measured.items()})
        first_step = 0
    if rank == 0:
        export(trainer, out)
    if params.processes > 1:
        dist.barrier()
        dist.destroy_process_group()


def _train_in_process(
    rank: int, failures: SimpleQueue[str], params: PretrainParams, pool: Path, work: Path, out: Path
) -> None:
    try:
        _train(rank, params, pool, work, out)
    except HeadHuntError as exc:  # spawn passes on a traceback, not the error
        failures.put(str(exc))
        raise


def export(trainer: Trainer, out: Path) -> None:
    """Model in fp16, tokenizer and accuracies on fresh windows (measured on the fp16 weights) into `out`.

    Raises:
        ConfigError: a weight is not finite in fp16.
    """
    params = trainer.params
    fresh = trainer.work / f"fresh-{params.model.image_size}-{params.pool_seed}"
    make_pool(fresh, FRESH_WINDOWS, params.model.image_size, params.pool_seed + 1_000_000)
    with trainer.measured() as trained:
        trained.half()
        if not all(torch.isfinite(weight).all() for weight in trained.parameters()):
            raise ConfigError("a weight is not finite in fp16: lower the learning rates; nothing was exported")
        out.mkdir(parents=True, exist_ok=True)
        trained.save_pretrained(out)
    trainer.tokenizer.save_pretrained(out)
    model = InternVLForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    talk = Conversation(model, trainer.tokenizer, N_FRAMES)
    accuracies = skills(talk, Pool(fresh), range(FRESH_WINDOWS))
    report = {
        "domain": DOMAIN,
        "parameters": sum(p.numel() for p in model.parameters()),
        "fresh_windows": FRESH_WINDOWS,
        "accuracy": {k: round(v, 4) for k, v in accuracies.items()},
        "params": params.model_dump(mode="json"),
    }
    write_json(out / REPORT, report)


def is_trained(folder: Path, params: PretrainParams) -> bool:
    """Does the folder hold the model of these parameters?

    Raises:
        ConfigError: it holds one of other parameters. ArtifactError: its record does not say of which.
    """
    report = folder / REPORT
    if not report.exists():
        return False
    record = read_json(report, "headhunt demo pretrain")
    if not isinstance(record, dict) or "params" not in record:
        raise ArtifactError(f"{report} does not say of which parameters the model is: move {folder} away")
    if record["params"] != params.model_dump(mode="json"):
        raise ConfigError(f"{report} is of other parameters: give those, or move {folder} away")
    return True


def pretrain(params: PretrainParams, work: Path, out: Path) -> None:
    """Render the pool, run both stages, write the model folder `out`; resumable through `work`.

    The pool serves every seed with the same windows; the checkpoint is in `work`/wide-seed-<seed>.
    Where `out` holds the model of these parameters, nothing is done.

    Raises:
        ConfigError: too few windows; `out` or the checkpoint is of other parameters; no window shows the corpus' kinds
            only (known when they are rendered), which `easy` needs; or the training diverged.
        ArtifactError: the checkpoint is damaged.
    """
    if params.windows <= HELD_OUT:
        raise ConfigError(f"pretrain.windows is {params.windows}: give more than the {HELD_OUT} that are held out")
    if is_trained(out, params):
        Console(soft_wrap=True).print(f"already trained: {out}; move it away to train again", markup=False)
        return
    own = work / f"{WORLD}-seed-{params.seed}"
    own.mkdir(parents=True, exist_ok=True)
    size = params.model.image_size
    pool = work / f"pool-{WORLD}-{params.windows}-{size}-{params.pool_seed}"
    checkpoint = read_checkpoint(own, params)  # refused here, before windows are rendered
    make_pool(pool, params.windows, size, params.pool_seed)
    if checkpoint is not None:
        Trainer(params, pool, own).resume()  # refused here, before the processes start
    (own / "rendezvous").unlink(missing_ok=True)
    if params.processes > 1:
        failures: SimpleQueue[str] = get_context("spawn").SimpleQueue()
        try:
            spawn(_train_in_process, (failures, params, pool, own, out), nprocs=params.processes)
        except ProcessRaisedException:
            if failures.empty():
                raise
            raise ConfigError(failures.get()) from None
    else:
        _train(0, params, pool, own, out)
    (own / CHECKPOINT).unlink()  # finished; what was kept from before the decay stays, to prolong the run from
