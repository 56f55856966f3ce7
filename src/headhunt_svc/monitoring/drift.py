"""A window beside its baselines: which signals moved, on which camera, and what that most likely means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

import numpy as np

from headhunt_svc.core.drift import Sample, chance, head_auc, instability, joined, signals, wilson
from headhunt_svc.monitoring.baselines import Baseline
from headhunt_svc.monitoring.config import DriftParams, Kind
from headhunt_svc.monitoring.diagnosis import diagnose
from headhunt_svc.prediction_log.windows import Window, sample_of
from headhunt_svc.types import HeadRef

Status = Literal["fine", "drift", "not enough data", "no data"]
FLEET = "all cameras"
# what may be compared with footage of other cameras
ANYWHERE = (
    "score_psi", "score_wasserstein", "event_rate", "prompt_std", "flip_rate", "rank_agreement", "head_instability",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """A camera's window beside its baseline: the signals, and their limits."""

    reference: Sample
    current: Sample
    values: dict[str, float]
    limits: dict[str, float]


# comparisons by camera -> values of signals, by camera, that take the place of ours
Measure = Callable[[Mapping[str, Comparison]], Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Moved:
    """A signal, the limit for a window of this size, and the mean that chance alone would give."""

    value: float
    limit: float
    chance: float

    @property
    def over(self) -> bool:
        """Is it drift?"""
        return self.value > self.limit


@dataclass(slots=True)
class CameraVerdict:
    """What a window says of one camera; the kind is None as long as nothing moved. Events: share and its interval."""

    camera: str
    status: Status
    why: str = ""
    baseline: str | None = None
    segments: int = 0
    blocks: int = 0
    probed: int = 0
    event_rate: float = 0.0
    event_interval: tuple[float, float] = (0.0, 1.0)
    signals: dict[str, Moved] = field(default_factory=dict)
    heads: dict[str, float] = field(default_factory=dict)  # 2 AUC - 1 of every head
    unstable: dict[str, float] = field(default_factory=dict)  # instability over prompts over that of the baseline
    kind: Kind | None = None
    since: datetime | None = None

    @property
    def over(self) -> tuple[str, ...]:
        """The signals that moved."""
        return tuple(name for name, s in self.signals.items() if s.over)


class Judge:
    """Compares windows with baselines; what chance does is computed once for a baseline and a size of window."""

    def __init__(self, params: DriftParams, measure: Measure | None = None) -> None:
        """measure: see Measure; without it our own values count."""
        self.params, self._measure = params, measure
        self._chance: dict[tuple[str, str, int], dict[str, tuple[float, float]]] = {}
        self._samples: dict[tuple[str, str], Sample] = {}
        self._compared: dict[str, Comparison] = {}

    def _sample(self, camera: str, baseline: Baseline) -> Sample:
        key = camera, baseline.version
        if key not in self._samples:
            self._samples[key] = sample_of(baseline.rows, self.params.block_segments)
        return self._samples[key]

    def _by_chance(
        self, camera: str, baseline: Baseline, blocks: int, threshold: float
    ) -> dict[str, tuple[float, float]]:
        key = camera, baseline.version, blocks
        if key not in self._chance:
            reference, p = self._sample(camera, baseline), self.params
            self._chance[key] = chance(reference, blocks, threshold, p.min_probed, p.draws)
        return self._chance[key]

    def judge(
        self, window: Window, baselines: Mapping[str, Baseline], fleet: Baseline | None = None
    ) -> dict[str, CameraVerdict]:
        """A verdict for every camera of the window or with a baseline, and one for all of them together.

        fleet: what cameras without a baseline of their own are compared with, as far as that can be.
        """
        found: dict[str, CameraVerdict] = {}
        self._compared = {}
        for camera in sorted({*window.cameras, *baselines}):
            own = baselines.get(camera)
            found[camera] = self._camera(window, camera, own or fleet, own is not None)
        if verdict := self._together(window, baselines):
            found[FLEET] = verdict
        measured = self._measure(self._compared) if self._measure is not None and self._compared else {}
        for camera in self._compared:
            verdict = found[camera]
            for name, value in measured.get(camera, {}).items():
                verdict.signals[name] = replace(verdict.signals[name], value=value)
            verdict.status = "drift" if verdict.over else "fine"
        diagnose(found, FLEET)
        return found

    def _camera(self, window: Window, camera: str, baseline: Baseline | None, own: bool) -> CameraVerdict:
        p, rows = self.params, window.cameras.get(camera)
        if rows is None:
            return CameraVerdict(camera, "no data", "no segment of this detector in the window")
        current = sample_of(rows, p.block_segments)
        verdict = self._counted(camera, current)
        if baseline is None:
            verdict.why = "no baseline: run `headhunt monitor rebaseline --camera` on footage that is known to be good"
            return verdict
        verdict.baseline = baseline.version
        reference = self._sample(camera, baseline)
        if (reference.heads.shape[1:], baseline.rows.about.heads) != (current.heads.shape[1:], rows.about.heads):
            verdict.why = "the baseline has other heads or features: run `headhunt monitor rebaseline`"
            return verdict
        if why := self._too_small(current, "window") or self._too_small(reference, "baseline"):
            verdict.why = why
            return verdict
        by_chance = self._by_chance(camera, baseline, verdict.blocks, rows.about.threshold)
        self._compare(verdict, reference, current, rows.about.threshold, by_chance, None if own else ANYWHERE)
        if own and "heads" in verdict.signals:
            auc = 2 * head_auc(reference, current) - 1
            verdict.heads = _named(rows.about.heads, auc)
        if "head_instability" in verdict.signals:
            ratio = (instability(current) + 1e-3) / (instability(reference) + 1e-3)
            verdict.unstable = _named(rows.about.heads, ratio)
        return verdict

    def _counted(self, camera: str, current: Sample) -> CameraVerdict:
        return CameraVerdict(
            camera,
            "not enough data",
            segments=current.total,
            blocks=len(np.unique(current.block)),
            probed=len(current.probed),
            event_rate=current.events / max(current.total, 1),
            event_interval=wilson(current.events, current.total),
        )

    def _too_small(self, sample: Sample, what: str) -> str:
        p, blocks = self.params, len(np.unique(sample.block))
        if len(sample) >= p.min_segments and blocks >= p.min_blocks:
            return ""
        return (
            f"the {what} has {len(sample)} segments in {blocks} blocks, {p.min_segments} in {p.min_blocks} are needed"
        )

    def _compare(
        self,
        verdict: CameraVerdict,
        reference: Sample,
        current: Sample,
        threshold: float,
        by_chance: Mapping[str, tuple[float, float]],
        only: tuple[str, ...] | None,
    ) -> None:
        p = self.params
        values = signals(reference, current, threshold, p.min_probed)
        values = {k: v for k, v in values.items() if k in by_chance and (only is None or k in only)}
        limits = {}
        for name in values:
            mean, deviation = by_chance[name]
            limits[name] = max(p.limits[name], mean + p.spread * deviation)  # type: ignore[index]
        verdict.signals = {name: Moved(v, limits[name], by_chance[name][0]) for name, v in values.items()}
        self._compared[verdict.camera] = Comparison(reference, current, values, limits)

    def _together(self, window: Window, baselines: Mapping[str, Baseline]) -> CameraVerdict | None:
        """All cameras that have rows and a baseline, the baselines in the shares of the window's cameras.

        Each camera's features are taken from the mean of its baseline, so that what moves all of them the same way adds
        up, and what moves one does not: a change of the model shows here.
        """
        p, cameras = self.params, sorted(window.cameras.keys() & baselines.keys())
        samples = {c: sample_of(window.cameras[c], p.block_segments) for c in cameras}
        bases = {c: self._sample(c, baselines[c]) for c in cameras}
        cameras = [c for c in cameras if bases[c].heads.shape[1:] == samples[c].heads.shape[1:]]
        if len(cameras) < 2 or len({bases[c].heads.shape[1:] for c in cameras}) > 1:
            return None
        means = {c: bases[c].heads.mean(0) for c in cameras}
        rows, share = p.sample_rows / len(cameras), min(len(bases[c]) / len(samples[c]) for c in cameras)
        parts = {c: _centred(samples[c], means[c]).some(rows) for c in cameras}
        total, events = (sum(getattr(samples[c], n) for c in cameras) for n in ("total", "events"))
        current = replace(joined(parts), total=total, events=events)
        reference = joined({c: _centred(bases[c], means[c]).some(share * len(parts[c])) for c in cameras})
        verdict = self._counted(FLEET, current)
        if why := self._too_small(current, "window") or self._too_small(reference, "baseline"):
            verdict.why = why
            return verdict
        about = window.cameras[cameras[0]].about
        key = FLEET, " ".join(f"{baselines[c].version}:{len(samples[c])}" for c in cameras), verdict.blocks
        if key not in self._chance:
            self._chance[key] = chance(reference, verdict.blocks, about.threshold, p.min_probed, p.draws)
        self._compare(verdict, reference, current, about.threshold, self._chance[key], (*ANYWHERE, "heads"))
        if "heads" in verdict.signals:
            verdict.heads = _named(about.heads, 2 * head_auc(reference, current) - 1)
        return verdict


def _centred(sample: Sample, mean: np.ndarray) -> Sample:
    return replace(sample, heads=sample.heads - mean)


def _named(heads: tuple[HeadRef, ...], values: np.ndarray) -> dict[str, float]:
    return {f"{h.layer}.{h.head}": float(v) for h, v in zip(heads, values, strict=True)}
