"""Parameters of the embedded default: how its videos are rendered and its model is pre-trained.

They live beside the code that they belong to, in params.yaml of this folder; a project's own params.yaml knows neither.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from headhunt_svc.params import Positive, Section, read_parameters

DEMO_PARAMS = Path(__file__).parent / "params.yaml"


class CorpusParams(Section):
    """The embedded default's videos: where, and counts per anomaly kind and split."""

    root: Path = Path("data/demo")
    seed: int = 1
    size: Positive = 128
    calibration_per_kind: Positive = 5
    calibration_normal: Positive = 14
    validation_per_kind: Positive = 3
    validation_normal: Positive = 8
    test_per_kind: Positive = 9
    test_normal: Positive = 30
    hard_per_kind: Positive = 4
    hard_normal: Positive = 12


class DemoModelParams(Section):
    """Sizes of the embedded InternVL."""

    image_size: Positive = 96
    patch_size: Positive = 12
    vision_width: Positive = 128
    vision_layers: Positive = 3
    vision_heads: Positive = 4
    hidden_size: Positive = 160
    n_layers: Positive = 8
    n_heads: Positive = 12
    n_kv_heads: Positive = 4
    head_dim: Positive = 16
    intermediate_size: Positive = 384


class PretrainStageParams(Section):
    """One pre-training stage: steps, clips per process and step, learning rates of Muon and AdamW.

    schedule: (step, factor) of the learning rates with straight lines between, after the warm-up.
    vision_from: the vision tower learns from step vision_from * steps on.
    """

    steps: Positive
    batch: Positive
    muon_lr: float
    adamw_lr: float
    schedule: Annotated[tuple[tuple[int, float], ...], Field(min_length=1)]
    warmup_steps: Positive = 30
    vision_from: Annotated[float, Field(ge=0, le=1)] = 0.0


class PretrainParams(Section):
    """Pre-training of the embedded MLLM."""

    seed: int = 1
    pool_seed: int = 1
    windows: Positive = 24_000
    processes: Positive = 2
    checkpoint_every: Positive = 100
    model: DemoModelParams = DemoModelParams()
    see: PretrainStageParams
    speak: PretrainStageParams


class DemoParams(Section):
    """The whole of the demo's params.yaml."""

    corpus: CorpusParams = CorpusParams()
    pretrain: PretrainParams


def load_demo_params(path: Path = DEMO_PARAMS) -> DemoParams:
    """Read and check the demo's parameters: those that ship with the package, or a file of the same form."""
    return read_parameters(path, DemoParams)
