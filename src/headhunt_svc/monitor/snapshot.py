"""Evidently: a camera's window beside its baseline, as a snapshot with tests, a page, and a run in a workspace.

Import it late: Evidently takes seconds.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.core.datasets import Dataset as AnyDataset
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.core.report import Context, Snapshot
from evidently.metrics import ValueDrift
from evidently.tests import lte
from evidently.ui.workspace import Workspace

from headhunt_svc.core.drift import Sample
from headhunt_svc.io.files import write_text

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
    """A signal that is measured on more than one column (heads, view, prompts), or a plain figure of the window."""

    class Config:
        """As Evidently names it in workspaces."""

        type_alias = SIGNAL

    name: str
    value: float


class SignalCalculation(SingleValueCalculation[Signal]):
    """Hands the value over."""

    def calculate(self, context: Context, current_data: AnyDataset, reference_data: AnyDataset | None) -> SingleValue:
        """The value."""
        return self.result(self.metric.value)

    def display_name(self) -> str:
        """What the page says."""
        return str(self.metric.name).replace("_", " ")


def _dataset(sample: Sample) -> Dataset:
    frame = pd.DataFrame({name: getattr(sample, name) for name in COLUMNS}).dropna()
    return Dataset.from_pandas(frame, data_definition=DataDefinition(numerical_columns=list(COLUMNS)))


def snapshot(
    camera: str,
    reference: Sample,
    current: Sample,
    values: Mapping[str, float],
    limits: Mapping[str, float],
    figures: Mapping[str, float],
    timestamp: datetime,
) -> tuple[Snapshot, dict[str, float]]:
    """Every signal with its limit as a test, and figures without one; and the values that Evidently measured itself."""
    metrics: list[Any] = []
    for name, value in values.items():
        tests = [lte(limits[name])]
        if name in NATIVE:
            column, method = NATIVE[name]
            metrics.append(ValueDrift(column=column, method=method, tests=tests))
        else:
            metrics.append(Signal(name=name, value=value, tests=tests))
    metrics += [Signal(name=name, value=value) for name, value in figures.items()]
    made = Report(metrics).run(
        _dataset(current), _dataset(reference), timestamp=timestamp, metadata={"camera": camera}, tags=[camera]
    )
    found = [m["value"] for m in made.dict()["metrics"]]
    measured = {n: float(v) for n, v in zip(values, found, strict=False) if n in NATIVE}
    return made, measured


def save_page(path: Path, made: Snapshot) -> None:
    """One HTML file that needs nothing else."""
    write_text(path, str(made.get_html_str(False)))


def open_workspace(folder: Path) -> tuple[Workspace, Any]:
    """The workspace with its one project, made where they are missing."""
    found = Workspace.create(str(folder))
    projects = found.search_project(PROJECT)
    return found, projects[0] if projects else found.create_project(PROJECT, "Scores, prompts and heads over time")


def add_runs(folder: Path, made: Mapping[str, Snapshot], instead: Sequence[str] = ()) -> list[str]:
    """Keep snapshots in the workspace, instead of earlier ones of the same window; returns their ids."""
    space, project = open_workspace(folder)
    there = {str(i) for i in space.list_runs(project.id)}
    for old in there.intersection(instead):
        space.delete_run(project.id, old)
    return [str(space.add_run(project.id, run).id) for run in made.values()]


def cameras_of(folder: Path, latest: int = 200) -> list[str]:
    """The cameras that the latest snapshots in the workspace are of."""
    space, project = open_workspace(folder)
    runs = [space.get_run(project.id, i) for i in sorted(space.list_runs(project.id), key=str)[-latest:]]
    return sorted({str(r.metadata["camera"]) for r in runs if r is not None})
