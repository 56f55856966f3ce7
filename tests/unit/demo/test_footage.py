import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.demo import footage
from headhunt_svc.demo.corpus import plan, seed_of
from headhunt_svc.demo.footage import LongVideo, make_camera_clips, make_long, pictures, scenes, unlabelled_cameras
from headhunt_svc.demo.params import CorpusParams
from headhunt_svc.demo.people import Person
from headhunt_svc.demo.scenes import FPS, N_CAMERAS, N_LABELLED_CAMERAS, Scene, camera
from headhunt_svc.video.files import read_times


def long_pictures(seed: int, seconds: float, piece_s: float) -> np.ndarray:
    frames = pictures(np.random.default_rng(seed), camera(seed), seconds, 48, piece_s)
    return np.stack(list(frames)).astype(int)


def test_pieces_give_the_pictures_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise, which has another seed in every piece. The edge pixels of an ellipse, which are cut off at its box
    over all times of a piece, may differ a little."""
    draw = Scene.draw
    monkeypatch.setattr(Scene, "draw", lambda *args: replace(draw(*args), noise=0.0))
    for seed, piece_s in enumerate((10.0, 7.3)):
        whole, pieces = long_pictures(seed, 25, 25.0), long_pictures(seed, 25, piece_s)
        assert whole.shape == pieces.shape == (250, 48, 48, 3)
        difference = np.abs(whole - pieces)
        assert (difference > 0).mean() < 1e-3
        assert difference.max() < 32
        assert np.abs(np.diff(whole, axis=0)).max() > 64  # people move: a missing or late one would show


def test_everybody_is_there_for_as_long_as_they_can_be_seen() -> None:
    """Compared with the people of one piece that is as long as all others together."""
    for seed in range(3):
        (whole,) = itertools.islice(scenes(np.random.default_rng(seed), camera(0), 600.0), 1)
        pieces = itertools.islice(scenes(np.random.default_rng(seed), camera(0), 20.0), 30)
        for i, piece in enumerate(pieces):
            t = i * 20 + np.arange(20 * FPS) / FPS
            present = {id_of(a) for a in piece.actors if isinstance(a, Person)}
            visible = {id_of(a) for a in whole.actors if isinstance(a, Person) and a.visible(t, margin=0.3).any()}
            assert visible <= present
            assert len(present) < 30  # of about 90 who come within ten minutes
            np.testing.assert_array_equal(piece.brightness(t), whole.brightness(t))


def id_of(person: Person) -> tuple[float, float, float]:
    return person.at_s, person.depth, person.phase


def test_traffic_and_light_are_as_frequent_as_in_the_corpus() -> None:
    """Means over hours: people 0.145 a second, changes of light 0.4 in 20 s."""
    (scene,) = itertools.islice(scenes(np.random.default_rng(5), camera(1), 18_000.0), 1)
    times = np.array([a.at_s for a in scene.actors if isinstance(a, Person) and abs(a.speed) > 0.01])
    assert (times > 0).sum() / 18_000 == pytest.approx((0.05 + 0.24) / 2, rel=0.15)
    per_minute = np.histogram(times, np.arange(0, 18_001, 60))[0]
    assert per_minute.var() > 1.5 * per_minute.mean()  # busy and lonely minutes, more so than at one rate
    brightness = scene.brightness(np.arange(18_000 * 2) / 2)
    assert (brightness.min(), brightness.max()) == (pytest.approx(0.55, abs=0.02), pytest.approx(1.45, abs=0.02))
    starts = (np.abs(brightness[1:] - 1) > 1e-9) & (np.abs(brightness[:-1] - 1) <= 1e-9)
    assert starts.sum() / 18_000 == pytest.approx(0.4 / 20, rel=0.15)
    assert not scene.anomalous(np.arange(600.0)).any()


def test_memory_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the video is, no more pictures are drawn at once than those of a piece."""
    drawn: list[int] = []
    render = footage.render

    def watched(scene: Scene, t: np.ndarray, size: int) -> np.ndarray:
        drawn.append(len(t))
        return render(scene, t, size)

    monkeypatch.setattr(footage, "render", watched)
    frames = pictures(np.random.default_rng(0), camera(0), 3600, 16)
    assert len(list(itertools.islice(frames, 250))) == 250
    assert len(drawn) == 3  # of 360
    assert max(drawn) <= 102


def test_long_videos_are_made_once_and_are_the_same_bytes(tmp_path: Path) -> None:
    videos = [LongVideo(20, 2.5, 128, 1), LongVideo(30, 2.5, 128, 1)]
    make_long(tmp_path, videos)
    paths = [tmp_path / v.file for v in videos]
    first = [p.read_bytes() for p in paths]
    assert first[0] != first[1]
    assert [len(read_times(p)[0]) for p in paths] == [25, 25]
    paths[0].write_bytes(b"kept")
    paths[1].with_name(footage.MADE_BY).write_text("{}")
    paths[1].write_bytes(b"made by other code")
    make_long(tmp_path, videos)
    assert [p.read_bytes() for p in paths] == [b"kept", first[1]]
    make_long(tmp_path, [replace(videos[0], seed=2)])
    assert paths[0].read_bytes() not in (b"kept", first[0])


def test_clips_of_the_cameras_are_normal_and_none_of_the_corpus(tmp_path: Path) -> None:
    assert list(unlabelled_cameras()) == list(range(N_LABELLED_CAMERAS, N_CAMERAS))
    params = CorpusParams()
    (clip,) = make_camera_clips(tmp_path, params, [23], n=1)
    assert clip == tmp_path / "camera-24" / "00.mp4"
    assert 160 <= len(read_times(clip)[0]) <= 240
    (again,) = make_camera_clips(tmp_path / "again", params, [23], n=1)
    assert again.read_bytes() == clip.read_bytes()
    all_names = [f"cameras/camera-{i + 1:02d}/{n:02d}.mp4" for i in unlabelled_cameras() for n in range(10)]
    seeds = [seed_of(name) for name in all_names + [t.name for t in plan(params)]]
    assert len(set(seeds)) == len(seeds)
