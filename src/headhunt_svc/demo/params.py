"""Parameters of the embedded default: how its videos are rendered and its model is pre-trained.

They live beside the code that they belong to, in params.yaml of this folder; a project's own params.yaml knows neither.
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

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
    """Sizes of the embedded InternVL.

    rope_theta: base of the rotary positions; the higher it is, the less does the likeness of two tokens depend on their
    distance. like_keys: queries start as so many times the keys and a little noise, so that tokens attend to what is
    like them (mimetic initialisation, Trockman & Kolter, 2023); 0: as everything else.
    """

    image_size: PositiveInt = 96
    patch_size: PositiveInt = 12
    vision_width: PositiveInt = 128
    vision_layers: PositiveInt = 4
    vision_heads: PositiveInt = 4
    hidden_size: PositiveInt = 192
    n_layers: PositiveInt = 10
    n_heads: PositiveInt = 16
    n_kv_heads: PositiveInt = 4
    head_dim: PositiveInt = 16
    intermediate_size: PositiveInt = 448
    rope_theta: PositiveFloat = 1_000_000.0
    like_keys: NonNegativeFloat = 1.0


class ShortClips(Section):
    """The first steps of stage `speak`: more clips, of a few frames each."""

    steps: PositiveInt
    batch: PositiveInt
    frames: Annotated[int, Field(ge=1, le=8)] = 2


class PretrainStageParams(Section):
    """One pre-training stage: steps, clips per process and step, learning rates of Muon and AdamW.

    schedule: (step, factor) of the learning rates with straight lines between, after the warm-up.
    vision_from: the vision tower learns from step vision_from * steps on. vision_rate: its share of the learning rates.
    recognition: weight of the loss that lets tokens point at the words for what a window shows (demo/recognition.py).
    short: the first steps have clips of their own kind; in stage `speak` only.
    easy: (step, share) of the clips drawn from windows that show the corpus' kinds only, with straight lines between;
        the others are drawn from all windows, some of which are such windows, too. Without it all are.
    """

    steps: PositiveInt
    batch: PositiveInt
    muon_lr: float
    adamw_lr: float
    schedule: Annotated[tuple[tuple[int, float], ...], Field(min_length=1)]
    warmup_steps: PositiveInt = 30
    vision_from: Annotated[float, Field(ge=0, le=1)] = 0.0
    vision_rate: PositiveFloat = 1.0
    recognition: NonNegativeFloat = 0.0
    easy: tuple[tuple[int, Annotated[float, Field(ge=0, le=1)]], ...] = ()
    short: ShortClips | None = None

    @field_validator("schedule", "easy")
    @classmethod
    def _rises(cls, points: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
        steps = [step for step, _ in points]
        if any(step < 0 for step in steps) or any(b <= a for a, b in pairwise(steps)):
            raise ValueError(f"steps must rise, from 0 or more: {steps}")
        return points

    def clips(self, step: int) -> tuple[int, int | None]:
        """Clips of a process in this step, and their frames (None: as always)."""
        short = self.short
        return (short.batch, short.frames) if short is not None and step < short.steps else (self.batch, None)


class PretrainParams(Section):
    """Pre-training of the embedded MLLM.

    keep_before_decay: keep a checkpoint from before the learning rate falls, from which a run can be prolonged.
    ema: decay of an exponential moving average of the weights, which is then what is exported (0: none).
    head_dropout: share of heads whose output is left out, for each clip and layer of stage `speak`.
    orthogonality: weight of a term against heads of a layer that are alike, in stage `speak`.
    probes: yes/no questions for each clip that are answered by a hidden state, not in words, which costs less.
    """

    seed: int = 1
    pool_seed: int = 1
    windows: PositiveInt = 100_000
    processes: PositiveInt = 2
    checkpoint_every: PositiveInt = 100
    keep_before_decay: bool = False
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
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


class DemoParams(Section):
    """The whole of the demo's params.yaml."""

    corpus: CorpusParams = CorpusParams()
    pretrain: PretrainParams


def load_demo_params(path: Path = DEMO_PARAMS) -> DemoParams:
    """Read and check the demo's parameters: those that ship with the package, or a file of the same form."""
    return read_parameters(path, DemoParams)
