"""What an alarm's page shows beside numbers: example pictures of both times, and Evidently's page as a file."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from headhunt_svc.console.desk import Desk
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.prediction_log.windows import Rows
from helpers.consoles import STOP, Client, camera_verdict, picture, write_verdict
from helpers.events import NOON, new
from helpers.log_rows import METADATA, rows, write


@pytest.fixture
def window(desk: Desk, tmp_path: Path) -> str:
    """An alarm of the last day, whose baseline is of a day in which two events were stored."""
    table = rows(50, "dock", "a.mp4", NOON - timedelta(minutes=1))
    version = Baselines(desk.places.baselines).add("dock", Rows(METADATA, table, 50, 5), "good")
    write(desk.places.log, rows(50, "dock", "b.mp4", STOP - timedelta(hours=3)))
    dock = camera_verdict("dock", "lighting", brightness=2.9) | {"baseline": version}
    write_verdict(tmp_path, STOP, [dock], latest=True)
    return f"{STOP:%Y%m%dT%H%M%S}"


def test_pictures_of_both_times_are_shown(desk: Desk, desk_client: Client, window: str) -> None:
    times = {"old": NOON, "older": NOON - timedelta(seconds=30), "now": STOP - timedelta(hours=3), "other": NOON}
    ids = {}
    for name, time in times.items():
        event = new(key=name, camera="gate" if name == "other" else "dock")
        event = event.model_copy(update={"start": time, "peak": time, "stop": time + timedelta(seconds=9)})
        ids[name] = desk.events.add(event, merge_s=None, picture=picture(9)).id
    page = desk_client().get("/drift/camera?camera=dock").text
    shown = page.split("Example pictures")[1].split("</section>")[0]
    after, before = shown.split("<figcaption>Baseline")
    pictures = re.compile(r"/events/([^/]+)/thumbnail")
    assert pictures.findall(after) == [ids["now"]]
    assert pictures.findall(before) == [ids["old"], ids["older"]]
    assert "Only peaks of events are kept as pictures" in shown
    assert "2026-03-01 12:59" in before  # NOON in Berlin, a minute before


def test_without_pictures_the_page_says_so(desk_client: Client, window: str) -> None:
    assert desk_client().get("/drift/camera?camera=dock").text.count("there was no event of this camera then") == 2


def test_evidentlys_page_is_a_file_to_keep(desk: Desk, desk_client: Client, window: str) -> None:
    console = desk_client()
    assert "/drift/archive" not in console.get("/drift/camera?camera=dock").text
    assert console.get(f"/drift/archive?window={window}").status_code == 404
    path = desk.places.verdicts / window / "drift.html"
    path.write_text("<script>alert(1)</script>")
    (desk.places.verdicts / "drift.html").write_text("of no window")
    assert f'href="/drift/archive?window={window}"' in console.get("/drift/camera?camera=dock").text
    answer = console.get(f"/drift/archive?window={window}")
    assert answer.text == "<script>alert(1)</script>"
    assert answer.headers["content-disposition"] == f'attachment; filename="drift-{window}.html"'  # never shown here
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    for name in ("..", ".", "", f"../verdicts/{window}", "x"):
        assert console.get("/drift/archive", params={"window": name}).status_code == 404, name


def test_evidentlys_dashboard_is_a_link_where_it_answers(desk: Desk, desk_client: Client, window: str) -> None:
    console = desk_client()
    assert "headhunt monitor ui --evidently" in console.get("/drift").text
    desk.places = replace(desk.places, evidently="http://127.0.0.1:8701")
    page = console.get("/drift").text
    assert '<a href="http://127.0.0.1:8701">' in page
    assert "monitor ui" not in page
