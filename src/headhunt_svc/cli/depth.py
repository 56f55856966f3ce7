"""`headhunt depth`: what a limit on the layers of the expert heads costs and saves."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import safe, wide
from headhunt_svc.cli.options import PARAMS, ParamsFile
from headhunt_svc.params import load_params

app = typer.Typer()
HOW = (
    "Choose a limit by the validation videos.",
    "GFLOP: of a segment of 720p footage, counted from the shapes of the model's weights: vision tower, projector, "
    "matrices and attention of the layers that run. decoder, segment: the share of the cost without limit.",
)


@app.command("depth")
def depth(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("out/depth.json"),
    params: ParamsFile = PARAMS,
) -> None:
    """Hunt heads under every limit on their layers (identify.deepest_layer), from stored features: figures and cost."""
    from headhunt_svc.studies.depth import depth as run

    inputs = (paths.INDEX, paths.LABELS, paths.FEATURES, paths.TEST_FEATURES)
    print_depth(run(load_params(params), *inputs, out))


def print_depth(result: dict[str, Any]) -> None:
    """Prints a row a limit: what runs, what share of the cost without limit that is, and the figures."""
    from headhunt_svc.studies.figures import QUALITY, quality_cells

    rows, columns = result["limits"], ("layers", "GFLOP", "decoder", "segment")
    usable = [None, *(row["limit"] for row in rows if "unavailable" not in row)]
    first: dict[str, Any] = next((row["cost"] for row in rows if "cost" in row), {})
    title = "Heads hunted anew under each limit (identify.deepest_layer): cost, test and validation videos"
    table, problems = Table("limit", *columns, *QUALITY, title=title), []
    for place, row in enumerate(rows):
        in_use = row["limit"] == (rows[0]["limit"] if result["limit"] is None else result["limit"])
        name = ("none" if place == 0 else str(row["limit"])) + (" *" if in_use else "")
        if "unavailable" in row:
            problems.append(f"{row['limit']}: {row['unavailable']}")
            table.add_row(name, *["-"] * (len(columns) + len(QUALITY)))
        else:
            table.add_row(name, str(row["layers"]), *_cost_cells(row["cost"], first), *quality_cells(row))
    console = wide()
    console.print(table)
    refused = f"params.yaml has {result['limit']}: none of these limits, so `headhunt identify` refuses it."
    lines = [*problems, "* as params.yaml has it." if result["limit"] in usable else refused, *HOW]
    if rows[-1]["limit"] > 0:
        lines.append(f"Limits below {rows[-1]['limit']} leave fewer heads than identify.top_k.")
    for line in lines:
        console.print(safe(line), soft_wrap=True)


def _cost_cells(cost: dict[str, Any], first: dict[str, Any]) -> list[str]:
    """GFLOP of a segment, the shares of decoder and segment that remain; `-` where the tower's cost is not known."""
    decoder = f"{cost['decoder'] / first['decoder']:.2f}"
    if cost["segment"] is None:
        return [f"{cost['decoder'] / 1e9:,.2f} (decoder)", decoder, "-"]
    return [f"{cost['segment'] / 1e9:,.2f}", decoder, f"{cost['segment'] / first['segment']:.2f}"]
