"""Rows of the prediction log: one a segment, once its smoothed score is final."""

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from headhunt_svc.core.localization import TRUNCATE, contiguous, is_contiguous, smooth
from headhunt_svc.core.steady import WithoutSteady
from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.prediction_log.schema import COLUMNS, Kept, LogMetadata, projection
from headhunt_svc.types import OperatingPoint


@runtime_checkable
class RowSink(Protocol):
    """What takes rows; see PredictionLog."""

    def put(self, metadata: LogMetadata, rows: pa.Table) -> bool:
        """Hand over rows; False if they are lost."""


class PassRows:
    """Rows of one pass over one video: each is logged once its smoothed score is final."""

    def __init__(
        self,
        log: RowSink,
        metadata: LogMetadata,
        point: OperatingPoint,
        names: dict[str, str],
        recorded: datetime | None,
    ) -> None:
        """names: of camera, video and pass. recorded: when the first picture was taken, if that is known."""
        self._log, self._metadata, self._point = log, metadata, point
        self._names, self._recorded = {**names, "detector_id": metadata.detector_id}, recorded
        self._radius = int(TRUNCATE * point.sigma_segments + 0.5)
        self._video = WithoutSteady(point.smoothing)
        self._scores: list[float] = []  # that smoothing still needs: memory does not grow with the video
        self._edges: list[tuple[float, float]] = []  # of the same segments, and of those that follow, in seconds
        self._stop_s = -np.inf  # of the last segment
        self._rows: list[dict[str, Any]] = []  # of segments whose smoothed score is not final yet

    def add(self, batch: ScoredBatch) -> None:
        """The next segments. Those that an earlier pass has scored and logged count for the smoothing alone."""
        if not batch.resumed:
            self._rows += self._rows_of(batch)
        for i, segment in enumerate(batch.segments):
            follows = is_contiguous(self._stop_s, segment.start_s)
            novelty = None if batch.novelty is None else float(batch.novelty[i])
            self._scores += self._video.add(float(batch.raw[i]), novelty, follows)
            self._edges.append((segment.start_s, segment.stop_s))
            self._stop_s = segment.stop_s
        neighbours = 0 if self._point.smoothing == "causal" else self._radius
        self._emit(len(self._scores) - neighbours)

    def finish(self) -> None:
        """Log what waits for neighbours that will not come."""
        self._scores += self._video.finish()
        self._emit(len(self._scores))

    def _rows_of(self, batch: ScoredBatch) -> list[dict[str, Any]]:
        kept = kept_features(batch.features, self._metadata.features)
        now = datetime.now(UTC)
        rows = []
        for i, segment in enumerate(batch.segments):
            quality, reading = segment.quality, batch.prompt_readings.get(i)
            rows.append(
                {
                    **self._names,
                    "time": now if self._recorded is None else self._recorded + timedelta(seconds=segment.start_s),
                    "segment": segment.segment.index,
                    "start_s": segment.start_s,
                    "stop_s": segment.stop_s,
                    "raw": float(batch.raw[i]),
                    "novelty": None if batch.novelty is None else float(batch.novelty[i]),
                    "brightness": quality and quality.brightness,
                    "sharpness": quality and quality.sharpness,
                    "dropped_frames": quality and segment.lost_packets,
                    "layout": quality and quality.layout,
                    "contributions": batch.contributions[i],
                    "features": None if kept is None else kept[i],
                    "prompt_scores": reading and reading.scores,
                    "prompt_contributions": reading and reading.contributions.ravel(),
                }
            )
        return rows

    def _emit(self, stop: int) -> None:
        """Log the waiting rows of segments before number `stop`: their smoothed scores are final."""
        start = len(self._edges) - len(self._rows)
        n = stop - start
        if n <= 0:
            return
        base = max(start - self._radius, 0)
        around = slice(base, min(stop + self._radius, len(self._scores)))
        follows = contiguous(np.array(self._edges[around]))
        smoothed = smooth(np.array(self._scores[around]), self._point.sigma_segments, self._point.smoothing, follows)
        ready, self._rows = self._rows[:n], self._rows[n:]
        for row, score in zip(ready, smoothed[start - base : stop - base].tolist(), strict=True):
            row |= {"smoothed": score, "in_event": score > self._point.threshold}
        unneeded = max(stop - self._radius, 0)
        del self._scores[:unneeded], self._edges[:unneeded]
        self._log.put(self._metadata, pa.Table.from_pylist(ready, schema=COLUMNS))


def kept_features(features: Float32[np.ndarray, "segment head d_head"], kept: Kept) -> np.ndarray | None:
    """What is logged of expert-head features, float32[segment, K * n], n as schema.PROJECTED says or d_head."""
    if kept == "none":
        return None
    return (features if kept == "all" else features @ projection(features.shape[-1])).reshape(len(features), -1)


def metadata_of(detector: Reporter, point: OperatingPoint, features: Kept) -> LogMetadata:
    """What the rows of a detector have in common."""
    bundle = detector.bundle
    return LogMetadata(
        detector_id=detector.detector_id,
        code=detector.code,
        heads=tuple(detector.scorer.heads),
        prompts=bundle.calibration_prompts,
        prompt=bundle.prompt,
        threshold=point.threshold,
        sigma_segments=point.sigma_segments,
        features=features,
    )
