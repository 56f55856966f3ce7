"""Evidently: windows beside their baselines as a snapshot with tests, an HTML page and a run in a workspace.

The verdict is made before and without Evidently: Evidently draws the score, brightness and sharpness distributions and
computes their distances itself (by the same definitions); of all other signals it is given the value.

Import it late: Evidently takes seconds.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid5

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.core.datasets import Dataset as AnyDataset
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.core.report import Context, Snapshot
from evidently.metrics import ValueDrift
from evidently.tests import lte
from evidently.ui.service.storage.fslocation import FSLocation
from evidently.ui.workspace import Workspace

from headhunt_svc.core.samples import Sample
from headhunt_svc.errors import ArtifactError
from headhunt_svc.monitoring.drift import Comparison
from headhunt_svc.monitoring.heading import with_heading
from headhunt_svc.monitoring.pages import with_policy
from headhunt_svc.monitoring.verdicts import FLEET, Verdict
from headhunt_svc.names import CameraName
from headhunt_svc.storage.files import write_text
from headhunt_svc.storage.locks import exclusive

PROJECT = "headhunt"
MOST_CHARTS = 24  # of a page, which has to open and be read also where there are hundreds of signals
COLUMNS = ("raw", "brightness", "sharpness")
NATIVE = {  # signals that Evidently computes from a column by a method of its own
    "score_psi": ("raw", "psi"),
    "score_wasserstein": ("raw", "wasserstein"),
    "brightness": ("brightness", "wasserstein"),
    "sharpness": ("sharpness", "wasserstein"),
}
VALUE_DRIFT = "evidently:metric_v2:ValueDrift"
SIGNAL = "evidently:metric_v2:headhunt_svc:Signal"


class Signal(SingleValueMetric):
    """A signal that needs more than one column (heads, view, prompts), or a plain figure of the window.

    The value is a constant column of the current data; `column` names the line in the dashboard's panels.
    """

    class Config:
        """The name of this metric in workspaces."""

        type_alias = SIGNAL

    column: str


class SignalCalculation(SingleValueCalculation[Signal]):
    """Reads the value from the data."""

    def calculate(self, context: Context, current_data: AnyDataset, reference_data: AnyDataset | None) -> SingleValue:
        """The value."""
        return self.result(float(current_data.column(self.metric.column).data.iloc[0]))

    def display_name(self) -> str:
        """The title on the page."""
        return str(self.metric.column).replace("_", " ")


def column_of(camera: str, name: str) -> str:
    """The name of a column; it contains the camera, because panels tell lines apart by columns.

    Evidently writes it into a script of its page as it is, where `</script>` would end the script.
    """
    return f"{page_name(camera)}: {name}"


def page_name(camera: str) -> str:
    """A camera's name, or that of all cameras together, for pages and scripts of Evidently (CameraName.page)."""
    return camera if camera == FLEET else CameraName(camera).page


def _of_page(name: str) -> str:
    """What `page_name` was made of."""
    return name if name == FLEET else CameraName.of_page(name)


def _dataset(samples: Mapping[str, Sample], constants: Mapping[str, float]) -> Dataset:
    """The columns of all cameras side by side; shorter ones end in NaN, which Evidently leaves out."""
    columns = {column_of(c, n): pd.Series(getattr(s, n)) for c, s in samples.items() for n in COLUMNS}
    n = max(map(len, samples.values()))
    frame = pd.DataFrame(columns | {name: pd.Series(np.full(n, value)) for name, value in constants.items()})
    return Dataset.from_pandas(frame, data_definition=DataDefinition(numerical_columns=list(frame.columns)))


def take_snapshot(
    comparisons: Mapping[str, Comparison], figures: Mapping[str, Mapping[str, float]], timestamp: datetime, title: str
) -> Snapshot:
    """Signals of all cameras with their limits as tests, the worst first, and the figures of their windows."""
    metrics: list[Any] = []
    constants: dict[str, float] = {}
    signals = [(camera, name, s) for camera, c in comparisons.items() for name, s in c.signals.items()]
    for camera, name, result in sorted(signals, key=lambda signal: -signal[2].of_limit):
        column, method = NATIVE.get(name, (name, None))
        tests = [lte(result.limit)]
        if method is None:
            constants[column_of(camera, name)] = result.value
            metrics.append(Signal(column=column_of(camera, name), tests=tests))
        else:  # without our limit, Evidently's own would call drift what the verdict calls fine
            column = column_of(camera, column)
            metrics.append(ValueDrift(column=column, method=method, threshold=result.limit, tests=tests))
    for camera, values in figures.items():
        for name, value in values.items():
            constants[column_of(camera, name)] = value
            metrics.append(Signal(column=column_of(camera, name)))
    return Report(metrics).run(
        _dataset({camera: c.current for camera, c in comparisons.items()}, constants),
        _dataset({camera: c.reference for camera, c in comparisons.items()}, constants),
        timestamp=timestamp,
        name=title,
    )


def worst_of(comparisons: Mapping[str, Comparison], most: int) -> dict[str, Comparison]:
    """The comparisons with those of their signals that are nearest to their limits, or beyond them."""
    signals = [(camera, name, s) for camera, c in comparisons.items() for name, s in c.signals.items()]
    worst = sorted(signals, key=lambda signal: -signal[2].of_limit)[:most]
    kept = {camera: {name: s for c, name, s in worst if c == camera} for camera in comparisons}
    return {camera: replace(comparisons[camera], signals=of_camera) for camera, of_camera in kept.items() if of_camera}


def save_page(path: Path, snapshot: Snapshot, verdict: Verdict) -> None:
    """Write a self-contained HTML file, which runs no script but Evidently's own and asks nobody.

    It begins with the verdict.
    """
    charts = len(snapshot.dict()["metrics"])
    write_text(path, with_policy(with_heading(str(snapshot.get_html_str(False)), verdict, charts)))


class _WholeFiles(FSLocation):
    """The files of a workspace, each written whole or not at all: Evidently reads none of them if one is half."""

    @contextlib.contextmanager
    def open(self, path: str, mode: str = "r") -> Iterator[Any]:
        """See FSLocation."""
        if mode != "w":
            with super().open(path, mode) as file:
                yield file
            return
        text = io.StringIO()
        yield text
        target = Path(self.base_path) / path
        write_text(target, text.getvalue(), durable=True)
        target.touch()  # a dashboard that is being served looks for changed files, not for renamed ones


def open_workspace(folder: Path) -> tuple[Workspace, Any]:
    """The workspace and its one project; both are created if they are missing.

    Raises:
        ArtifactError: a file in it is damaged.
    """
    with exclusive(folder / ".lock"):
        try:
            place = str(folder.resolve())  # Evidently refuses `..`, and takes `a:b` for a URI
            workspace = Workspace.create(place)
            workspace.state.location = _WholeFiles(place)
            # a killed process may leave the folder of a project without its file, on which `search_project` fails
            projects = [project for project in workspace.list_projects() if project is not None]
            project = next((project for project in projects if project.name == PROJECT), None)
        except ValueError as exc:  # of JSON or pydantic
            raise ArtifactError(
                f"{folder} cannot be read as Evidently's workspace ({exc}): move it away, the next run makes a new one"
            ) from exc
        return workspace, project or workspace.create_project(PROJECT, "Scores, prompts and heads over time")


def add_run(folder: Path, snapshot: Snapshot, stop: datetime) -> None:
    """Add the snapshot of the window that ends at `stop` to the workspace, in place of an earlier one.

    Its id depends on nothing but the window, so that a run that was killed and is repeated leaves no second one.
    """
    workspace, project = open_workspace(folder)
    workspace.state.write_snapshot(project.id, uuid5(project.id, stop.isoformat()), snapshot.to_snapshot_model())


def cameras_of(folder: Path, latest: int = 50) -> list[str]:
    """The cameras in the latest snapshots of the workspace, and FLEET."""
    workspace, project = open_workspace(folder)
    stored = [workspace.get_run(project.id, run_id) for run_id in workspace.list_runs(project.id)]
    runs = sorted((run for run in stored if run is not None), key=lambda run: run.timestamp)[-latest:]
    columns = {str(m.metric_value_location.metric.params["column"]) for r in runs for m in r.metric_results.values()}
    return sorted({_of_page(column.rpartition(": ")[0]) for column in columns})
