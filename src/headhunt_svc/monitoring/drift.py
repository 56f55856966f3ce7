"""Compares a window with its baselines: signals, limits and a verdict for every camera and for all of them together."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from headhunt_svc.core.drift import Chance, chance, event_interval, head_auc, instability_ratio, signals
from headhunt_svc.core.onset import first_bad
from headhunt_svc.core.samples import Sample, concatenate
from headhunt_svc.monitoring.baselines import Baseline
from headhunt_svc.monitoring.config import ALL_SIGNALS, DriftParams, Signal
from headhunt_svc.monitoring.diagnosis import deciding, diagnose
from headhunt_svc.monitoring.remedies import rebaseline
from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict, SignalResult
from headhunt_svc.prediction_log.schema import LogMetadata
from headhunt_svc.prediction_log.windows import Rows, Window, sample_of
from headhunt_svc.types import HeadRef

# signals that do not depend on the view: they may be compared with footage of other cameras
ANY_VIEW: tuple[Signal, ...] = (
    "score_psi", "score_wasserstein", "event_rate", "prompt_std", "flip_rate", "rank_agreement", "head_instability",
)  # fmt: skip
WITHOUT_BASELINE = "no baseline of its own: scores and prompts are compared with the common reference, pictures are not"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A camera's window and the baseline that it was compared with, as arrays, and the results."""

    reference: Sample
    current: Sample
    threshold: float
    signals: Mapping[str, SignalResult]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts of one window by camera, and the comparisons that were possible."""

    cameras: dict[str, CameraVerdict]
    comparisons: dict[str, Comparison]


Result = tuple[CameraVerdict, Comparison | None]


class Judge:
    """Compares windows with baselines; chance is measured once for a baseline and a size of window, then cached."""

    def __init__(self, params: DriftParams) -> None:
        self.params = params
        self._chance: dict[tuple[str, str, int, float], dict[str, Chance]] = {}
        self._samples: dict[tuple[str, str], Sample] = {}

    def judge(
        self,
        window: Window,
        baselines: Mapping[str, Baseline],
        fallback: Baseline | None = None,
        others: Iterable[str] = (),
    ) -> Judgement:
        """A verdict for every camera of the window, with a baseline or of `others`, and one for all cameras together.

        fallback: cameras without a baseline of their own are compared with it, in the signals that any view allows.
        """
        results: dict[str, Result] = {}
        for camera in sorted({*window.cameras, *baselines, *others}):
            rows, own = window.cameras.get(camera), baselines.get(camera)
            if rows is None:
                why = "no segment of this detector in the window" + ("" if own else ", and no baseline")
                version = own.version if own else None
                results[camera] = CameraVerdict(camera, "no data", why, version), None
            else:
                allowed = ALL_SIGNALS if own else ANY_VIEW
                verdict, comparison = self._judge_camera(camera, rows, own or fallback, allowed)
                if own is None and not verdict.why:
                    verdict = replace(verdict, why=WITHOUT_BASELINE)
                results[camera] = verdict, comparison
        if fleet := self._judge_fleet(window, baselines):
            results[FLEET] = fleet
        verdicts = diagnose({camera: verdict for camera, (verdict, _) in results.items()})
        comparisons = {camera: c for camera, (_, c) in results.items() if c is not None}
        return Judgement({name: _begun(v, comparisons.get(name)) for name, v in verdicts.items()}, comparisons)

    def _judge_camera(self, camera: str, rows: Rows, baseline: Baseline | None, allowed: Collection[Signal]) -> Result:
        current = sample_of(rows, self.params.block_segments)
        verdict = _counts(camera, current)
        if baseline is None:
            why = f"no baseline: run `{rebaseline(camera)}` on footage that is known to be good"
            return replace(verdict, why=why), None
        verdict = replace(verdict, baseline=baseline.version)
        reference = self._sample(camera, baseline)
        heads = rows.metadata.heads
        if (reference.heads.shape[1:], baseline.rows.metadata.heads) != (current.heads.shape[1:], heads):
            why = f"the baseline has other heads or features: run `{rebaseline(camera)}`"
            return replace(verdict, why=why), None
        verdict, comparison = self._compare(verdict, baseline.version, reference, current, rows.metadata, allowed)
        if "head_instability" in verdict.signals:
            verdict = replace(verdict, unstable=_by_head(heads, instability_ratio(reference, current)))
        return verdict, comparison

    def _judge_fleet(self, window: Window, baselines: Mapping[str, Baseline]) -> Result | None:
        """Compares all cameras that have rows and a baseline as one; None if there are fewer than two of them.

        Baselines have the same shares of cameras as the window. The mean of a camera's baseline is subtracted from its
        features: then a change that is the same for all cameras adds up, and a change of one camera does not.
        """
        p, cameras = self.params, sorted(window.cameras.keys() & baselines.keys())
        windows = {c: sample_of(window.cameras[c], p.block_segments) for c in cameras}
        references = {c: self._sample(c, baselines[c]) for c in cameras}
        cameras = [c for c in cameras if references[c].heads.shape[1:] == windows[c].heads.shape[1:]]
        if len(cameras) < 2 or len({references[c].heads.shape[1:] for c in cameras}) > 1:
            return None
        means = {c: references[c].heads.mean(0) for c in cameras}
        share = min(len(references[c]) / len(windows[c]) for c in cameras)
        parts = {c: _minus(windows[c], means[c]).subsample(p.sample_rows / len(cameras)) for c in cameras}
        current = replace(
            concatenate([parts[c] for c in cameras]),
            total=sum(windows[c].total for c in cameras),
            events=sum(windows[c].events for c in cameras),
        )
        reference = concatenate([_minus(references[c], means[c]).subsample(share * len(parts[c])) for c in cameras])
        version = " ".join(f"{baselines[c].version}:{len(windows[c])}" for c in cameras)
        metadata = window.cameras[cameras[0]].metadata
        return self._compare(_counts(FLEET, current), version, reference, current, metadata, (*ANY_VIEW, "heads"))

    def _compare(
        self,
        verdict: CameraVerdict,
        version: str,
        reference: Sample,
        current: Sample,
        metadata: LogMetadata,
        allowed: Collection[Signal],
    ) -> Result:
        """The verdict with the allowed signals and their limits; version: of the baseline, names cached chance."""
        p = self.params
        if why := self._too_small(reference, current):
            return replace(verdict, why=why), None
        key = verdict.camera, version, verdict.blocks, metadata.threshold
        if key not in self._chance:
            self._chance[key] = chance(reference, verdict.blocks, metadata.threshold, p.min_probed, p.draws)
        values, by_chance = signals(reference, current, metadata.threshold, p.min_probed), self._chance[key]
        results: dict[str, SignalResult] = {}
        for name in ALL_SIGNALS:
            if name in allowed and name in values and name in by_chance:
                limit = max(p.limits[name], by_chance[name].mean + p.spread * by_chance[name].std)
                results[name] = SignalResult(values[name], limit, by_chance[name].mean)
        heads = _by_head(metadata.heads, 2 * head_auc(reference, current) - 1) if "heads" in results else {}
        verdict = replace(verdict, signals=results, heads=heads)
        comparison = Comparison(reference, current, metadata.threshold, results)
        return replace(verdict, status="drift" if verdict.over else "fine"), comparison

    def _sample(self, camera: str, baseline: Baseline) -> Sample:
        key = camera, baseline.version
        if key not in self._samples:
            self._samples[key] = sample_of(baseline.rows, self.params.block_segments)
        return self._samples[key]

    def _too_small(self, reference: Sample, current: Sample) -> str:
        """Why there is not enough data; empty if there is."""
        p = self.params
        for name, sample in (("window", current), ("baseline", reference)):
            if len(sample) < p.min_segments or sample.n_blocks < p.min_blocks:
                has = f"{len(sample)} segments in {sample.n_blocks} blocks"
                return f"the {name} has {has}, {p.min_segments} in {p.min_blocks} are needed"
        return ""


def _begun(verdict: CameraVerdict, comparison: Comparison | None) -> CameraVerdict:
    """The verdict with the beginning of its first bad block."""
    signal = deciding(verdict)
    if signal is None or comparison is None:
        return verdict
    since = first_bad(comparison.reference, comparison.current, signal, comparison.threshold)
    return replace(verdict, since=datetime.fromtimestamp(since, UTC))


def _counts(camera: str, current: Sample) -> CameraVerdict:
    """The verdict before anything is compared."""
    return CameraVerdict(
        camera,
        "not enough data",
        segments=current.total,
        blocks=current.n_blocks,
        probed=len(current.probed),
        event_rate=current.event_rate,
        event_interval=event_interval(current),
    )


def _minus(sample: Sample, mean: np.ndarray) -> Sample:
    return replace(sample, heads=sample.heads - mean)


def _by_head(heads: tuple[HeadRef, ...], values: np.ndarray) -> dict[str, float]:
    return {f"{h.layer}.{h.head}": float(v) for h, v in zip(heads, values, strict=True)}
