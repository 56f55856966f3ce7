"""Films for live cameras: what is scripted happens, and the encoding is that of a camera."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from headhunt_svc.demo.films import BRIEF_KINDS, KEY_FRAME_S, LASTS_S, Film, pictures, script, write_film
from headhunt_svc.demo.scenes import FPS


def test_a_script_has_an_anomaly_in_every_stretch_and_ends_with_the_film() -> None:
    anomalies = script(100, 5, 20, seed=1)
    starts = [start for start, _ in anomalies]
    assert starts[0] == 5
    assert len(starts) == 5
    assert all(20 * 2 / 3 <= b - a <= 20 * 4 / 3 for a, b in pairwise(starts))
    assert starts[-1] <= 100 - LASTS_S + 20 / 6
    assert {kind for _, kind in anomalies} <= set(BRIEF_KINDS)


def test_an_anomaly_changes_the_pictures_from_its_time_on_alone() -> None:
    calm, eventful = (np.stack(list(pictures(Film(16, 8, 32, 1, acts)))) for acts in ((), ((4.0, "explosion"),)))
    differ = [not np.array_equal(a, b) for a, b in zip(calm, eventful, strict=True)]
    assert not any(differ[: 4 * FPS])
    assert any(differ[4 * FPS : 6 * FPS])


def test_a_frozen_picture_stays() -> None:
    film = list(pictures(Film(16, 3, 32, 1, frozen_s=(1.0, 2.0))))
    assert all(np.array_equal(film[9], picture) for picture in film[10:20])
    assert not np.array_equal(film[8], film[9])
    assert not np.array_equal(film[20], film[19])


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_a_film_is_encoded_as_cameras_do_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film{suffix}"
    write_film(path, Film(16, 5, 32, 1))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [float(frame.time - frames[0].time) for frame in frames]
    assert times == pytest.approx([i / FPS for i in range(5 * FPS)])
    assert [i for i, frame in enumerate(frames) if frame.key_frame] == [0, KEY_FRAME_S * FPS, 2 * KEY_FRAME_S * FPS]


def test_a_stream_may_change_its_size(tmp_path: Path) -> None:
    path = tmp_path / "film.ts"
    write_film(path, Film(16, 2, 64, 1), Film(16, 2, 32, 1))
    with av.open(str(path)) as container:
        widths = [frame.width for frame in container.decode(video=0)]
    assert widths == [64] * 2 * FPS + [32] * 2 * FPS
