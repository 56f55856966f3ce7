"""Which places of the picture spoke for an event, on its page."""

from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.console.desk import Desk
from headhunt_svc.console.pictured import MOST_CELLS, pictured, pooled, regions
from headhunt_svc.events.places import SUFFIX, Places
from helpers.consoles import Client, picture
from helpers.events import new


def places(shares: np.ndarray, jpeg: bytes | None = None) -> Places:
    return Places("d" * 12, 0.9, shares.astype(np.float32), picture(9) if jpeg is None else jpeg)


def test_the_strongest_places_are_drawn_and_named(desk: Desk, desk_client: Client) -> None:
    shares = np.zeros((2, 6, 9))
    shares[0, 0, 0], shares[1, 0, 1], shares[0, 5, 4], shares[0, 3, 3] = 3, 3, 2, -1
    event = desk.events.add(new(), merge_s=None, places=places(shares))
    drawn = pictured(desk.events, event)
    assert drawn is not None
    assert drawn.strongest == (("upper left", 0.75), ("lower centre", 0.25))
    assert drawn.chart.count('class="for"') == 3
    assert drawn.chart.count('class="against"') == 1
    assert 'viewBox="0 0 960 540"' in drawn.chart  # the picture's shape
    console = desk_client()
    page = console.get(f"/events/{event.id}").text
    assert "Most of what spoke for it lies upper left (75 %), lower centre (25 %)." in " ".join(page.split())
    answer = console.get(f"/events/{event.id}/places")
    assert (answer.headers["content-type"], answer.content) == ("image/jpeg", picture(9))


def test_sums_of_many_cells_stay_the_same() -> None:
    cells = np.random.default_rng(1).normal(size=(47, 130))
    small = pooled(cells)
    assert max(small.shape) <= MOST_CELLS
    assert small.sum() == pytest.approx(cells.sum())
    assert regions(-np.ones((4, 4))) == ()
    assert regions(np.ones((1, 1))) == (("centre", 1.0),)


def test_without_places_the_page_says_why_and_what_to_do(desk: Desk, desk_client: Client, tmp_path: Path) -> None:
    bare = desk.events.add(new(), merge_s=None)
    console = desk_client()
    page = console.get(f"/events/{bare.id}").text
    assert "there is no clip from which it could be computed" in page
    assert "events describe" not in page
    assert console.get(f"/events/{bare.id}/places").status_code == 404
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"clip")
    desk.events.attach_clip(bare.id, clip)
    assert f"<code>headhunt events describe {bare.id}</code>" in console.get(f"/events/{bare.id}").text
    desk.events.describe(bare.id, "somebody <b>falls</b>", "anna", places(np.ones((1, 3, 3))))
    page = console.get(f"/events/{bare.id}").text
    assert "somebody &lt;b&gt;falls&lt;/b&gt;" in page
    assert "by anna." in page
    assert "events describe" not in page


def test_damaged_places_are_a_problem_of_their_own(desk: Desk, desk_client: Client) -> None:
    event = desk.events.add(new(), merge_s=None, places=places(np.ones((1, 3, 3)), b"no picture"))
    console = desk_client()
    answer = console.get(f"/events/{event.id}")
    assert (answer.status_code, "the picture of the places is damaged" in answer.text) == (200, True)
    path = desk.events.media.path(event.id, SUFFIX)
    path.write_bytes(b"x")
    assert str(path) in console.get(f"/events/{event.id}").text
    assert console.get(f"/events/{event.id}/places").status_code == 503
