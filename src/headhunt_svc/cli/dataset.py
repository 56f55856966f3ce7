"""Commands on footage and annotations: index, split."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import WIDTH
from headhunt_svc.cli.options import PARAMS, ParamsFile
from headhunt_svc.params import load_params

if TYPE_CHECKING:
    from headhunt_svc.data.footage import Footage

app = typer.Typer()


@app.command()
def index(params: ParamsFile = PARAMS) -> None:
    """Check footage against its annotations and write the index."""
    from headhunt_svc.pipeline.index import index as run

    run(load_params(params).dataset, paths.INDEX, print_footage)


@app.command()
def split(
    annotations: Annotated[Path, typer.Argument(help="Annotations whose split of test videos stays.")],
    out: Annotated[Path, typer.Option(help="The annotations to write; the draw is recorded beside it.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Draw calibration and validation videos from all but the test videos (section split of params.yaml)."""
    from headhunt_svc.pipeline.split import split as run

    run(load_params(params).split, annotations, out)


def print_footage(footage: "Footage") -> None:
    """Prints the number of usable videos, and a table of those that do not match their annotation or have none."""
    records = footage.records
    n_frames, anomalous = sum(r.n_frames for r in records), sum(r.is_anomalous for r in records)
    console = Console(stderr=True, highlight=False, width=WIDTH)
    if footage.findings:
        table = Table("video", "is", "detail")
        for finding in footage.findings:
            table.add_row(*(escape(text) for text in finding))
        console.print(table)
    console.print(f"{len(records)} videos fit their annotations: {anomalous} anomalous, {n_frames} frames in all")
