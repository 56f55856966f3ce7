"""Parameters of the embedded default: how its videos are rendered and its model is pre-trained.

They live beside the code that they belong to, in params.yaml of this folder; a project's own params.yaml knows neither.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from headhunt_svc.sections import Section, read_parameters

DEMO_PARAMS = Path(__file__).parent / "params.yaml"


class CorpusParams(Section):
    """The embedded default's videos: where they and their annotations go, and counts per anomaly kind and split."""

    root: Path = Path("data/demo")
    annotations: Path = Path("data/demo.jsonl")
    seed: int = 1
    size: PositiveInt = 128
    calibration_per_kind: PositiveInt = 5
    calibration_normal: PositiveInt = 14
    validation_per_kind: PositiveInt = 3
    validation_normal: PositiveInt = 8
    test_per_kind: PositiveInt = 9
    test_normal: PositiveInt = 30
    hard_per_kind: PositiveInt = 4
    hard_normal: PositiveInt = 12

    def places(self) -> dict[str, str]:
        """The parameters that are paths, as text."""
        return {name: str(value) for name, value in self if isinstance(value, Path)}


class DemoModelParams(Section):
    """Sizes of the embedded InternVL."""

    image_size: PositiveInt = 96
    patch_size: PositiveInt = 12
    vision_width: PositiveInt = 128
    vision_layers: PositiveInt = 3
    vision_heads: PositiveInt = 4
    hidden_size: PositiveInt = 160
    n_layers: PositiveInt = 8
    n_heads: PositiveInt = 12
    n_kv_heads: PositiveInt = 4
    head_dim: PositiveInt = 16
    intermediate_size: PositiveInt = 384


class PretrainStageParams(Section):
    """One pre-training stage: steps, clips per process and step, learning rates of Muon and AdamW.

    schedule: (step, factor) of the learning rates with straight lines between, after the warm-up.
    vision_from: the vision tower learns from step vision_from * steps on.
    """

    steps: PositiveInt
    batch: PositiveInt
    muon_lr: float
    adamw_lr: float
    schedule: Annotated[tuple[tuple[int, float], ...], Field(min_length=1)]
    warmup_steps: PositiveInt = 30
    vision_from: Annotated[float, Field(ge=0, le=1)] = 0.0


class PretrainParams(Section):
    """Pre-training of the embedded MLLM."""

    seed: int = 1
    pool_seed: int = 1
    windows: PositiveInt = 24_000
    processes: PositiveInt = 2
    checkpoint_every: PositiveInt = 100
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
