"""`headhunt watch`: scores cameras live, stores events and tells people."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headhunt_svc import paths
from headhunt_svc.cli.cameras import CamerasPath, named_problems, problems_with
from headhunt_svc.cli.console import note, note_cautions
from headhunt_svc.cli.options import BundleFolder, MetricsAddress, MetricsPort, check_bundle
from headhunt_svc.errors import ConfigError
from headhunt_svc.settings import EventSettings, NotifySettings, Settings
from headhunt_svc.storage.exposition import LOOPBACK

if TYPE_CHECKING:
    from headhunt_svc.cameras.config import Camera, Cameras
    from headhunt_svc.notify.channels import Channel

app = typer.Typer()


@app.command()
def watch(
    cameras: CamerasPath = paths.CAMERAS,
    bundle: BundleFolder = paths.BUNDLE,
    log: Annotated[
        str | None, typer.Option(help="Folder or URI of the prediction log; default: HEADHUNT_PREDICTION_LOG.")
    ] = None,
    states: Annotated[Path, typer.Option(help="Where it writes how cameras are, for `headhunt cameras status`.")] = (
        paths.CAMERA_STATES
    ),
    metrics_port: MetricsPort = None,
    metrics_address: MetricsAddress = LOOPBACK,
) -> None:
    """Watch all cameras of cameras.yaml with one model, store their events and send messages, until stopped."""
    cautions = check_bundle(bundle).cautions
    from headhunt_svc.cameras.reload import CamerasFile, unusable

    notify = NotifySettings()
    channels: dict[str, Channel] = {}
    problems = problems_with(bundle)

    def all_problems(new: "Cameras") -> list[str]:
        channels.update(_channels(new, notify) if not channels else {})
        return problems(new) + unusable(new, "notify", lambda camera: _check_channel(camera, channels, notify.file))

    file = named_problems(cameras, lambda: CamerasFile(cameras, all_problems))
    note_cautions(cautions)
    from headhunt_svc.cameras.watch import WatchPlaces, run

    settings = Settings() if log is None else Settings(prediction_log=log)
    places = WatchPlaces(bundle, states, settings, EventSettings(), notify, channels, metrics_port, metrics_address)
    if not run(file, places, lambda: note(f"watching {len(file.cameras)} cameras")):
        sys.stderr.flush()
        os._exit(0)  # Python would wait for what hangs


def _channels(cameras: "Cameras", notify: NotifySettings) -> "Mapping[str, Channel]":
    """The channels of notify.yaml, where a camera names one. Raises ConfigError: they cannot be used."""
    if not any(camera.notify for camera in cameras.each()):
        return {}
    from headhunt_svc.notify.channels import load_channels

    return load_channels(notify.file)


def _check_channel(camera: "Camera", channels: "Mapping[str, Channel]", path: Path) -> None:
    """Raises ConfigError: the camera names a channel that is not there."""
    if unknown := [name for name in camera.notify if name not in channels]:
        raise ConfigError(
            f"{path} has no channel {unknown[0]!r}; when this began there were: {', '.join(channels) or 'none'}"
        )
