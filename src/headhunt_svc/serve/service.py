"""The BentoML service: the application under /v1, loading, readiness and shutdown."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

import bentoml
import psutil
from bentoml._internal.server.http import traffic
from starlette.types import ASGIApp

from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.model import fetch_model
from headhunt_svc.errors import HeadHuntError
from headhunt_svc.serve import connections, logs, metrics, supervisor
from headhunt_svc.serve.api import create_app
from headhunt_svc.serve.engine import Engine
from headhunt_svc.serve.gate import Gate
from headhunt_svc.serve.packaging import MODEL
from headhunt_svc.settings import Settings
from headhunt_svc.web.keys import CurrentKeys, Keys

logger = logging.getLogger(__name__)
app = create_app()
TIMEOUT_S = 3600  # BentoML's; HEADHUNT_DEADLINE_S ends a request earlier


def bundle_folder(settings: Settings) -> Path:
    """The bundle to serve: HEADHUNT_BUNDLE, artifacts/detector beside this code, or the newest in the model store."""
    if settings.bundle is not None:
        return settings.bundle
    for root in Path(__file__).resolve().parents[2:4]:  # a Bento has no folder src of its own; never the working folder
        if (root / "artifacts" / "detector").is_dir():
            return root / "artifacts" / "detector"
    return Path(bentoml.models.get(f"{MODEL}:latest").path) / "detector"


def _listening_addresses() -> list[str]:
    """The addresses that this process listens on."""
    return [c.laddr.ip for c in psutil.Process().net_connections("inet") if c.status == psutil.CONN_LISTEN]


def _exit(exc: Exception) -> NoReturn:
    """End the worker and its supervisor."""
    logger.critical("cannot serve: %s", exc)
    supervisor.leave_for_good()


class ProcessKeys:
    """Set once the service knows where it listens; until then no key is accepted."""

    keys: Callable[[], Keys | None] = staticmethod(lambda: Keys(()))


def _no_timeout(app: ASGIApp, timeout: float) -> ASGIApp:
    """In the place of BentoML's timeout, which keeps a timer for all of its time after each request, however short."""
    return app


@bentoml.service(
    name="headhunt",
    workers=1,
    resources={"gpu": 1} if os.environ.get("CUDA_VISIBLE_DEVICES") else {},
    traffic={"timeout": TIMEOUT_S},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},  # they have a label for every path that anybody asks for; see Gate
)
@bentoml.asgi_app(app, path="/v1")
class HeadHunt:
    """Video in, events out."""

    def __init__(self) -> None:
        settings = Settings()
        supervisor.end_with_supervisor(settings.grace_s)
        logs.configure("INFO" if settings.log_level == "WARNING" else settings.log_level)
        try:
            ProcessKeys.keys = CurrentKeys(settings, _listening_addresses())
            connections.LIMITS.set(settings.max_connections)
            metrics.forget_dead_processes()
            self.engine = Engine(settings, bundle_folder(settings))
        except (HeadHuntError, bentoml.exceptions.NotFound) as exc:
            _exit(exc)
        app.state.engine = self.engine
        self.engine.load(_exit)
        if threading.current_thread() is threading.main_thread():
            previous = signal.getsignal(signal.SIGTERM)

            def drain(number: int, frame: FrameType | None) -> None:
                self.engine.drain()
                if callable(previous):
                    previous(number, frame)

            signal.signal(signal.SIGTERM, drain)

    def __is_ready__(self) -> bool:
        return self.engine.ready

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Before a worker starts: a bundle or model that does not load ends the server with one line."""
        supervisor.exit_like_workers()
        try:
            folder = bundle_folder(Settings())
            fetch_model(load_bundle(folder)[0], folder)
        except (HeadHuntError, bentoml.exceptions.NotFound) as exc:
            raise SystemExit(f"error: cannot serve: {exc}") from exc


HeadHunt.add_asgi_middleware(Gate, keys=lambda: ProcessKeys.keys())  # type: ignore[attr-defined]  # added by the decorator
traffic.TimeoutMiddleware = _no_timeout  # type: ignore[assignment,misc]
connections.install()
