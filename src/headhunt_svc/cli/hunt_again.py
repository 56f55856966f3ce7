"""`headhunt hunt-again`: marks as labelled videos of the project."""

from pathlib import Path
from typing import Annotated

import typer

from headhunt_svc import paths
from headhunt_svc.cli.console import note
from headhunt_svc.cli.events import CameraFilter, Since, Until, note_left_out, time_of
from headhunt_svc.cli.options import PARAMS, ParamsFile
from headhunt_svc.errors import EXIT_SOME_FAILED
from headhunt_svc.params import load_params
from headhunt_svc.settings import EventSettings

app = typer.Typer()


@app.command("hunt-again")
def hunt_again(
    out: Annotated[Path, typer.Option(help="The folder of the data set: dataset.marks of params.yaml.")] = paths.MARKS,
    camera: CameraFilter = None,
    since: Since = None,
    until: Until = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Write the clips of marked events as calibration videos, from which `dvc repro` hunts heads anew."""
    from headhunt_svc.events.records import EventFilter
    from headhunt_svc.events.store import EventStore
    from headhunt_svc.feedback.hunt_again import export_marks, track_with_dvc

    project = load_params(params)
    which = EventFilter(camera=camera, since=time_of("--since", since), until=time_of("--until", until))
    with EventStore.open(EventSettings()) as store:
        done = export_marks(store, which, out, paths.INDEX)
    note_left_out(done.left_out)
    clips = done.marks.clips
    n_events, n_true = sum(len(clip.events) for clip in clips), sum(bool(clip.spans) for clip in clips)
    kept = ", kept by DVC" if track_with_dvc(out) else ""
    note(f"{out}: version {done.marks.version}, {n_events} events in {len(clips)} clips, {n_true} anomalous{kept}")
    if project.dataset.marks != out:
        note(f"once: write `marks: {out}` into the section dataset of {params}, and run `headhunt init . --update`")
    note("`dvc repro bundle` hunts heads anew; `dvc repro evaluate` also measures the new detector")
    if done.left_out:
        raise typer.Exit(EXIT_SOME_FAILED)
