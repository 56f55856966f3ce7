"""Renders the windows of pre-training once, in chunks, on all cores; chunks that exist are kept."""

from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydantic import TypeAdapter
from rich.progress import track

from headhunt_svc.demo.scenes import SceneFacts
from headhunt_svc.demo.wide.windows import Window, windows
from headhunt_svc.storage.files import write_bytes, write_file

CHUNK = 500
FACTS = TypeAdapter(list[SceneFacts])


def make_chunk(folder: Path, index: int, n: int, size: int, seed: int) -> None:
    """Render chunk `index` of n windows: pictures, dense targets and facts, determined by (seed, index)."""
    facts_file = folder / f"{index}.json"  # written last: where it exists, the chunk is complete
    if facts_file.exists():
        return
    rng = np.random.default_rng([seed, index])
    drawn: list[Window] = []
    while len(drawn) < n:
        drawn += islice(windows(rng, size), n - len(drawn))
    for name, arrays in (("frames", [w.frames for w in drawn]), ("targets", [w.targets for w in drawn])):
        write_file(folder / f"{index}.{name}.npy", partial(_save_array, np.stack(arrays)))
    write_bytes(facts_file, FACTS.dump_json([w.facts for w in drawn]))


def _save_array(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as f:  # given a path, numpy would add .npy to it
        np.save(f, array)


def make_pool(folder: Path, n: int, size: int, seed: int) -> None:
    """Render all chunks on all cores; can be stopped and resumed."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [min(CHUNK, n - start) for start in range(0, n, CHUNK)]
    with ProcessPoolExecutor() as executor:
        jobs = [executor.submit(make_chunk, folder, i, chunk, size, seed) for i, chunk in enumerate(sizes)]
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
