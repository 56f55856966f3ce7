"""A console without a server, on what a test puts into a folder."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from headhunt_svc.console.app import create_app
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.places import Places
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings
from headhunt_svc.web.keys import Keys
from helpers.consoles import BASE, Client


def places_of(folder: Path) -> Places:
    return Places(folder / "cameras.yaml", folder / "states", folder / "monitor", str(folder / "log"), folder / "none")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    settings = EventSettings(folder=tmp_path / "events", time_zone="Europe/Berlin")
    with EventStore.open(settings) as store:
        yield Desk(places_of(tmp_path), store)


@pytest.fixture
def client(desk: Desk) -> Iterator[Client]:
    """Makes clients; keys: by name, none where nobody needs one."""
    with ExitStack() as stack:

        def make(keys: dict[str, str] | None = None) -> TestClient:
            known = None if keys is None else Keys(keys.items())
            app = create_app(desk, lambda: known)
            return stack.enter_context(
                TestClient(app, base_url=BASE, follow_redirects=False, headers={"accept": "text/html"})
            )

        yield make
