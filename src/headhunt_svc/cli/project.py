"""Commands that make a project and describe the installed package to it: init, code."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from headhunt_svc import paths
from headhunt_svc.cli.console import note
from headhunt_svc.cli.options import PARAMS, ParamsFile
from headhunt_svc.errors import ConfigError
from headhunt_svc.params import load_params

app = typer.Typer()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The new project.")],
    model: Annotated[
        str | None, typer.Option(help="A hub id or a folder.", show_default="the embedded model, rendered scenes only")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a hub id.")] = None,
    footage: Annotated[
        Path | None,
        typer.Option(help="Folder of videos, inside or outside the project.", show_default="FOLDER/footage"),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="The embedded default: its model and rendered footage.")] = False,
    update: Annotated[
        bool,
        typer.Option("--update", help="Write dvc.yaml of a project anew, with --demo also its parameters and model."),
    ] = False,
) -> None:
    """Make a project of your own: parameters, pipeline, an annotations example, the next commands."""
    from headhunt_svc.demo.params import load_demo_params
    from headhunt_svc.demo.shipped import shipped
    from headhunt_svc.pipeline.project import demo_project, own_project, write_project

    if demo and (model or footage):
        raise ConfigError("--demo has its own model and footage: leave --model and --footage out")
    if revision and not model:
        raise ConfigError("--revision needs --model")
    if update and (model or footage):
        raise ConfigError("--update leaves model and footage as they are: change mllm and dataset in params.yaml")
    if update and not demo and not (folder / PARAMS).exists():
        raise ConfigError(f"{folder} holds no {PARAMS}, so no project: leave --update out to make one")
    if demo:
        project = demo_project(shipped(), load_demo_params().corpus.places())
    else:
        project = own_project(shipped(), footage, model, revision, folder)
    left = write_project(folder, project, update)
    if not (demo or update) and project.model is not None:
        note("without --model this project uses the embedded model, which knows rendered scenes only")
    if left is not None:
        note(left)
    typer.echo(f"cd {shlex.quote(str(folder))}  # README.md has the next commands")


@app.command(hidden=True)
def code(params: ParamsFile = PARAMS) -> None:
    """Write what a project's stages use of the installed package: versions of their code, default parameters."""
    from headhunt_svc.pipeline.project import write_code

    write_code(load_params(params), paths.CODE)
