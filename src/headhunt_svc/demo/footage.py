"""Writes normal footage of cameras, beside the corpus: clips to set a camera up with, and videos of many minutes.

A long video is drawn and written in pieces, so that memory does not grow with its length. Noise, shake and bystanders
are drawn once, as for a normal video of the corpus; how many people pass, each minute; light changes as often as there.
"""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import track

from headhunt_svc.demo.corpus import seed_of, write_mp4
from headhunt_svc.demo.params import CorpusParams
from headhunt_svc.demo.people import Person
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import (
    FPS,
    LIGHT_CHANGE_S,
    LIGHT_CHANGES,
    N_CAMERAS,
    N_LABELLED_CAMERAS,
    PASSERS_PER_S,
    SURVEILLANCE_S,
    CameraView,
    Daylight,
    Scene,
    bystanders,
    camera,
    camera_name,
    light_amount,
    passer,
    surveillance,
)
from headhunt_svc.errors import ArtifactError
from headhunt_svc.storage.files import code_version, read_json, write_file, write_json

PIECE_S = 10.0
TRAFFIC_S = 60.0  # for so long as many people pass per second
EARLY_S = 20.0  # so long before the video the first of them come
SEEN_BEFORE_S = 6.0  # before `at_s`, at most, the front of a passer comes into the picture
LIGHT_RETURNS_S = 20.0  # slowly, after a sudden change
CAMERA_CLIPS = 10
MADE_BY = "made_by.json"
DRAWING = ("corpus", "footage", "people", "rendering", "scenes", "shapes", "things")  # modules that make the pictures


def unlabelled_cameras() -> range:
    """The cameras that only test and hard videos of the corpus show."""
    return range(N_LABELLED_CAMERAS, N_CAMERAS)


# -- clips of each camera ---------------------------------------------------------------------------------------------
def _write_clip(folder: Path, index: int, number: int, params: CorpusParams) -> Path:
    name = f"{camera_name(index)}/{number:02d}.mp4"
    rng = np.random.default_rng([params.seed, seed_of(f"cameras/{name}")])
    scene, t = surveillance(rng, None, camera(index))
    write_file(folder / name, lambda path: write_mp4(path, render(scene, t, params.size), FPS))
    return folder / name


def make_camera_clips(
    folder: Path, params: CorpusParams, cameras: Sequence[int], n: int = CAMERA_CLIPS, processes: int = 2
) -> list[Path]:
    """Write n normal clips of each camera, as long as the corpus's videos and none of them, to CAMERA/NUMBER.mp4."""
    with ProcessPoolExecutor(processes) as executor:
        jobs = [executor.submit(_write_clip, folder, index, i, params) for index in cameras for i in range(n)]
        return [job.result() for job in track(jobs, "clips", console=Console(stderr=True))]


# -- long videos ------------------------------------------------------------------------------------------------------
def _passers(rng: np.random.Generator, scale: float) -> Iterator[Person]:
    """Passers in the order in which they come, without end."""
    clock, stop_s = -EARLY_S, -EARLY_S
    while True:
        clock, stop_s = stop_s, stop_s + TRAFFIC_S
        per_second = float(rng.uniform(*PASSERS_PER_S))
        while (clock := clock + float(rng.exponential(1 / per_second))) < stop_s:
            yield passer(rng, clock, scale)


def _gone_s(person: Person) -> float:
    """When a passer has left the picture for good: nobody walks further than two pictures."""
    return person.at_s + 2 / abs(person.speed) + person.lasts_s + 1


def _sudden_changes(rng: np.random.Generator) -> Iterator[Daylight]:
    """Sudden changes of light, each with its slow return, as often as in the corpus, without end."""
    clock = 0.0
    every_s = float(np.mean(SURVEILLANCE_S)) / LIGHT_CHANGES
    pause_s = every_s - float(np.mean(LIGHT_CHANGE_S)) - LIGHT_RETURNS_S
    while True:
        start_s = clock + float(rng.exponential(pause_s))
        changed_s = start_s + float(rng.uniform(*LIGHT_CHANGE_S))
        clock = changed_s + LIGHT_RETURNS_S
        yield Daylight((start_s, changed_s, clock), (1.0, 1 + light_amount(rng), 1.0))


def scenes(rng: np.random.Generator, view: CameraView, piece_s: float = PIECE_S) -> Iterator[Scene]:
    """Normal traffic in front of a camera, without end: the scene of every next piece, with what can be seen in it.

    What happens does not depend on piece_s; noise does.
    """
    empty = Scene.draw(rng, view)
    staying = bystanders(rng, empty.scale)
    passer_rng, light_rng = rng.spawn(2)
    coming, changes = _passers(passer_rng, empty.scale), _sudden_changes(light_rng)
    after, change = next(coming), next(changes)
    present: list[Person] = []
    for number in itertools.count():
        start_s, stop_s = number * piece_s - 1 / FPS, (number + 1) * piece_s + 1 / FPS
        while after.at_s - SEEN_BEFORE_S <= stop_s:
            present.append(after)
            after = next(coming)
        present = [person for person in present if _gone_s(person) >= start_s]
        light = [change]
        while change.times_s[-1] < stop_s:
            change = next(changes)
            light.append(change)
        daylight = Daylight(
            tuple(s for c in light for s in c.times_s), tuple(level for c in light for level in c.levels)
        )
        yield replace(empty, actors=[*staying, *present], light=daylight)


def pictures(
    rng: np.random.Generator, view: CameraView, seconds: float, size: int, piece_s: float = PIECE_S
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The pictures of a long normal video, drawn piece by piece."""
    n_frames, n_piece = round(seconds * FPS), round(piece_s * FPS)
    for start, scene in zip(range(0, n_frames, n_piece), scenes(rng, view, piece_s), strict=False):
        before = min(start, 1)  # one frame more on either side: who walks is told from the frames around
        stop = min(start + n_piece, n_frames)
        t = np.arange(start - before, stop + 1) / FPS
        yield from render(scene, t, size)[before : before + stop - start]


@dataclass(frozen=True, slots=True)
class LongVideo:
    """A long normal video of one camera; with the code that draws it, this determines its bytes."""

    index: int
    seconds: float
    size: int
    seed: int

    @property
    def name(self) -> str:
        """The camera's."""
        return camera_name(self.index)

    @property
    def file(self) -> str:
        """Path below the folder."""
        return f"{self.name}/{self.seconds:g}s.mp4"


def write_long(folder: Path, video: LongVideo) -> None:
    """Draw and write one long video."""
    rng = np.random.default_rng([video.seed, seed_of(f"long/{video.name}")])
    frames = pictures(rng, camera(video.index), video.seconds, video.size)
    write_file(folder / video.file, lambda path: write_mp4(path, frames, FPS))
    write_json(folder / video.name / MADE_BY, _made_by(video))


def _made_by(video: LongVideo) -> dict[str, object]:
    """What determines a video."""
    return {**asdict(video), "code": code_version(*(f"demo/{name}.py" for name in DRAWING))}


def _is_there(folder: Path, video: LongVideo) -> bool:
    """Was this very video written by an earlier run?"""
    try:
        recorded = read_json(folder / video.name / MADE_BY, "headhunt demo rates")
    except ArtifactError:
        return False
    return bool(recorded == _made_by(video))


def make_long(folder: Path, videos: Sequence[LongVideo], processes: int = 2) -> None:
    """Write the long videos that are not in `folder` yet."""
    missing = [video for video in videos if not _is_there(folder, video)]
    if not missing:
        return
    with ProcessPoolExecutor(processes) as executor:
        jobs = [executor.submit(write_long, folder, video) for video in missing]
        for job in track(as_completed(jobs), "long videos", len(jobs), console=Console(stderr=True)):
            job.result()
