"""Renders films for live cameras: ordinary traffic without end, with anomalies at stated times.

They are encoded as cameras do it: a key frame every two seconds, and no picture waits for a later one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from headhunt_svc.demo.corpus import seed_of
from headhunt_svc.demo.footage import PIECE_S, scenes
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, SEEN_KINDS, Scene, camera, camera_name, event
from headhunt_svc.demo.shapes import Actor
from headhunt_svc.storage.files import write_file

KEY_FRAME_S = 2
BRIEF_KINDS = tuple(kind for kind in SEEN_KINDS if kind != "bag")  # a bag that is left stays for good
LASTS_S = 8.0  # an anomaly is over by then, and its people have left
_ENCODING = {"crf": "23", "preset": "veryfast", "tune": "zerolatency", "g": str(KEY_FRAME_S * FPS)}


@dataclass(frozen=True, slots=True)
class Film:
    """A film of one camera: with the code that draws it, this determines its pictures.

    anomalies: when something happens, and its kind. frozen_s: from then to then the picture stays as it is.
    """

    index: int
    seconds: float
    size: int
    seed: int
    anomalies: tuple[tuple[float, str], ...] = ()
    frozen_s: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """The camera's."""
        return camera_name(self.index)


def script(seconds: float, first_s: float, every_s: float, seed: int) -> tuple[tuple[float, str], ...]:
    """An anomaly of a random kind at first_s and every every_s after it, moved by up to a sixth of that."""
    rng = np.random.default_rng([seed, 21])
    starts = np.arange(first_s, seconds - LASTS_S, every_s)
    return tuple(
        (float(start + (rng.uniform(-1, 1) * every_s / 6 if i else 0)), str(rng.choice(BRIEF_KINDS)))
        for i, start in enumerate(starts)
    )


def _actors(film: Film, scale: float) -> list[tuple[float, list[Actor]]]:
    """Who takes part in each anomaly, with its time."""
    rng = np.random.default_rng([film.seed, seed_of(f"film/{film.name}"), 1])
    return [(start_s, event(rng, kind, start_s, scale)) for start_s, kind in film.anomalies]


def _pieces(film: Film) -> Iterator[Scene]:
    rng = np.random.default_rng([film.seed, seed_of(f"film/{film.name}")])
    cast: list[tuple[float, list[Actor]]] | None = None
    for number, scene in enumerate(scenes(rng, camera(film.index))):
        cast = _actors(film, scene.scale) if cast is None else cast
        start_s, stop_s = number * PIECE_S, (number + 1) * PIECE_S
        acting = [actor for at_s, actors in cast if start_s - LASTS_S < at_s < stop_s + LASTS_S for actor in actors]
        yield replace(scene, actors=[*scene.actors, *acting])


def pictures(film: Film) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The pictures of a film, drawn piece by piece, so that memory does not grow with its length."""
    n_frames, n_piece = round(film.seconds * FPS), round(PIECE_S * FPS)
    frozen = range(*(round(s * FPS) for s in film.frozen_s or (0, 0)))
    held: UInt8[np.ndarray, "height width 3"] | None = None
    for start, scene in zip(range(0, n_frames, n_piece), _pieces(film), strict=False):
        before = min(start, 1)  # one frame more on either side: who walks is told from the frames around
        stop = min(start + n_piece, n_frames)
        drawn = render(scene, np.arange(start - before, stop + 1) / FPS, film.size)[before : before + stop - start]
        for i, picture in enumerate(drawn, start):
            held = held if held is not None and i in frozen else picture
            yield held


def write_film(path: Path, *films: Film) -> None:
    """Write films one after the other as .mp4 or .ts; in a .ts each may have a size of its own."""
    write_file(path, lambda partial: _encode(partial, path.suffix, films))


def _encode(path: Path, suffix: str, films: Sequence[Film]) -> None:
    with av.open(str(path), "w", format={".mp4": "mp4", ".ts": "mpegts"}[suffix]) as container:
        stream = container.add_stream("libx264", rate=FPS)
        first = 0
        for film in films:
            encoder = stream.codec_context if not first else av.VideoCodecContext.create("libx264", "w")
            encoder.width = encoder.height = film.size
            encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, FPS), Fraction(FPS)
            encoder.thread_count, encoder.options = 1, _ENCODING
            for number, picture in enumerate(pictures(film), first):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base, first = number, Fraction(1, FPS), number + 1
                _mux(container, stream, encoder.encode(frame))
            _mux(container, stream, encoder.encode(None))


def _mux(
    container: av.container.OutputContainer, stream: av.VideoStream, packets: Iterable["av.Packet[av.VideoStream]"]
) -> None:
    for packet in packets:
        packet.stream = stream
        container.mux(packet)
