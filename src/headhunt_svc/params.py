"""Types of params.yaml: everything that changes a result. An unknown name is an error; values are frozen."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator
from pydantic.types import NonNegativeFloat, NonNegativeInt, PositiveFloat

from headhunt_svc.sections import Section, read_parameters
from headhunt_svc.types import Background, SpanEnds, Split

DESCRIBE = "Describe in one sentence what happens in the video."
PROMPT_SETS = Path(__file__).with_name("prompts.yaml")
Count = Annotated[int, Field(gt=0, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # numpy, scikit-learn and torch all take these


class MllmParams(Section):
    """The frozen multimodal LLM: a hub id or a local folder.

    dtype: bfloat16 for GPUs; int8 and float8 quantise the decoder (model/quantisation.py). keep_tokens: the share of
    the visual tokens that the decoder reads, those that changed most (model/token_choice.py). compile: layers, by
    torch.compile; changes last bits (model/compiled.py). Each needs its own heads and scorer.
    """

    id: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "int8", "float8"] = "float32"
    attention: Literal["sdpa", "eager"] = "sdpa"
    keep_tokens: Annotated[float, Field(gt=0, le=1, exclude_if=lambda share: share == 1)] = 1.0
    compile: Annotated[bool, Field(exclude_if=lambda on: not on)] = False


class ExportParams(Section):
    """How an export of CVAT or Label Studio is read (data/cvat.py, data/label_studio.py).

    labels: those that mark an anomaly; none for all but `normal`. split: of the videos of which the export states none.
    fps: the frameRate of Label Studio's Video tag, where it is not the videos' own.
    """

    labels: tuple[str, ...] = ()
    split: Split | None = None
    fps: PositiveFloat | None = None


class DatasetParams(Section):
    """Folder of the footage and its annotations (layouts: data/datasets.py and data/benchmarks.py).

    annotations: a .jsonl or .csv file, or an export; for a benchmark the folder of the official files; none for
    `folders`.
    span_ends: what the end of a span in frames means. fps: the rate at which seconds of annotations and of figures
    count frames, instead of the times in the files. allow_missing: videos that are annotated but not there are left
    out and named. marks: the folder of marked clips that `headhunt hunt-again` writes, which join the calibration
    videos.
    """

    root: Path
    annotations: Path | None = None
    layout: Literal["own", "folders", "ucf_crime", "xd_violence"] = "own"
    span_ends: SpanEnds = "half_open"
    fps: PositiveFloat | None = None
    allow_missing: bool = False
    export: ExportParams = ExportParams()
    marks: Path | None = None

    @model_validator(mode="after")
    def _annotated(self) -> "DatasetParams":
        if (self.annotations is None) != (self.layout == "folders"):
            raise ValueError("give annotations, except for the layout `folders`, which has none")
        return self


class SplitParams(Section):
    """How many videos `split` draws: a share of all that are not test videos (below 1), or a count."""

    calibration: Annotated[float, Field(gt=0, lt=1)] | Annotated[int, Field(ge=4)] = 0.01
    validation: Annotated[float, Field(gt=0, lt=1)] | Annotated[int, Field(ge=2)] = 0.01
    seed: Seed = 0


class SegmentationParams(Section):
    """Length of a window in seconds (or in frames, for a protocol that counts them), and the frames sampled from it.

    stride_s or stride_frames: distance of the starts of two windows; the default is the window's length. A smaller
    stride lets windows overlap, for finer times at more computation.
    """

    length_s: Seconds | None = None
    length_frames: Count | None = None
    stride_s: Seconds | None = None
    stride_frames: Count | None = None
    frames_per_segment: Annotated[int, Field(gt=0, le=10_000)]

    @model_validator(mode="after")
    def _one_length(self) -> "SegmentationParams":
        if (self.length_s is None) == (self.length_frames is None):
            raise ValueError("give exactly one of length_s and length_frames")
        unit, other = ("s", "frames") if self.length_s is not None else ("frames", "s")
        if getattr(self, f"stride_{other}") is not None:
            raise ValueError(f"give the stride as stride_{unit}, like the length")
        if self.stride > self.length:
            raise ValueError(
                f"stride_{unit} is more than length_{unit}: what lies between two windows would not be seen"
            )
        return self

    @property
    def length(self) -> float:
        """Length of a window in the unit that was given, seconds or frames."""
        return self.length_s or self.length_frames or 0.0

    @property
    def stride(self) -> float:
        """Distance of the starts of two windows, in the unit of the length."""
        return self.stride_s or self.stride_frames or self.length

    def frame_s(self, fps: float) -> float:
        """Seconds between two sampled frames of a video of `fps` frames/s; some model families need it."""
        return (self.length_s or self.length / fps) / self.frames_per_segment


class PromptSet(Section):
    """A named set of prompts that the package ships: what it is for, and the texts of each version."""

    about: str
    versions: dict[Count, Annotated[tuple[str, ...], Field(min_length=1)]]


@cache
def prompt_sets() -> dict[str, PromptSet]:
    """The prompt sets of the package, by name."""
    raw = yaml.safe_load(PROMPT_SETS.read_text(encoding="utf-8"))
    return {name: PromptSet.model_validate(row) for name, row in raw.items()}


def _texts_of(named: str) -> tuple[str, ...]:
    """The texts of a set that is named as NAME@VERSION."""
    sets = prompt_sets()
    released = {f"{name}@{version}": texts for name in sets for version, texts in sets[name].versions.items()}
    if named in sets:
        newest = f"{named}@{max(sets[named].versions)}"
        raise ValueError(f"set {named!r} names no version, and a later one has other prompts: write {newest}")
    if named not in released:
        raise ValueError(f"there is no prompt set {named!r}; there are: {', '.join(sorted(released))}")
    return released[named]


def _with_extra(text: str, extra: Sequence[str]) -> str:
    """A prompt with what is special at a site behind it."""
    notes = [note if note.endswith((".", "!", "?")) else f"{note}." for note in map(str.strip, extra)]
    return f"{text} About this site: {' '.join(notes)}" if notes else text


class PromptParams(Section):
    """The calibration prompts; `scoring` is the index of the one used after the heads are chosen.

    Give texts of your own, or set: NAME@VERSION, a set of the package; `texts` then holds its texts. extra: what is
    special at a site, in sentences that follow every prompt of the set: "... About this site: forklifts are normal."
    describe: what the model is asked about the peak of an event, where descriptions are requested.
    """

    set: str | None = None
    extra: tuple[Annotated[str, Field(pattern=r"\S")], ...] = ()
    texts: Annotated[tuple[str, ...], Field(min_length=1)]
    scoring: NonNegativeInt = 0
    describe: str = DESCRIBE

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, raw: Any) -> Any:
        """The values with the texts of the set; what has the wrong type is left to the fields to refuse."""
        if not isinstance(raw, dict):
            return raw
        named, extra = raw.get("set"), raw.get("extra", ())
        if (named is None) == ("texts" not in raw):
            raise ValueError("give either texts or set, the name of a prompt set (`headhunt prompts` lists them)")
        if named is None and extra:
            raise ValueError("extra is for the prompts of a set: write it into the texts")
        if not isinstance(named, str):
            return raw
        texts = _texts_of(named)
        if isinstance(extra, list | tuple) and all(isinstance(note, str) for note in extra):
            texts = tuple(_with_extra(text, extra) for text in texts)
        return raw | {"texts": texts}

    @model_validator(mode="after")
    def _sane(self) -> "PromptParams":
        if self.scoring >= len(self.texts):
            raise ValueError(f"scoring is {self.scoring}, but there are only {len(self.texts)} prompts (0-based)")
        if len(set(self.texts)) < len(self.texts):
            raise ValueError("two prompts are the same")
        if any(not p.strip() for p in (*self.texts, self.describe)):
            raise ValueError("a prompt is empty")
        return self

    @property
    def scoring_text(self) -> str:
        """The prompt used online."""
        return self.texts[self.scoring]

    @property
    def origin(self) -> str | None:
        """The set that the texts are of, for the record; None for texts of one's own."""
        return f"{self.set}, with additions for the site" if self.set and self.extra else self.set


class LabelParams(Section):
    """A segment counts as anomalous when at least this share of its frames is."""

    min_anomalous_share: Annotated[float, Field(gt=0, le=1)] = 0.25


class IdentifyParams(Section):
    """Choice of the expert heads: the paper's criteria, or a cross-validated probe of every head.

    deepest_layer: heads of deeper layers are no candidates, so scoring runs fewer layers; null: no limit (`headhunt
    depth` compares limits). top_k: a number, or `auto`: heads are added in order while that helps. few_videos: with
    fewer calibration videos than this, more heads than top_k are kept, in inverse proportion (`n_heads`); 0: always
    top_k. separability: weight of the class means' distance beside the probe's AUC. max_redundancy: a head is left out
    if the errors of its probe correlate more than this with those of a head that was chosen before. subsamples: halves
    of the videos on which the choice is repeated, to measure its stability. folds, repeats: cross-validation of the
    probes.
    """

    criteria: Literal["paper", "robust"] = "robust"
    deepest_layer: Annotated[NonNegativeInt | None, Field(exclude_if=lambda layer: layer is None)] = None
    top_k: Count | Literal["auto"] = 5
    few_videos: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    instability_penalty: NonNegativeFloat = 0.5
    separability: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_redundancy: Annotated[float, Field(gt=0, le=1)] = 0.9
    folds: Annotated[int, Field(ge=2, le=1000)] = 5
    repeats: Annotated[int, Field(gt=0, le=1000)] = 3
    subsamples: Annotated[int, Field(ge=2, le=10_000)] = 50
    seed: Seed = 0

    def n_heads(self, videos: int) -> int | Literal["auto"]:
        """How many heads are kept with so many calibration videos: few cannot tell the best from good ones."""
        if self.top_k == "auto" or videos >= self.few_videos:
            return self.top_k
        return math.ceil(self.top_k * self.few_videos / videos)


class FitParams(Section):
    """Logistic regression: the inverse regularisation C is chosen from `grid` by cross-validation over videos.

    scorer: with the distance to normal beside it, or that alone (core/normality.py). default_normality_weight: of the
    distance; another one of normality_weights, or 0, where that finds kinds of anomaly better that were left out.
    standardised: features of mean 0 and scale 1. balanced: both classes weigh the same. platt: held-out margins are
    turned into probabilities. The scorer of the paper has none of these (docs/adr/0014).
    background: of a video, to which the features are relative (core/background.py). ignore_steady: what is far from
    normal all the time raises no alarm (core/steady.py).
    """

    grid: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    folds: Annotated[int, Field(ge=2, le=1000)] = 5
    scorer: Literal["logistic", "logistic+normality", "normality"] = "logistic+normality"
    normality_weights: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
    default_normality_weight: NonNegativeFloat = 1.0
    standardised: bool = True
    balanced: bool = True
    platt: bool = True
    background: Literal["none", "median", "ema"] = "none"
    ignore_steady: bool = True

    @property
    def relative_to(self) -> Background | None:
        """The background that the scorer has."""
        return None if self.background == "none" else self.background


class CalibrateParams(Section):
    """Grid for (sigma, threshold), and the aims of the operating points on validation videos (core/calibration.py).

    confidence: with which `budget` keeps false_alarms_per_hour. conformal_rate: share of windows of normal footage that
    may raise an alarm; conformal_window_s: their length, by default that of the shortest normal video. promise_sigma:
    of `budget` and `conformal`; it is fixed, not tuned.
    """

    sigma_segments: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0, 0.5, 0.75, 1, 1.5, 2, 2.5, 3)
    n_thresholds: Annotated[int, Field(ge=2, le=10_000)] = 99
    false_alarms_per_hour: PositiveFloat = 1.0
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    recall: Annotated[float, Field(gt=0, le=1)] = 0.9
    conformal_rate: Annotated[float, Field(gt=0, lt=1)] = 0.2
    conformal_window_s: Seconds | None = None
    promise_sigma: NonNegativeFloat = 0.75


class EvaluateParams(Section):
    """Test protocol: resamples of videos for the intervals, draws of the random baseline."""

    bootstrap: Annotated[int, Field(ge=0, le=1_000_000)] = 200
    random_draws: Count = 10
    seed: Seed = 0


class AblateParams(Section):
    """Ablation: questions to the model, numbers of labelled videos with draws of each, and swept values.

    specific: questions that name the footage's kinds of anomaly; without them, their rows are left out.
    random_draws: sets of as many random heads as the detector has. top_k, instability_penalty: values of the sweeps.
    """

    specific: tuple[str, ...] = ()
    generic: Annotated[tuple[str, ...], Field(min_length=1)] = ("is there anything abnormal or unusual in this video?",)
    labelled_videos: tuple[Annotated[int, Field(ge=4, le=1_000_000)], ...] = (9, 18, 44)
    draws: Count = 10
    low_label_sigma: NonNegativeFloat = 0.75
    random_draws: Count = 20
    top_k: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2, 3, 5, 10, 20, 40, 80)
    instability_penalty: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.0, 0.25, 0.5, 1.0, 2.0)


# What `method: paper` sets, by section of params.yaml (docs/adr/0014). No penalty and no grid of sigmas are known to us
# from the paper: C is scikit-learn's default, and the grid ends at the sigma that the paper chose.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "identify": {
        "criteria": "paper",
        "top_k": 5,
        "few_videos": 0,
        "instability_penalty": 0.5,
        "separability": 0.0,
        "max_redundancy": 1.0,
    },
    "fit": {
        "scorer": "logistic",
        "grid": (1.0,),
        "standardised": False,
        "balanced": False,
        "platt": False,
        "background": "none",
    },
    "calibrate": {"sigma_segments": (0.0, 0.5, 0.75, 1.0, 1.5)},
}
Method = Literal["default", "paper"]


class Params(Section):
    """The whole of params.yaml.

    method: `paper` is HeadHunt-VAD as published; it sets the values of PUBLISHED, and no others may be given for them.
    """

    method: Method = "default"
    mllm: MllmParams
    dataset: DatasetParams
    split: SplitParams = SplitParams()
    segmentation: SegmentationParams
    prompts: PromptParams
    label: LabelParams = LabelParams()
    identify: IdentifyParams = IdentifyParams()
    fit: FitParams = FitParams()
    calibrate: CalibrateParams = CalibrateParams()
    evaluate: EvaluateParams = EvaluateParams()
    ablate: AblateParams = AblateParams()

    @model_validator(mode="before")
    @classmethod
    def _with_published(cls, raw: Any) -> Any:
        """The values with those that the method `paper` sets; the fields refuse what has the wrong type."""
        if not isinstance(raw, dict) or raw.get("method") != "paper":
            return raw
        sections = {name: raw.get(name, {}) for name in PUBLISHED}
        return raw | {n: {**PUBLISHED[n], **section} for n, section in sections.items() if isinstance(section, dict)}

    @model_validator(mode="after")
    def _as_stated(self) -> "Params":
        published = self.as_published() if self.method == "paper" else self
        other = [
            f"{name}.{key} to {value}"
            for name, values in PUBLISHED.items()
            for key, value in getattr(published, name)
            if key in values and getattr(getattr(self, name), key) != value
        ]
        if other:
            raise ValueError(f"method `paper` sets {', '.join(other)}: take out the values that the file gives instead")
        if not self.fit.platt and self.fit.scorer != "logistic":
            raise ValueError("fit.platt: false needs fit.scorer: logistic (a sum with a distance is no probability)")
        return self

    def as_published(self) -> "Params":
        """The same footage and model with the method of the paper."""
        sections = {name: getattr(self, name).model_copy(update=dict(values)) for name, values in PUBLISHED.items()}
        return self.model_copy(update={"method": "paper", **sections})


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml (see `read_parameters`)."""
    return read_parameters(path, Params)
