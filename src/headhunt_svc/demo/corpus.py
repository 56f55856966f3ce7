"""Writes the embedded default's videos: .mp4 files of several cameras, with frame-level truth, in four splits.

Calibration and validation hold the kinds of anomaly that pre-training shows; the test splits also hold kinds that it
does not, and a third of the cameras is in these alone. The split `hard` has crowds, distant people, more noise and more
camera shake.
"""

import dataclasses
import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from rich.progress import track

from headhunt_svc.data.datasets import Annotation, write_annotations
from headhunt_svc.demo.params import CorpusParams
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import (
    FPS,
    KINDS,
    N_CAMERAS,
    N_LABELLED_CAMERAS,
    SEEN_KINDS,
    camera,
    camera_name,
    surveillance,
)
from headhunt_svc.storage.files import remove_leftovers, write_file
from headhunt_svc.types import LABELLED, NORMAL, Split


@dataclasses.dataclass(frozen=True, slots=True)
class Take:
    """One video of the corpus: its split, kind of anomaly (or normal) and number."""

    split: Split
    label: str
    number: int

    @property
    def name(self) -> str:
        """Path below the corpus folder."""
        return f"{self.split}/{self.label}_{self.number:02d}.mp4"


def plan(params: CorpusParams) -> list[Take]:
    """Every video of the corpus."""
    counts: list[tuple[Split, tuple[str, ...], int, int]] = [
        ("calibration", SEEN_KINDS, params.calibration_per_kind, params.calibration_normal),
        ("validation", SEEN_KINDS, params.validation_per_kind, params.validation_normal),
        ("test", KINDS, params.test_per_kind, params.test_normal),
        ("hard", KINDS, params.hard_per_kind, params.hard_normal),
    ]
    return [
        Take(split, label, i)
        for split, kinds, per_kind, normal in counts
        for label, n in [*((k, per_kind) for k in kinds), (NORMAL, normal)]
        for i in range(n)
    ]


def seed_of(name: str) -> int:
    """Seed of a video, from its path below the folder."""
    return zlib.crc32(name.encode())


def write_mp4(path: Path, pictures: Iterable[UInt8[np.ndarray, "height width 3"]], fps: int) -> None:
    """H.264 in yuv420p; one thread, so that the bytes are the same everywhere."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for i, picture in enumerate(pictures):
            if i == 0:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def make_video(folder: Path, take: Take, params: CorpusParams) -> Annotation:
    """Render and write one video, determined by (seed, take)."""
    rng = np.random.default_rng([params.seed, seed_of(take.name)])
    kind = None if take.label == NORMAL else take.label
    n_cameras = N_LABELLED_CAMERAS if take.split in LABELLED else N_CAMERAS
    index = int(rng.integers(n_cameras))
    scene, t = surveillance(rng, kind, camera(index), hard=take.split == "hard")
    write_file(folder / take.name, lambda path: write_mp4(path, render(scene, t, params.size), FPS))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], scene.anomalous(t), [False]]).astype(int)))
    spans = tuple((float(a), float(b)) for a, b in edges.reshape(-1, 2))
    return Annotation(
        video=take.name, split=take.split, label=take.label, spans=spans, unit="frames", camera=camera_name(index)
    )


def make_corpus(folder: Path, annotations_file: Path, params: CorpusParams, processes: int = 2) -> int:
    """Write all videos into `folder`, and their annotations; returns the number of videos."""
    takes = plan(params)
    remove_leftovers(folder)
    with ProcessPoolExecutor(processes) as executor:
        jobs = [executor.submit(make_video, folder, take, params) for take in takes]
        annotations = [job.result() for job in track(jobs, description="videos")]
    write_annotations(annotations_file, annotations)
    return len(takes)
