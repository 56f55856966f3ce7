"""Evidently: windows beside their baselines as a snapshot with tests, an HTML page and a run in a workspace.

The verdict is made before and without Evidently: Evidently draws the score, brightness and sharpness distributions and
computes their distances itself (by the same definitions); of all other signals it is given the value.

Import it late: Evidently takes seconds.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.core.datasets import Dataset as AnyDataset
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.core.report import Context, Snapshot
from evidently.metrics import ValueDrift
from evidently.tests import lte
from evidently.ui.workspace import Workspace

from headhunt_svc.core.drift import Sample
from headhunt_svc.monitoring.pages import with_policy
from headhunt_svc.monitoring.verdicts import Comparison
from headhunt_svc.names import CameraName
from headhunt_svc.storage.files import write_text

PROJECT = "headhunt"
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
    return f"{CameraName(camera).page}: {name}"


def _dataset(samples: Mapping[str, Sample], constants: Mapping[str, float]) -> Dataset:
    """The columns of all cameras side by side; shorter ones end in NaN, which Evidently leaves out."""
    columns = {column_of(c, n): pd.Series(getattr(s, n)) for c, s in samples.items() for n in COLUMNS}
    n = max(map(len, samples.values()))
    frame = pd.DataFrame(columns | {name: pd.Series(np.full(n, value)) for name, value in constants.items()})
    return Dataset.from_pandas(frame, data_definition=DataDefinition(numerical_columns=list(frame.columns)))


def take_snapshot(
    comparisons: Mapping[str, Comparison], figures: Mapping[str, Mapping[str, float]], timestamp: datetime
) -> Snapshot:
    """Signals of all cameras with their limits as tests, and the figures of their windows."""
    metrics: list[Any] = []
    constants: dict[str, float] = {}
    for camera, comparison in comparisons.items():
        for name, result in comparison.signals.items():
            column, method = NATIVE.get(name, (name, None))
            if method is None:
                constants[column_of(camera, name)] = result.value
                metrics.append(Signal(column=column_of(camera, name), tests=[lte(result.limit)]))
            else:
                metrics.append(ValueDrift(column=column_of(camera, column), method=method, tests=[lte(result.limit)]))
        for name, value in figures.get(camera, {}).items():
            constants[column_of(camera, name)] = value
            metrics.append(Signal(column=column_of(camera, name)))
    return Report(metrics).run(
        _dataset({camera: c.current for camera, c in comparisons.items()}, constants),
        _dataset({camera: c.reference for camera, c in comparisons.items()}, constants),
        timestamp=timestamp,
    )


def save_page(path: Path, snapshot: Snapshot) -> None:
    """Write a self-contained HTML file, which runs no script but Evidently's own and asks nobody."""
    write_text(path, with_policy(str(snapshot.get_html_str(False))))


def open_workspace(folder: Path) -> tuple[Workspace, Any]:
    """The workspace and its one project; both are created if they are missing."""
    workspace = Workspace.create(str(folder))
    project = next(iter(workspace.search_project(PROJECT)), None)
    return workspace, project or workspace.create_project(PROJECT, "Scores, prompts and heads over time")


def add_run(folder: Path, snapshot: Snapshot, replaces: str | None = None) -> str:
    """Add a snapshot to the workspace, in place of an earlier one of the same window; returns its id."""
    workspace, project = open_workspace(folder)
    if replaces is not None and replaces in map(str, workspace.list_runs(project.id)):
        workspace.delete_run(project.id, replaces)
    return str(workspace.add_run(project.id, snapshot).id)


def cameras_of(folder: Path, latest: int = 50) -> list[CameraName]:
    """The cameras in the latest snapshots of the workspace."""
    workspace, project = open_workspace(folder)
    runs = [workspace.get_run(project.id, i) for i in sorted(workspace.list_runs(project.id), key=str)[-latest:]]
    results = [m for r in runs if r is not None for m in r.metric_results.values()]
    columns = {str(m.metric_value_location.metric.params["column"]) for m in results}
    return sorted({CameraName.of_page(c.rpartition(": ")[0]) for c in columns})
