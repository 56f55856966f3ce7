"""The dashboard: Evidently's own server on the workspace, with our panels."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headhunt_svc.errors import ArtifactError
from headhunt_svc.monitoring.pages import Protected, hosts_of, policy, scripts_of

TABS: dict[str, dict[str, str]] = {
    "Drift": {
        "Light (drift of brightness, standard deviations)": "brightness",
        "View (1 - correlation of the layout)": "view",
        "Head drift (2 AUC - 1, best head)": "heads",
        "Score drift (Wasserstein, standard deviations)": "score_wasserstein",
        "Score drift (PSI)": "score_psi",
        "Sharpness (drift, standard deviations)": "sharpness",
    },
    "Scores and events": {
        "Mean score": "mean_score",
        "Share of segments in events": "share_in_event",
    },
    "Prompts": {
        "Mean spread of scores over prompts": "mean_prompt_std",
        "Share of decisions that flip between prompts": "mean_flip_rate",
        "Rank agreement of prompts": "mean_rank_agreement",
        "Instability of heads (log ratio)": "head_instability",
    },
    "Decode quality": {
        "Brightness": "mean_brightness",
        "Sharpness": "mean_sharpness",
        "Share of segments with lost pictures, more than before": "dropped_frames",
    },
}


def build(workspace: Path, cameras: Sequence[str]) -> int:
    """Create all panels, with one line for each camera; returns how many there are. Repeating it changes nothing.

    The whole dashboard is saved at once: a panel that is added to an existing tab would be listed twice. Tabs with
    other names are the operator's own and are kept.
    """
    from evidently.sdk.models import DashboardModel, DashboardTabModel

    from headhunt_svc.monitoring.snapshot import open_workspace

    space, project = open_workspace(workspace)
    existing = project.dashboard.model()
    replaced = {panel_id for tab in existing.tabs if tab.title in TABS for panel_id in tab.panels}
    tabs = [tab for tab in existing.tabs if tab.title not in TABS]
    panels = [panel for panel in existing.panels if panel.id not in replaced]
    for title, signals in TABS.items():
        of_tab = [_panel(text, signal, cameras) for text, signal in signals.items()]
        tabs.append(DashboardTabModel(title=title, panels=[panel.id for panel in of_tab]))
        panels += of_tab
    space.save_dashboard(project.id, DashboardModel(tabs=tabs, panels=panels))
    return len(panels)


def _panel(title: str, signal: str, cameras: Sequence[str]) -> Any:
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import line_plot_panel

    from headhunt_svc.monitoring.snapshot import NATIVE, SIGNAL, VALUE_DRIFT, column_of, page_name

    column, method = NATIVE.get(signal, (signal, None))
    metric, labels = (VALUE_DRIFT, {"method": method}) if method else (SIGNAL, {})
    lines = [
        PanelMetric(
            legend=page_name(camera), metric=metric, metric_labels={"column": column_of(camera, column), **labels}
        )
        for camera in cameras
    ]
    return line_plot_panel(title=title, values=lines, size="half")


def serve(workspace: Path, host: str, port: int) -> None:
    """Create the panels and serve the dashboard until interrupted; nothing leaves the machine.

    Raises:
        ArtifactError: there is no workspace.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    if not workspace.is_dir():
        raise ArtifactError(f"{workspace} not found: run `headhunt monitor run` or `headhunt monitor simulate` first")
    import evidently.ui.service
    import uvicorn
    from evidently.ui.service.app import create_app, get_config

    from headhunt_svc.monitoring.snapshot import cameras_of

    build(workspace, cameras_of(workspace))
    index = Path(evidently.ui.service.__path__[0]) / "assets" / "index.html"
    header = policy(scripts_of(index.read_text(encoding="utf-8")), source="'self'")
    app = create_app(get_config(host=host, port=port, workspace=str(workspace.resolve())))
    uvicorn.run(Protected(app, header, hosts_of(host)), host=host, port=port)
