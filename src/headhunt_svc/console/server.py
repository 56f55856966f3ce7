"""Runs the console: on loopback without keys, elsewhere only with the service's keys."""

import socket

import uvicorn
from starlette.types import ASGIApp

from headhunt_svc.console.app import create_app
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.live import Live
from headhunt_svc.console.places import Places
from headhunt_svc.errors import ConfigError
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings, Settings
from headhunt_svc.web.keys import CurrentKeys

GRACE_S = 3
MOST_CONNECTIONS = 512


class _Server(uvicorn.Server):
    """Ends the streams of open pages first: uvicorn waits for every answer to end."""

    def __init__(self, config: uvicorn.Config, live: Live) -> None:
        super().__init__(config)
        self._live = live

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        self._live.end()
        await super().shutdown(sockets)


def serve(places: Places, events: EventSettings, settings: Settings, host: str, port: int) -> None:
    """Serve the pages until interrupted.

    Raises:
        ConfigError: the address needs keys and there are none, or it cannot be listened on; a setting is wrong.
        OutputError, UnreachableError: see EventStore.open.
    """
    keys = CurrentKeys(settings, [host])
    with EventStore.open(events) as store:
        desk = Desk(places, store)
        app = create_app(desk, keys)
        server = _Server(_config(app, host, port), app.state.live)
        try:
            server.run()
        except SystemExit as exc:  # uvicorn's way to say that it cannot listen; its reason is in the log
            raise ConfigError(f"cannot listen on {host}:{port}: is it taken? choose another --port") from exc


def _config(app: ASGIApp, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
