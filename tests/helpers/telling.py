"""Labelled features of which one head tells the anomalous segments, and the others are noise."""

from pathlib import Path

import numpy as np

from headhunt_svc.pipeline.labelled_features import LabelledFeatures
from headhunt_svc.types import FrameSpan, HeadFeatures, HeadRef, Segment, VideoRecord, edges_of

HEADS = (HeadRef(0, 0), HeadRef(0, 1), HeadRef(1, 0))
LENGTH = 16
N_SEGMENTS = 10


def labelled_videos(n: int, seed: int) -> LabelledFeatures:
    """n videos, two of three anomalous in segments 4 to 6; head (1, 0) tells, the others are noise."""
    rng = np.random.default_rng(seed)
    records, segments, labels = [], [], []
    for i in range(n):
        anomalous = i % 3 > 0
        spans = (FrameSpan(4 * LENGTH, 7 * LENGTH),) if anomalous else ()
        name = f"v{seed}-{i}"
        label = "fall" if anomalous else "normal"
        records.append(VideoRecord(name, Path(name), N_SEGMENTS * LENGTH, 10.0, "calibration", label, spans))
        for k in range(N_SEGMENTS):
            segments.append(Segment(name, k, FrameSpan(k * LENGTH, (k + 1) * LENGTH), (k * LENGTH,)))
            labels.append(anomalous and 4 <= k <= 6)
    values = rng.standard_normal((len(segments), 3, 4)).astype(np.float32)
    values[:, 2] += 2.0 * np.array(labels)[:, None]
    times = edges_of([s.span for s in segments]) / 10.0
    return LabelledFeatures(HeadFeatures(tuple(segments), HEADS, values), np.array(labels), tuple(records), times)
