"""`headhunt new-cameras`: what a normality of their own brings to new cameras."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import safe, wide
from headhunt_svc.cli.options import PARAMS, BundleFolder, ParamsFile, check_bundle
from headhunt_svc.params import load_params

app = typer.Typer()


@app.command("new-cameras")
def new_cameras(
    clips: Annotated[Path, typer.Argument(help="Folder of CAMERA/*.mp4: normal clips of cameras of test videos.")],
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("out/new_cameras.json"),
    params: ParamsFile = PARAMS,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Compare new cameras with the fleet's normality and with their own, and with seen cameras."""
    check_bundle(bundle)
    from headhunt_svc.studies.new_cameras import new_cameras as run

    where = (paths.INDEX, paths.LABELS, paths.FEATURES, paths.TEST_FEATURES, bundle, out)
    print_cameras(run(load_params(params), clips, *where))


def print_cameras(result: dict[str, Any]) -> None:
    """Prints both tables."""
    from headhunt_svc.studies.figures import with_interval

    used = "{mean:g}, {covariance:g}".format(**result["shrinkage"])
    columns = ("AUC", "AP", "mean AUC of a camera", "F1", "Brier")
    left_out = Table("shrinkage: mean, covariance", *columns, title="One camera left out")
    for name, row in result["leave_one_camera_out"].items():
        auc = row["auc_per_camera"]
        mark = " (used)" if name == used else ""
        figures = (row["auc"], row["ap"], sum(auc) / len(auc), row["f1"], row["brier"])
        left_out.add_row(f"{safe(name)}{mark}", *(f"{figure:.4f}" for figure in figures))
    wide().print(left_out)
    test = Table("videos, normality", "videos", "ROC-AUC [95 %]", "AP [95 %]", "false alarms", title="Test videos")
    for name, row in result["test"].items():
        alarms = row["false_alarms"]
        text = f"{alarms['events']} in {60 * alarms['hours']:.1f} min" if alarms else "-"
        cells = (with_interval(row, key) for key in ("roc_auc", "average_precision"))
        test.add_row(safe(name), str(row["n_videos"]), *cells, text)
    wide().print(test)
