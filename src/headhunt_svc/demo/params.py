"""Parameters of the embedded default: how its videos are rendered and its model is pre-trained.

They live beside the code that they belong to, in params.yaml of this folder; a project's own params.yaml knows neither.
params-wide.yaml holds the pre-training of the next model (docs/demo-model.md).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

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
    """Sizes of the embedded InternVL.

    rope_theta: base of the rotary positions; the higher it is, the less does the likeness of two tokens depend on their
    distance. like_keys: queries start as so many times the keys and a little noise, so that tokens attend to what is
    like them (mimetic initialisation, Trockman & Kolter, 2023); 0: as everything else.
    """

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
    rope_theta: PositiveFloat = 10_000.0
    like_keys: NonNegativeFloat = 0.0


class ShortClips(Section):
    """The first steps of stage `speak`: more clips, of a few frames each."""

    steps: PositiveInt
    batch: PositiveInt
    frames: Annotated[int, Field(ge=1, le=8)] = 2


class PretrainStageParams(Section):
    """One pre-training stage: steps, clips per process and step, learning rates of Muon and AdamW.

    schedule: (step, factor) of the learning rates with straight lines between, after the warm-up.
    vision_from: the vision tower learns from step vision_from * steps on.
    recognition: weight of the loss that lets tokens point at the words for what a window shows (demo/recognition.py).
    short: the first steps have clips of their own kind; in stage `speak` only.
    easy_steps: windows of the narrow world's kinds only come first; their share falls to the usual one in these steps.
    """

    steps: PositiveInt
    batch: PositiveInt
    muon_lr: float
    adamw_lr: float
    schedule: Annotated[tuple[tuple[int, float], ...], Field(min_length=1)]
    warmup_steps: PositiveInt = 30
    vision_from: Annotated[float, Field(ge=0, le=1)] = 0.0
    recognition: NonNegativeFloat = 0.0
    easy_steps: NonNegativeInt = 0
    short: ShortClips | None = None

    def easy_share(self, step: int) -> float:
        """Which share of this step's clips shows the narrow world's kinds only."""
        return max(0.0, 1 - step / self.easy_steps) if self.easy_steps else 0.0

    def clips(self, step: int) -> tuple[int, int | None]:
        """Clips of a process in this step, and their frames (None: as always)."""
        short = self.short
        return (short.batch, short.frames) if short is not None and step < short.steps else (self.batch, None)


class PretrainParams(Section):
    """Pre-training of the embedded MLLM.

    keep_before_decay: keep a checkpoint from before the learning rate falls, from which a run can be prolonged.
    ema: decay of an exponential moving average of the weights, which is then what is exported (0: none).
    ragged: clips go through the language model in one row without padding: the same but for rounding, in less time.
    head_dropout: share of heads whose output is left out, for each clip and layer of stage `speak`.
    orthogonality: weight of a term against heads of a layer that are alike, in stage `speak`.
    probes: yes/no questions for each clip that are answered in the layers only, where a question in words costs more.
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
    probes: NonNegativeInt = 0
    model: DemoModelParams = DemoModelParams()
    see: PretrainStageParams
    speak: PretrainStageParams

    @field_validator("see")
    @classmethod
    def _has_no_short_clips(cls, see: PretrainStageParams) -> PretrainStageParams:
        if see.short is not None:
            raise ValueError("short clips are for stage speak: in see, all clips have two frames")
        return see

    def recipe(self) -> dict[str, Any]:
        """What a model's pretraining.json says of it; what is off is left out, as in recipes from before it existed."""
        off = {
            "": {"world", "keep_before_decay", "ema", "ragged", "head_dropout", "orthogonality", "probes"},
            "model": {"rope_theta", "like_keys"},
            "see": {"recognition", "easy_steps", "short"},
            "speak": {"recognition", "easy_steps", "short"},
        }
        recipe = self.model_dump(mode="json")
        for part, options in off.items():
            section = getattr(self, part) if part else self
            dump = recipe[part] if part else recipe
            for name in options:
                if getattr(section, name) == type(section).model_fields[name].default:
                    del dump[name]
        return recipe


class DemoParams(Section):
    """The whole of the demo's params.yaml."""

    corpus: CorpusParams = CorpusParams()
    pretrain: PretrainParams


def load_demo_params(path: Path = DEMO_PARAMS) -> DemoParams:
    """Read and check the demo's parameters: those that ship with the package, or a file of the same form."""
    return read_parameters(path, DemoParams)
