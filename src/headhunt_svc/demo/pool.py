"""Renders the windows of pre-training once, in chunks, on all cores; chunks that exist are kept."""

from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydantic import TypeAdapter
from rich.progress import track

from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, SEEN_KINDS, WINDOW_FRAMES, Scene, SceneFacts, surveillance, window
from headhunt_svc.demo.targets import dense_targets
from headhunt_svc.storage.files import write_bytes, write_file

CHUNK = 500
STRIDE = 2  # the model sees every second frame of a window
FACTS = TypeAdapter(list[SceneFacts])


def _windows(rng: np.random.Generator) -> list[tuple[Scene, np.ndarray]]:
    """Eight windows: short random clips, or cut out of long videos (near their events in 60 of 100 cases)."""
    if rng.random() < 0.6:
        return [window(rng) for _ in range(8)]
    kind = str(rng.choice(SEEN_KINDS)) if rng.random() < 0.8 else None
    scene, t = surveillance(rng, kind, hard=rng.random() < 0.2)
    active = np.flatnonzero(scene.anomalous(t))
    windows = []
    for _ in range(4):
        if len(active) and rng.random() < 0.6:
            start = int(active[rng.integers(len(active))]) - int(rng.integers(0, WINDOW_FRAMES))
        else:
            start = int(rng.integers(0, len(t) - WINDOW_FRAMES))
        start = min(max(start, 0), len(t) - WINDOW_FRAMES)
        windows.append((scene, np.arange(start, start + WINDOW_FRAMES) / FPS))
    return windows


def make_chunk(folder: Path, index: int, n: int, size: int, seed: int) -> None:
    """Render chunk `index` of n windows: pictures, dense targets and facts, determined by (seed, index)."""
    facts_file = folder / f"{index}.json"  # written last: where it exists, the chunk is complete
    if facts_file.exists():
        return
    rng = np.random.default_rng([seed, index])
    frames: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    facts: list[SceneFacts] = []
    while len(frames) < n:
        for scene, t in _windows(rng)[: n - len(frames)]:
            frames.append(render(scene, t[::STRIDE], size))
            targets.append(dense_targets(scene, t[::STRIDE]))
            facts.append(scene.facts(t))
    for name, arrays in (("frames", frames), ("targets", targets)):
        write_file(folder / f"{index}.{name}.npy", partial(_save_array, np.stack(arrays)))
    write_bytes(facts_file, FACTS.dump_json(facts))


def _save_array(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as f:  # given a path, numpy would add .npy to it
        np.save(f, array)


def make_pool(folder: Path, windows: int, size: int, seed: int) -> None:
    """Render all chunks on all cores; can be stopped and resumed."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [min(CHUNK, windows - start) for start in range(0, windows, CHUNK)]
    with ProcessPoolExecutor() as executor:
        jobs = [executor.submit(make_chunk, folder, i, n, size, seed) for i, n in enumerate(sizes)]
        for job in track(as_completed(jobs), total=len(jobs), description="scenes"):
            job.result()


class Pool:
    """Memory-mapped windows: frames uint8[n, 8, size, size, 3], targets uint8[n, 8, tokens, targets], facts."""

    def __init__(self, folder: Path) -> None:
        indices = sorted(int(p.stem) for p in folder.glob("*.json"))
        self._frames = [np.load(folder / f"{i}.frames.npy", mmap_mode="r") for i in indices]
        self._targets = [np.load(folder / f"{i}.targets.npy", mmap_mode="r") for i in indices]
        self.facts = [f for i in indices for f in FACTS.validate_json((folder / f"{i}.json").read_bytes())]

    def __len__(self) -> int:
        return len(self.facts)

    def frames(self, i: int) -> UInt8[np.ndarray, "frame size size 3"]:
        """Pictures of window i."""
        return np.asarray(self._frames[i // CHUNK][i % CHUNK])

    def targets(self, i: int) -> UInt8[np.ndarray, "frame token target"]:
        """Dense targets of window i."""
        return np.asarray(self._targets[i // CHUNK][i % CHUNK])
