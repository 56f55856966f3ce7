"""Is this the model, and are these the libraries, that the scorer was fitted with? Checked before anything is scored.

Head outputs move with the attention kernel, the number format, the layout of the prompt and the preprocessing, and a
scorer fitted on others gives wrong scores without any error. So a detector bundle names what it was made with, and
holds the features of two golden clips that every machine can draw.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from headhunt_svc.errors import ArtifactError
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.storage.files import text_id
from headhunt_svc.types import HeadRef

GOLDEN_SIZE = (90, 160)
TOLERANCE = {  # share of the largest golden feature; layers that are compiled, or fall back to eager, stay within
    "float32": 1e-3,
    "bfloat16": 5e-2,
    "int8": 5e-2,
    "float8": 5e-2,
}
EAGER = {"engine": "eager"}  # said of no bundle: those from before it could be compiled say nothing, either
LIBRARY = "install that version (pip install {name}==VERSION), or run `dvc repro` to calibrate with this one"
WAYS_OUT = {
    "torch": LIBRARY.format(name="torch"),
    "transformers": LIBRARY.format(name="transformers"),
    "attention": "set mllm.attention back, or run `dvc repro`",
    "dtype": "set mllm.dtype back, or run `dvc repro`",
    "engine": "set mllm.compile back, or run `dvc repro`",
    "prompt": "the tokenizer, its chat template or the layout has changed: put it back, or run `dvc repro`",
    "preprocessing": "the checkpoint's picture size or normalisation has changed: put it back, or run `dvc repro`",
}


def _golden_pixels(extractor: Extractor, n_frames: int) -> torch.Tensor:
    """Two clips of moving stripes and a moving square, float[2, F, 3, h, w]; integer arithmetic only."""
    height, width = GOLDEN_SIZE
    y, x = np.mgrid[0:height, 0:width]
    clips = []
    for seed in (3, 7):
        frames = []
        for i in range(n_frames):
            picture = np.stack([(seed * (c + 1) * x + 5 * y + 11 * i) % 256 for c in range(3)], -1)
            picture[20 + 2 * i : 50 + 2 * i, 10 + seed * i : 40 + seed * i] = (240, 30 * seed, 20)
            frames.append(picture.astype(np.uint8))
        clips.append(extractor.preprocess(np.stack(frames)))
    return torch.stack(clips)


def golden_features(
    extractor: Extractor, prompt: str, heads: Sequence[HeadRef], n_frames: int
) -> Float32[np.ndarray, "clip features"]:
    """Features of the golden clips at the expert heads."""
    z = extractor.features(_golden_pixels(extractor, n_frames), [prompt], heads)[0]
    return np.ascontiguousarray(z.reshape(len(z), -1))


def fingerprint(extractor: Extractor, prompt: str, n_frames: int) -> dict[str, str]:
    """What features depend on beside the checkpoint, by name."""
    pixels = _golden_pixels(extractor, n_frames)
    layout = (extractor.token_ids(prompt, extractor.clip(pixels)).tolist(), tuple(pixels.shape))
    norm = (extractor.mean.flatten().tolist(), extractor.std.flatten().tolist(), tuple(pixels.shape[-2:]))
    return {
        "torch": version("torch").split("+")[0],  # 2.13.0+cpu and 2.13.0 are one release from different places
        "transformers": version("transformers"),
        "attention": str(extractor.model.config._attn_implementation),
        "dtype": extractor.dtype,
        **({"engine": "compiled"} if extractor.compiled else {}),
        "prompt": text_id(str(layout)),
        "preprocessing": text_id(str(norm)),
    }


def check(
    recorded: Mapping[str, str],
    golden: Float32[np.ndarray, "clip features"],
    extractor: Extractor,
    prompt: str,
    heads: Sequence[HeadRef],
    n_frames: int,
    folder: Path,
) -> None:
    """Raise ArtifactError naming the first field that differs, or golden features that do not come out again."""
    made, here = {**EAGER, **recorded}, fingerprint(extractor, prompt, n_frames)
    for field, value in {**EAGER, **here}.items():
        if made.get(field) != value:
            way_out = WAYS_OUT[field].replace("VERSION", str(made.get(field)))
            raise ArtifactError(f"{folder} was made with {field} {made.get(field)}, here it is {value}: {way_out}")
    features = golden_features(extractor, prompt, heads, n_frames)
    allowed = TOLERANCE[here["dtype"]] * float(np.abs(golden).max())
    off = float(np.abs(features - golden).max()) if features.shape == golden.shape else float("inf")
    if not off <= allowed:
        raise ArtifactError(
            f"{folder}: the model's features on the golden clips are off by {off:.2g} (allowed {allowed:.2g}): this "
            "machine computes something else than the one it was made on; run `dvc repro` to calibrate here"
        )
