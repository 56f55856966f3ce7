"""`headhunt fewer-tokens`: what is lost when the decoder reads fewer visual tokens."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import safe, wide
from headhunt_svc.cli.options import PARAMS, ParamsFile
from headhunt_svc.params import load_params

app = typer.Typer()


@app.command("fewer-tokens")
def fewer_tokens(
    work: Annotated[Path, typer.Option(help="Folder of the features; what is there is kept.")] = Path("out/tokens"),
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("out/fewer_tokens.json"),
    params: ParamsFile = PARAMS,
) -> None:
    """Hunt heads and evaluate with half and a quarter of the visual tokens (mllm.keep_tokens), beside controls."""
    from headhunt_svc.studies.fewer_tokens import fewer_tokens as run

    print_tokens(run(load_params(params), paths.INDEX, paths.LABELS, work, out))


def print_tokens(result: dict[str, Any]) -> None:
    """Prints a row an arm."""
    from headhunt_svc.studies.figures import QUALITY, quality_cells

    for way, title in (("same_heads", "the heads of all tokens"), ("anew", "heads hunted anew in each row")):
        table = Table("arm", "visual tokens", *QUALITY, title=f"Test videos, {title}")
        for name, row in result.items():
            table.add_row(safe(name), str(row["tokens"]), *quality_cells(row[way]))
        wide().print(table)
