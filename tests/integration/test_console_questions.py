"""Questions in a real browser: ten in a row without the mouse, without scripts, with hostile names."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By

from conftest import COMMANDS
from headhunt_svc.events.records import EventFilter, EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings
from helpers.browser import CHROMIUM, DRIVER, axe, browser, click, complaints, text_of, wait_for_text
from helpers.consoles import picture, serving_console
from helpers.events import features, new

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def near_the_threshold(folder: Path, cameras: list[str]) -> list[str]:
    """An event of each camera within the last hour; the first one has no picture."""
    now, ids = datetime.now(UTC), []
    with EventStore.open(EventSettings(folder=folder / "events")) as store:
        for i, camera in enumerate(cameras):
            start = now - timedelta(minutes=50 - i)
            event = new(camera=camera, key=f"{i}", score=0.55).model_copy(
                update={"start": start, "peak": start, "stop": start + timedelta(seconds=8)}
            )
            image = picture(9 * i) if i else None
            ids.append(store.add(event, merge_s=None, picture=image, features=features(1.0)).id)
    return ids


def test_ten_questions_are_answered_with_one_key_each(driver: Chrome, tmp_path: Path) -> None:
    ids = near_the_threshold(tmp_path, [f"camera {i:02}" for i in range(10)])
    with serving_console(tmp_path, program=COMMANDS.headhunt()) as console:
        driver.get(f"{console.url}/events/questions")
        for number, key in enumerate("nxnanxnnnx"):
            wait_for_text(driver, "main", f"{number} of 10 answered")
            assert axe(driver) == []
            ActionChains(driver).send_keys(key).perform()
        wait_for_text(driver, "main", "9 of them count as marks")
        ActionChains(driver).send_keys("u").perform()
        wait_for_text(driver, "main", "9 of 10 answered")
        assert complaints(driver) == []
    with EventStore.open(EventSettings(folder=tmp_path / "events")) as store:
        states = {EventState.FALSE_ALARM: "n", EventState.CONFIRMED: "x", EventState.ACKNOWLEDGED: "a"}
        answers = "".join(states.get(store.get(event_id).state, "-") for event_id in ids)
    assert answers == "nxnanxnnn-"


def test_without_scripts_and_with_a_hostile_name(tmp_path: Path) -> None:
    near_the_threshold(tmp_path, [HOSTILE])
    with (
        serving_console(tmp_path, program=COMMANDS.headhunt()) as console,
        browser(tmp_path / "profile", scripts=False) as plain,
    ):
        plain.get(f"{console.url}/events")
        click(plain, "Normal or not?", By.PARTIAL_LINK_TEXT)
        assert HOSTILE in text_of(plain, "h2")
        assert "There is no picture" in text_of(plain, "main")
        click(plain, "button[value=not_normal]")
        wait_for_text(plain, "main", "1 of them count as marks")
    with EventStore.open(EventSettings(folder=tmp_path / "events")) as store:
        assert len(store.list(EventFilter(state=EventState.CONFIRMED))) == 1
