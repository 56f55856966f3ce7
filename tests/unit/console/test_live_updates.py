"""Live updates: what has changed is told to every page that is open, and nothing is looked at for nobody."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from headhunt_svc.console import live as live_module
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.live import Live, TooManyPagesError
from headhunt_svc.errors import UnreachableError
from headhunt_svc.events.records import EventState
from helpers.consoles import STOP, camera_verdict, write_verdict
from helpers.events import NOON, new


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


def test_every_open_page_is_told_once() -> None:
    versions, looks = {"events": "1", "drift": "1"}, [0]

    def look() -> dict[str, str]:
        looks[0] += 1
        if looks[0] == 4:
            raise UnreachableError("the database is away")
        return dict(versions)

    async def run() -> list[list[str]]:
        live = Live(look, 0.01)
        watching = asyncio.create_task(live.watch())
        await asyncio.sleep(0.05)
        assert looks == [0]  # nobody waits
        told: list[list[str]] = [[], []]

        async def page(subjects: list[str]) -> None:
            async for subject in live.changes():
                subjects.append(subject)

        pages = [asyncio.create_task(page(subjects)) for subjects in told]
        await until(lambda: looks[0] > 5)
        assert told == [["events", "drift"]] * 2  # the pages may have been drawn before the first look
        versions["drift"] = "2"
        await until(lambda: all(len(subjects) == 3 for subjects in told))
        versions["events"] = "2"
        await until(lambda: all(len(subjects) == 4 for subjects in told))
        live.end()
        await asyncio.gather(*pages)
        assert live.open == 0
        watching.cancel()
        return told

    assert asyncio.run(run()) == [["events", "drift", "drift", "events"]] * 2


def test_no_more_pages_than_can_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "MOST_OPEN", 0)

    async def run() -> None:
        async for _ in Live(dict).changes():
            pass

    with pytest.raises(TooManyPagesError):
        asyncio.run(run())


def test_what_happens_between_drawing_a_page_and_its_first_look_is_told() -> None:
    async def run() -> str:
        live = Live(lambda: {"events": "as the page shows it, or newer"}, 60)
        async with asyncio.timeout(10):
            return await anext(live.changes())

    assert asyncio.run(run()) == "events"


def test_what_changes_the_versions(desk: Desk) -> None:
    store, seen = desk.events, set()

    def version() -> str:
        return store.version(NOON - timedelta(days=1))

    seen.add(version())
    event = store.add(new(stop=None), merge_s=None)
    seen.add(version())
    store.extend(event.id, stop=NOON + timedelta(seconds=20), peak=NOON, score=0.5)
    seen.add(version())
    store.close(event.id, stop=NOON + timedelta(seconds=20))
    seen.add(version())
    store.mark(event.id, EventState.CONFIRMED, "anna")
    seen.add(version())
    assert len(seen) == 5
    assert version() in seen
    assert store.cameras() == ("yard",)


def test_a_new_verdict_changes_drift_and_status(desk: Desk) -> None:
    before = desk.versions()
    write_verdict(desk.places.monitor.parent, STOP, [camera_verdict("yard")], latest=True)
    desk._refreshed = desk._overview = None
    after = desk.versions()
    assert {name for name in before if before[name] != after[name]} == {"drift", "status"}
