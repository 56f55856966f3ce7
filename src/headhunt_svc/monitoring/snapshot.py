"""Evidently: a camera's window beside its baseline, as a snapshot with tests, a page, and a run in a workspace.

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
from headhunt_svc.monitoring.drift import Comparison
from headhunt_svc.storage.files import write_text

PROJECT = "headhunt"
COLUMNS = ("raw", "brightness", "sharpness")
NATIVE = {  # the signals that Evidently measures itself
    "score_psi": ("raw", "psi"),
    "score_wasserstein": ("raw", "wasserstein"),
    "brightness": ("brightness", "wasserstein"),
    "sharpness": ("sharpness", "wasserstein"),
}


VALUE_DRIFT = "evidently:metric_v2:ValueDrift"
SIGNAL = "evidently:metric_v2:headhunt_svc:Signal"


class Signal(SingleValueMetric):
    """A signal that is measured on more than one column (heads, view, prompts), or a plain figure of the window.

    Its value is in the current data, not here: what is here names the line in the dashboard's panels.
    """

    class Config:
        """As Evidently names it in workspaces."""

        type_alias = SIGNAL

    column: str


class SignalCalculation(SingleValueCalculation[Signal]):
    """Hands the value over."""

    def calculate(self, context: Context, current_data: AnyDataset, reference_data: AnyDataset | None) -> SingleValue:
        """The value."""
        return self.result(float(current_data.column(self.metric.column).data.iloc[0]))

    def display_name(self) -> str:
        """What the page says."""
        return str(self.metric.column).replace("_", " ")


def column_of(camera: str, name: str) -> str:
    """The name of a column: of its camera, because panels tell lines apart by columns."""
    return f"{camera}: {name}"


def _dataset(samples: Mapping[str, Sample], constants: Mapping[str, float]) -> Dataset:
    """The columns of all cameras side by side; shorter ones end in NaN, which Evidently leaves out."""
    columns = {column_of(c, n): pd.Series(getattr(s, n)) for c, s in samples.items() for n in COLUMNS}
    n = max(map(len, samples.values()))
    frame = pd.DataFrame(columns | {name: pd.Series(np.full(n, value)) for name, value in constants.items()})
    return Dataset.from_pandas(frame, data_definition=DataDefinition(numerical_columns=list(frame.columns)))


def snapshot(
    compared: Mapping[str, Comparison], figures: Mapping[str, Mapping[str, float]], timestamp: datetime
) -> tuple[Snapshot, dict[str, dict[str, float]]]:
    """Every camera's signals with their limits as tests, and its figures; and what Evidently measured itself."""
    metrics: list[Any] = []
    names: list[tuple[str, str]] = []
    constants: dict[str, float] = {}
    for camera, of in compared.items():
        for name, value in of.values.items():
            tests = [lte(of.limits[name])]
            names.append((camera, name))
            if name in NATIVE:
                column, method = NATIVE[name]
                metrics.append(ValueDrift(column=column_of(camera, column), method=method, tests=tests))
            else:
                metrics.append(Signal(column=column_of(camera, name), tests=tests))
                constants[column_of(camera, name)] = value
        for name, value in figures.get(camera, {}).items():
            names.append((camera, name))
            metrics.append(Signal(column=column_of(camera, name)))
            constants[column_of(camera, name)] = value
    made = Report(metrics).run(
        _dataset({c: of.current for c, of in compared.items()}, constants),
        _dataset({c: of.reference for c, of in compared.items()}, constants),
        timestamp=timestamp,
    )
    measured: dict[str, dict[str, float]] = {camera: {} for camera in compared}
    for (camera, name), metric in zip(names, made.dict()["metrics"], strict=True):
        if name in NATIVE:
            measured[camera][name] = float(metric["value"])
    return made, measured


def save_page(path: Path, made: Snapshot) -> None:
    """One HTML file that needs nothing else."""
    write_text(path, str(made.get_html_str(False)))


def open_workspace(folder: Path) -> tuple[Workspace, Any]:
    """The workspace with its one project, made where they are missing."""
    found = Workspace.create(str(folder))
    projects = found.search_project(PROJECT)
    return found, projects[0] if projects else found.create_project(PROJECT, "Scores, prompts and heads over time")


def add_run(folder: Path, made: Snapshot, instead: str | None = None) -> str:
    """Keep a snapshot in the workspace, instead of an earlier one of the same window; returns its id."""
    space, project = open_workspace(folder)
    if instead is not None and instead in map(str, space.list_runs(project.id)):
        space.delete_run(project.id, instead)
    return str(space.add_run(project.id, made).id)


def cameras_of(folder: Path, latest: int = 50) -> list[str]:
    """The cameras in the latest snapshots of the workspace."""
    space, project = open_workspace(folder)
    runs = [space.get_run(project.id, i) for i in sorted(space.list_runs(project.id), key=str)[-latest:]]
    results = [m for r in runs if r is not None for m in r.metric_results.values()]
    columns = {str(m.metric_value_location.metric.params["column"]) for m in results}
    return sorted({c.rpartition(": ")[0] for c in columns})
