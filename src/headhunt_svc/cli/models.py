"""Commands on models: `headhunt models list | check | pull | lock`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import note, safe, wide
from headhunt_svc.cli.options import PARAMS, ParamsFile
from headhunt_svc.errors import ModelError
from headhunt_svc.params import load_params

if TYPE_CHECKING:
    from headhunt_svc.model.inspection import Inspection
    from headhunt_svc.pipeline.model import IfMoved

app = typer.Typer()
models_app = typer.Typer(no_args_is_help=True, help="Models: which are supported, look at one, get one, lock one.")
app.add_typer(models_app, name="models")

ModelId = Annotated[str, typer.Argument(metavar="ID", help="An id of the hub (owner/name), or a folder.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit; default: the default branch.")]
NFrames = Annotated[
    int, typer.Option(min=1, max=1024, help="Frames of a segment, as in segmentation.frames_per_segment.")
]


@models_app.command("list")
def models_list() -> None:
    """List the supported model families, and the checkpoints of their layout."""
    from headhunt_svc.model.families import plugins

    table = Table("model type", "family", "from", "checkpoints")
    for plugin in plugins():
        try:
            family = plugin.load()
        except ModelError as exc:  # one that is broken does not hide the others
            table.add_row(safe(plugin.model_type), "-", safe(plugin.distribution), safe(exc))
            continue
        names = "\n".join(map(safe, family.checkpoints)) or "-"
        table.add_row(safe(plugin.model_type), safe(family.name), safe(plugin.distribution), names)
    wide().print(table)


@models_app.command("check")
def models_check(mllm_id: ModelId, revision: Revision = None, frames: NFrames = 16) -> None:
    """Say whether a model is supported and what it needs, before its weights are downloaded."""
    inspection = _inspect(mllm_id, revision, frames)
    print_inspection(inspection)
    _check_disk(inspection)


@models_app.command("pull")
def models_pull(mllm_id: ModelId, revision: Revision = None, frames: NFrames = 16) -> None:
    """Check a model, download it into the hub's cache, and compare every file with the hub's hash of it."""
    inspection = _inspect(mllm_id, revision, frames)
    print_inspection(inspection)
    if inspection.commit is None:
        raise ModelError(f"{mllm_id} is on this disk: there is nothing to download")
    _check_disk(inspection)
    from headhunt_svc.model.hub import repair, resolve
    from headhunt_svc.params import MllmParams

    lock = resolve(MllmParams(id=mllm_id, revision=inspection.commit))
    folder = repair(lock)
    typer.echo(f"{lock.label}: {lock.digest}, {len(lock.files)} files, {decimal(lock.size)} in {folder}")


@models_app.command("lock")
def models_lock(
    params: ParamsFile = PARAMS,
    update: Annotated[bool, typer.Option("--update", help="Lock anew: follow a branch that has moved.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="A branch that has moved is only noted, as in the stage `model`.")
    ] = False,
) -> None:
    """Resolve the model of params.yaml to its exact content, once, and record it in artifacts/model.json."""
    from headhunt_svc.pipeline.model import lock_model as run

    if update and keep:
        raise typer.BadParameter("--update and --keep contradict each other")
    if_moved: IfMoved = "follow" if update else "keep" if keep else "refuse"
    lock, moved = run(load_params(params).mllm, paths.MODEL_LOCK, paths.MODEL_LINKS, if_moved)
    if moved:
        note(moved)
    typer.echo(f"{lock.label}: {lock.digest}, {len(lock.files)} files, {decimal(lock.size)}")


def _inspect(mllm_id: str, revision: str | None, frames: int) -> "Inspection":
    from headhunt_svc.model.hub import list_files
    from headhunt_svc.settings import Settings

    listing = list_files(mllm_id, revision)
    from headhunt_svc.model.inspection import inspect  # torch and transformers, once nothing is wrong

    return inspect(listing, revision, frames, Settings().device)


def _check_disk(inspection: "Inspection") -> None:
    if inspection.missing_bytes > inspection.free_disk:
        raise ModelError(
            f"{inspection.id} needs {decimal(inspection.missing_bytes)} more on disk, and "
            f"{decimal(inspection.free_disk)} are free: free some space, or set HF_HOME to another disk"
        )


def print_inspection(inspection: "Inspection") -> None:
    """Prints what a model is and needs, a line each."""
    layers, heads, width = inspection.heads
    memory = {dtype: inspection.n_weights * n for dtype, n in (("bfloat16", 2), ("float32", 4))}
    fits = [dtype for dtype, needed in memory.items() if needed <= inspection.free_memory]
    lines = {"model": inspection.id, "family": f"{inspection.family}, supported"}
    if inspection.commit:
        name = "" if inspection.revision == inspection.commit else f"{inspection.revision or 'the default branch'} is "
        lines["revision"] = f"{name}commit {inspection.commit}"
        gate = ", gated: terms were accepted" if inspection.gated else ", not gated"
        lines["licence"] = f"{inspection.licence or 'not stated'}{gate}"
    lines |= {
        "heads": f"{layers} layers x {heads} heads x {width} = {layers * heads} heads",
        "tokens": f"{inspection.tokens} a segment of {inspection.n_frames} frames",
        "weights": f"{decimal(inspection.weight_bytes)}, {decimal(inspection.missing_bytes)} to download, "
        f"{decimal(inspection.free_disk)} free on the disk of the cache",
        "memory": ", ".join(f"{decimal(n)} as {dtype}" for dtype, n in memory.items())
        + f"; {decimal(inspection.free_memory)} free on {inspection.device}: "
        + (f"fits as {' or '.join(fits)}" if fits else "DOES NOT FIT; take a smaller model or another device"),
    }
    console, indent = Console(highlight=False, soft_wrap=True), max(map(len, lines)) + 2
    for key, value in lines.items():
        console.print(f"[bold]{key:{indent}}[/bold]{safe(value)}")
