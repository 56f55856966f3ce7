"""The console in a real browser: what an operator does, and what hostile names and pages of others cannot."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from conftest import COMMANDS
from headhunt_svc.events.places import Places
from headhunt_svc.events.records import EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings
from helpers.browser import CHROMIUM, DRIVER, axe, browser, click, complaints, each, text_of, wait_for_text
from helpers.consoles import (
    STOP,
    ServedConsole,
    camera_verdict,
    clip,
    picture,
    serving_console,
    store_events,
    write_baselines,
    write_verdict,
)
from helpers.events import new
from helpers.log_rows import rows, write

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
OWNED = "document.title='owned'"
HOSTILE = (
    f"</script><script>{OWNED}</script>",
    f'<img src=x onerror="{OWNED}">',
    f"\"'`;{OWNED};${{{OWNED}}}\\",
    f'<a href="javascript:{OWNED}" autofocus onfocus="{OWNED}">yard</a>',
    "{{ 7 * 7 }}{% raw %}",
)
PAGES = ("/", "/events", "/drift", "/drift/camera?camera=dock", "/events/timeline?camera=dock&day=2026-03-14")


def fill(folder: Path, n_events: int = 120) -> list[str]:
    """Three cameras, one of them darker since the sixth of March, and their events."""
    cameras = ["dock", "gate", "yard"]
    write_baselines(folder, cameras[:2])
    for day in range(14):
        stop, is_dark = STOP - timedelta(days=13 - day), day >= 5
        dock = camera_verdict("dock", "lighting", brightness=2.9) if is_dark else camera_verdict("dock")
        verdicts = [dock, camera_verdict("gate"), camera_verdict("yard") | {"status": "not enough data", "signals": {}}]
        write_verdict(folder, stop, verdicts, latest=day == 13)
    write(
        str(folder / "log"),
        rows(300, "dock", "a.mp4", STOP - timedelta(hours=13)),
        rows(300, "gate", "b.mp4", STOP - timedelta(hours=13)),
    )
    return store_events(folder, cameras, n_events)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("console")
    fill(path)
    return path


@pytest.fixture(scope="module")
def console(folder: Path) -> Iterator[ServedConsole]:
    with serving_console(folder) as served:
        yield served


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def press(driver: Chrome, *keys: str) -> None:
    for key in keys:
        ActionChains(driver).send_keys(key).perform()


def selected(driver: Chrome) -> str:
    """The event whose row is selected."""
    return str(driver.execute_script("return document.querySelector('tr.selected')?.dataset.event"))


def asked(driver: Chrome) -> set[str]:
    """All addresses that pages have asked for since the last look."""
    messages = [json.loads(line["message"])["message"] for line in driver.get_log("performance")]
    return {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}


def test_an_event_is_marked_false_with_two_keys_and_stays_so_after_a_restart(driver: Chrome, tmp_path: Path) -> None:
    ids = fill(tmp_path)
    with serving_console(tmp_path, program=COMMANDS.headhunt()) as console:
        driver.get(f"{console.url}/events")
        assert len(each(driver, "tr[data-event]", "part.id")) == 50
        press(driver, "j", "f")
        wait_for_text(driver, f"tr[data-event='{ids[-2]}']", "false alarm")
    with serving_console(tmp_path, program=COMMANDS.headhunt()) as console:
        driver.get(f"{console.url}/events?state=false_alarm")
        assert each(driver, "tr[data-event]", "part.dataset.event") == [ids[-2]]
    with EventStore.open(EventSettings(folder=tmp_path / "events")) as store:
        (mark,) = store.marks(ids[-2])
        assert (mark.state, mark.by) == (EventState.FALSE_ALARM, "local")
        assert store.get(ids[-1]).state == EventState.NEW


def test_a_list_is_worked_through_without_the_mouse(driver: Chrome, tmp_path: Path) -> None:
    ids = fill(tmp_path)[::-1]  # the latest first, as in the list
    driver.get("about:blank")
    complaints(driver)  # those of other tests, whose console has ended
    with (
        serving_console(tmp_path, program=COMMANDS.headhunt()) as console,
        EventStore.open(EventSettings(folder=tmp_path / "events")) as store,
    ):
        driver.get(f"{console.url}/events?state=new")
        press(driver, "f", "F", "c")  # Caps Lock changes nothing
        WebDriverWait(driver, 20).until(lambda _: store.get(ids[2]).state == EventState.CONFIRMED)
        assert [store.get(i).state.value for i in ids[:4]] == ["false_alarm", "false_alarm", "confirmed", "new"]
        WebDriverWait(driver, 20).until(lambda _: selected(driver) == ids[3])
        press(driver, "u")
        WebDriverWait(driver, 20).until(lambda _: store.get(ids[2]).state == EventState.NEW)
        assert [store.get(i).state.value for i in ids[:4]] == ["false_alarm", "false_alarm", "new", "new"]
        WebDriverWait(driver, 20).until(lambda _: selected(driver) == ids[2])
        press(driver, *"j" * 50)  # to the end of the page, and on
        WebDriverWait(driver, 20).until(lambda d: "after=" in d.current_url)
        assert len(each(driver, "tr[data-event]", "part.id")) == 50
        press(driver, Keys.ENTER)
        WebDriverWait(driver, 20).until(lambda d: "/events/" in d.current_url)
        assert complaints(driver) == []


def test_a_drift_alarm_says_since_when_and_what_to_do_with_the_cameras_name(
    driver: Chrome, console: ServedConsole
) -> None:
    driver.get(console.url)
    assert each(driver, "tr[data-row]", "part.dataset.row") == ["dock", "yard", "gate"]  # the worst first
    dock, yard, _ = each(driver, "tr[data-row]", "part.innerText")
    assert "since 2026-03-06" in dock
    assert "headhunt monitor rebaseline --camera yard" in yard
    press(driver, "d")
    wait_for_text(driver, "h1", "Drift")
    press(driver, "j", Keys.ENTER)
    wait_for_text(driver, "h1", "dock: lighting")
    page = text_of(driver, "main")
    assert "headhunt monitor rebaseline --camera dock --from 2026-03-06T00:00:00" in page
    assert "The light has changed, the view has not." in page
    first = text_of(driver, "section[aria-labelledby=moved] tbody tr")
    assert first.startswith("light brightness")
    assert "2.90" in first


def test_no_page_asks_another_host_complains_or_keeps_somebody_out(
    driver: Chrome, console: ServedConsole, folder: Path
) -> None:
    with EventStore.open(EventSettings(folder=folder / "events")) as store:
        event = store.list()[0]
        shares = np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32)
        places = Places("d" * 12, 0.9, shares, picture(9))
        store.describe(event.id, "somebody falls", "anna", places)
    driver.get("about:blank")
    complaints(driver), asked(driver)  # those of other tests
    for path in (*PAGES, f"/events/{event.id}"):
        driver.get(console.url + path)
        assert complaints(driver) == [], path
        assert axe(driver) == [], path
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 1440, path
    addresses = {url for url in asked(driver) if not url.startswith("data:")}
    assert len(addresses) > 10
    assert [url for url in addresses if not url.startswith(f"{console.url}/")] == []


def test_the_dark_pages_can_be_read_too(console: ServedConsole, tmp_path: Path) -> None:
    with browser(tmp_path, "--force-dark-mode") as driver:
        driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        )
        for path in PAGES:
            driver.get(console.url + path)
            assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
            assert axe(driver) == [], path


def test_pages_can_be_read_without_scripts(console: ServedConsole, tmp_path: Path) -> None:
    with browser(tmp_path, scripts=False) as driver:
        driver.get(f"{console.url}/events")
        assert len(each(driver, "tr[data-event]", "part.id")) == 50
        click(driver, "tr[data-event] a")
        click(driver, "button[value=confirmed]")
        wait_for_text(driver, ".summary .badge", "confirmed")
        click(driver, "button[value=undo]")
        wait_for_text(driver, ".summary .badge", "new")


def test_one_key_each_on_an_events_page(driver: Chrome, console: ServedConsole, folder: Path) -> None:
    with EventStore.open(EventSettings(folder=folder / "events")) as store:
        event = store.list(limit=5)[4]
        driver.get(f"{console.url}/events/{event.id}")
        for key, word in (("c", "confirmed"), ("f", "false alarm"), ("a", "seen"), ("u", "false alarm")):
            press(driver, key)
            wait_for_text(driver, ".summary .badge", word)
        press(driver, "n")
        ActionChains(driver).send_keys("a cat, c f").key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(
            Keys.CONTROL
        ).perform()
        wait_for_text(driver, ".history li:last-child", "a cat, c f")
        states = [mark.state for mark in store.marks(event.id)]
    confirmed, false, seen = EventState.CONFIRMED, EventState.FALSE_ALARM, EventState.ACKNOWLEDGED
    assert states == [confirmed, false, seen, false, false]


def test_a_new_event_appears_by_itself(driver: Chrome, console: ServedConsole, folder: Path) -> None:
    driver.get(f"{console.url}/events")
    wait_for_text(driver, "#live", "live")
    with EventStore.open(EventSettings(folder=folder / "events")) as store:
        late = new(camera="gate", key="late").model_copy(
            update={"start": STOP, "peak": STOP, "stop": STOP + timedelta(seconds=9)}
        )
        stored = store.add(late, merge_s=None, picture=picture(9))
    started = monotonic()
    wait_for_text(driver, f"tr[data-event='{stored.id}']", "gate")
    assert monotonic() - started < 10
    assert selected(driver) != stored.id


def test_h264_plays_and_other_codecs_are_shown_as_pictures(
    driver: Chrome, console: ServedConsole, folder: Path, tmp_path: Path
) -> None:
    with EventStore.open(EventSettings(folder=folder / "events")) as store:
        played, shown = store.list(limit=12)[10:]
        store.attach_clip(played.id, clip(tmp_path / "a.mp4", "libx264"))
        store.attach_clip(shown.id, clip(tmp_path / "b.mp4", "libx265"))
    driver.get(f"{console.url}/events/{played.id}")
    press(driver, Keys.SPACE)
    video = driver.find_element(By.CSS_SELECTOR, ".media video")
    WebDriverWait(driver, 20).until(lambda d: float(video.get_property("currentTime")) > 0.5)  # type: ignore[arg-type]
    assert video.get_property("videoWidth") == 160
    press(driver, Keys.SPACE)
    assert video.get_property("paused")
    driver.get(f"{console.url}/events/{shown.id}")
    assert "Browsers do not play hevc" in text_of(driver, ".media")
    pictures = driver.find_elements(By.CSS_SELECTOR, ".strip img")
    assert len(pictures) == 8
    for one in pictures:
        driver.execute_script("arguments[0].scrollIntoView()", one)
        WebDriverWait(driver, 20).until(lambda d, one=one: one.get_property("naturalWidth") == 160)
    assert complaints(driver) == []


def test_the_process_never_loads_a_model(driver: Chrome, console: ServedConsole) -> None:
    for path in PAGES:
        driver.get(console.url + path)
    libraries = Path(f"/proc/{console.process.pid}/maps").read_text()
    assert "pyarrow" in libraries  # it has read the log
    assert "libtorch" not in libraries


def test_a_missed_event_is_marked_on_the_timeline(driver: Chrome, console: ServedConsole, folder: Path) -> None:
    driver.get(f"{console.url}/events/timeline?camera=gate&day=2026-03-14T12")
    chart = driver.find_element(By.CSS_SELECTOR, "svg.scores")
    width = chart.size["width"]
    ActionChains(driver).move_to_element_with_offset(chart, -int(width * 0.49), 30).click_and_hold().move_by_offset(
        int(width * 0.02), 0
    ).release().perform()
    start = str(driver.find_element(By.NAME, "start").get_attribute("value"))
    assert start.startswith("2026-03-14T12:0")
    driver.find_element(By.NAME, "note").send_keys("somebody climbs over")
    click(driver, "form[action='/events/missed'] button")
    wait_for_text(driver, "main", "somebody climbs over")
    assert text_of(driver, ".summary .badge") == "confirmed"
    with EventStore.open(EventSettings(folder=folder / "events")) as store:
        event = store.get(driver.current_url.rsplit("/", 1)[1])
    assert (event.origin, event.camera, event.video_id, event.detector_id) == ("manual", "gate", "b.mp4", "a" * 12)
    assert len(event.contributions) == 2


def test_hostile_names_and_notes_stay_text(driver: Chrome, tmp_path: Path) -> None:
    names = list(HOSTILE)
    write_verdict(tmp_path, STOP, [camera_verdict(name, "view", view=3.0) for name in names], latest=True)
    write_baselines(tmp_path, names)
    ids = store_events(tmp_path, names, len(names), description=f"<script>{OWNED}</script>", source=HOSTILE[1])
    with EventStore.open(EventSettings(folder=tmp_path / "events")) as store:
        for event_id, name in zip(ids, names, strict=True):
            store.mark(event_id, EventState.CONFIRMED, HOSTILE[1], f"{name}<svg onload={OWNED}>")
    with serving_console(tmp_path, program=COMMANDS.headhunt()) as console:
        links = ["/", "/events", "/drift"]
        for path in ("/", "/events", "/drift"):
            driver.get(console.url + path)
            links += each(driver, "main a", "part.href")
        own = sorted({link.removeprefix(console.url) for link in links})
        assert all(link.startswith("/") for link in own), own
        assert len(own) > 3 * len(names)
        for path in own:
            driver.get(console.url + path)
            assert driver.title != "owned", path
            assert driver.title.endswith("headhunt"), path
            assert complaints(driver) == [], path
            assert each(driver, "main script, main [onerror], main [onfocus], main img[src=x]", "part.outerHTML") == []
        driver.get(f"{console.url}/events/{ids[4]}")
        assert "{{ 7 * 7 }}" in text_of(driver, "h1")


def test_with_keys_nobody_sees_anything_before_typing_one(driver: Chrome, folder: Path) -> None:
    key = "0123456789abcdef"
    with serving_console(folder, program=COMMANDS.headhunt(), HEADHUNT_API_KEYS=f"anna:{key}") as console:
        driver.get(f"{console.url}/events?camera=dock")
        assert driver.title == "headhunt: log in"
        driver.find_element(By.NAME, "key").send_keys("not the right key", Keys.ENTER)
        wait_for_text(driver, "main", "No key is this one")
        driver.find_element(By.NAME, "key").send_keys(key, Keys.ENTER)
        wait_for_text(driver, "h1", "Events of dock")
        press(driver, "c")
        wait_for_text(driver, "tr[data-event]", "by anna")
        click(driver, "form[action='/logout'] button")
        wait_for_text(driver, "h1", "Log in")
        driver.get(console.url)
        assert driver.title == "headhunt: log in"
