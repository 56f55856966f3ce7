"""Makes pages from templates; everything that is put into them is text, unless a chart of our own."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from headhunt_svc.console import links, words
from headhunt_svc.console.clock import duration, moment
from headhunt_svc.console.sessions import Sessions

FOLDER = Path(__file__).parent
STATIC_FOLDER = FOLDER / "static"


@lru_cache(maxsize=1)
def static_version() -> str:
    """Changes with the styles and scripts, so that no browser shows old ones."""
    digest = hashlib.sha256()
    for path in sorted(STATIC_FOLDER.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def ratio_text(ratio: float) -> str:
    """A value over its limit."""
    return f"{ratio:.2f}" if ratio < 10 else "over 10"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "moment": moment,
        "duration": duration,
        "links": links,
        "words": words,
        "static_version": static_version(),
        "ratio_text": ratio_text,
    }
    for name in environment.list_templates():
        environment.get_template(name)  # compiled now, not while somebody waits
    return environment


class Pages:
    """The templates."""

    def __init__(self, sessions: Sessions) -> None:
        self._environment, self._sessions = _environment(), sessions

    def show(self, request: Request, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        """A page. values: what the template names."""
        state: Mapping[str, Any] = request.scope["state"]
        page = self._environment.get_template(template).render(
            csrf=self._sessions.token(state["cookie"]),
            author=state["author"],
            needs_key=self._sessions.needs_key,
            **values,
        )
        return HTMLResponse(page, status)


def length_of(start: datetime, stop: datetime | None) -> str:
    """How long an event is."""
    return "goes on" if stop is None else duration((stop - start).total_seconds())
