"""Parameters of the embedded default: how its videos are rendered and its model is pre-trained.

They live beside the code that they belong to, in params.yaml of this folder; a project's own params.yaml knows neither.
params-wide.yaml holds the pre-training of the next model (docs/demo-model.md).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from headhunt_svc.sections import Section, read_parameters

WorldName = Literal["narrow", "wide"]
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
    """Pre-training of the embedded MLLM.

    keep_before_decay: keep a checkpoint from before the learning rate falls, from which a run can be prolonged.
    ema: decay of an exponential moving average of the weights, which is then what is exported (0: none).
    ragged: clips go through the language model in one row without padding: the same but for rounding, in less time.
    head_dropout: share of heads whose output is left out, for each clip and layer of stage `speak`.
    orthogonality: weight of a term against heads of a layer that are alike, in stage `speak`.
    """

    world: WorldName = "narrow"
    seed: int = 1
    pool_seed: int = 1
    windows: PositiveInt = 24_000
    processes: PositiveInt = 2
    checkpoint_every: PositiveInt = 100
    keep_before_decay: bool = False
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ragged: bool = False
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    orthogonality: Annotated[float, Field(ge=0)] = 0.0
    model: DemoModelParams = DemoModelParams()
    see: PretrainStageParams
    speak: PretrainStageParams

    def recipe(self) -> dict[str, Any]:
        """What a model's pretraining.json says of it; what is off is left out, as in recipes from before it existed."""
        options = {"world", "keep_before_decay", "ema", "ragged", "head_dropout", "orthogonality"}
        off = {name for name in options if getattr(self, name) == PretrainParams.model_fields[name].default}
        return self.model_dump(mode="json", exclude=off)


class DemoParams(Section):
    """The whole of the demo's params.yaml."""

    corpus: CorpusParams = CorpusParams()
    pretrain: PretrainParams


def load_demo_params(path: Path = DEMO_PARAMS) -> DemoParams:
    """Read and check the demo's parameters: those that ship with the package, or a file of the same form."""
    return read_parameters(path, DemoParams)
