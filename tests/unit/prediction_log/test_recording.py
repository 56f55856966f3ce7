"""Recording and probing without a model: batches come from a list, rows go into a real log."""

from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.core.localization import smooth
from headhunt_svc.core.quality import Quality
from headhunt_svc.detector.batches import FeatureBatch, PixelBatch, ScoredBatch, TimedSegment, located
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.readers import ModelReader
from headhunt_svc.model.extractor import VisionCache
from headhunt_svc.prediction_log import guard
from headhunt_svc.prediction_log.guard import log_errors
from headhunt_svc.prediction_log.probe import ProbingReader, is_probed
from headhunt_svc.prediction_log.recording import Recorder, recorder_of
from headhunt_svc.prediction_log.rows import PassRows, metadata_of
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.settings import Settings
from headhunt_svc.types import FrameSpan, HeadRef, OperatingPoint, Scorer, Segment

HEADS, D_HEAD = (HeadRef(1, 0), HeadRef(2, 3)), 3
POINT = OperatingPoint(1.0, 0.5)
QUALITY = Quality(0.5, 0.1, np.zeros(36, np.float32))
START = datetime(2026, 3, 1, tzinfo=UTC)


class Tables(PredictionLog):
    """Stands for the log: keeps what it is given."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []

    def put(self, metadata: object, table: pa.Table) -> None:
        self.tables.append(table)

    def rows(self) -> dict[str, list[Any]]:
        return dict(pa.concat_tables(self.tables).unify_dictionaries().to_pydict()) if self.tables else {"raw": []}


def fake_detector(point: OperatingPoint = POINT, prompts: tuple[str, ...] = ("a?", "b?")) -> Any:
    weight = np.arange(len(HEADS) * D_HEAD, dtype=np.float64) / 10
    return Mock(
        spec=Detector,
        detector_id="d" * 12,
        code="c" * 12,
        scorer=Scorer(HEADS, weight, -0.5),
        bundle=SimpleNamespace(calibration_prompts=prompts, prompt=prompts[0]),
        operating_point=lambda options: point,
        extractor=None,
    )


def novelty_of(n: int, first: int = 0) -> np.ndarray:
    return np.random.default_rng(3).normal(1, 2, 100)[first : first + n]


def batch(
    raw: Sequence[float], first: int, resumed: bool = False, hole: int | None = None, has_novelty: bool = False
) -> ScoredBatch:
    """hole: the number of the segment that begins after ten minutes without pictures."""
    late = [600.0 if hole is not None and i >= hole else 0.0 for i in range(first, first + len(raw))]
    segments = tuple(
        TimedSegment(Segment("v", i, FrameSpan(4 * i, 4 * i + 4), (4 * i,)), s + 1.6 * i, s + 1.6 * i + 1.6, QUALITY, i)
        for i, s in enumerate(late, first)
    )
    features = np.random.default_rng(first).normal(size=(len(raw), len(HEADS), D_HEAD)).astype(np.float32)
    shares = np.random.default_rng(first).normal(size=(len(raw), len(HEADS)))
    novelty = novelty_of(len(raw), first) if has_novelty else None
    return ScoredBatch(segments, features, np.array(raw, np.float64), shares, resumed=resumed, novelty=novelty)


def cut(raw: Sequence[float], size: int, hole: int | None = None, has_novelty: bool = False) -> list[ScoredBatch]:
    return [batch(raw[i : i + size], i, hole=hole, has_novelty=has_novelty) for i in range(0, len(raw), size)]


def generator(batches: Sequence[ScoredBatch]) -> Generator[ScoredBatch]:
    yield from batches


def recorder(log: Tables, share: float = 0.0) -> Recorder:
    return Recorder(log, "all", share)  # type: ignore[arg-type]


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from(["offline", "causal"]),
)
def test_rows_hold_the_smoothed_scores_of_the_whole_video_however_it_is_cut(
    raw: list[float], size: int, sigma: float, smoothing: Any
) -> None:
    log, point = Tables(), OperatingPoint(sigma, 0.5, smoothing)
    batches = recorder(log).record(fake_detector(point), "v", generator(cut(raw, size)))
    assert [len(b.raw) for b in batches] == [len(b.raw) for b in cut(raw, size)]
    rows = log.rows()
    assert rows["raw"] == raw
    assert rows["segment"] == list(range(len(raw)))
    np.testing.assert_allclose(rows["smoothed"], smooth(np.array(raw), sigma, smoothing), atol=1e-12)
    assert rows["in_event"] == [s > 0.5 for s in rows["smoothed"]]


@given(
    st.lists(st.floats(0.01, 0.99), min_size=1, max_size=60),
    st.integers(1, 9),
    st.sampled_from([0.0, 2.0]),
    st.sampled_from(["offline", "causal"]),
    st.none() | st.integers(1, 59),
)
def test_what_is_strange_all_the_time_is_not_in_the_smoothed_scores_and_can_be_computed_again(
    raw: list[float], size: int, sigma: float, smoothing: Any, hole: int | None
) -> None:
    log, point = Tables(), OperatingPoint(sigma, 0.5, smoothing)
    batches = cut(raw, size, hole, has_novelty=True)
    list(recorder(log).record(fake_detector(point), "v", generator(batches)))
    rows = log.rows()
    assert rows["raw"] == raw
    assert rows["novelty"] == novelty_of(len(raw)).tolist()
    segments = [segment for part in batches for segment in part.segments]
    expected, _ = located(segments, np.array(raw), point, np.array(rows["novelty"]))
    np.testing.assert_allclose(rows["smoothed"], expected, atol=1e-12)


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=40),
    st.integers(1, 9),
    st.sampled_from(["offline", "causal"]),
    st.data(),
)
def test_rows_hold_no_score_smoothed_across_a_hole(
    raw: list[float], size: int, smoothing: Any, data: st.DataObject
) -> None:
    hole = data.draw(st.integers(1, len(raw) - 1))
    log, point = Tables(), OperatingPoint(2.0, 0.5, smoothing)
    list(recorder(log).record(fake_detector(point), "v", generator(cut(raw, size, hole))))
    parts = [smooth(np.array(part), 2.0, smoothing) for part in (raw[:hole], raw[hole:])]
    np.testing.assert_allclose(log.rows()["smoothed"], np.concatenate(parts), atol=1e-12)


def test_a_causal_score_is_logged_at_once_and_an_offline_one_after_its_neighbours() -> None:
    for smoothing, waiting in (("causal", 0), ("offline", 4)):
        log, point = Tables(), OperatingPoint(1.0, 0.5, smoothing)  # type: ignore[arg-type]
        detector = fake_detector(point)
        rows = PassRows(log, metadata_of(detector, point, "none"), point, {
            "camera": "c", "video": "v", "pass_id": "p"
        }, None)  # type: ignore[arg-type]  # fmt: skip
        rows.add(batch([0.1] * 10, 0))
        assert len(log.rows()["raw"]) == 10 - waiting
        rows.finish()
        assert len(log.rows()["raw"]) == 10


def test_what_an_earlier_run_has_logged_is_not_logged_again_but_counts_for_the_smoothing() -> None:
    raw = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    log = Tables()
    batches = [batch(raw[:3], 0, resumed=True), batch(raw[3:], 3)]
    list(recorder(log).record(fake_detector(), "v", generator(batches)))
    rows = log.rows()
    assert rows["segment"] == [3, 4, 5]
    np.testing.assert_allclose(rows["smoothed"], smooth(np.array(raw), 1.0)[3:], atol=1e-12)


def test_who_stops_early_has_logged_what_was_scored_and_closes_the_scoring() -> None:
    log = Tables()
    scoring = generator(cut([0.2] * 12, 3))
    with closing(recorder(log).record(fake_detector(), "v", scoring)) as batches:
        next(batches)
        next(batches)
    assert len(log.rows()["raw"]) == 6
    assert next(scoring, None) is None


def test_names_times_quality_and_losses_are_in_the_rows() -> None:
    log = Tables()
    options, recorded = Options(), START
    list(recorder(log).record(fake_detector(), "yard/a.mp4", generator(cut([0.1] * 3, 2)), options, recorded=recorded))
    rows = log.rows()
    assert set(rows["camera"]) == {"yard"}
    assert set(rows["video"]) == {"yard/a.mp4"}
    assert len(set(rows["pass_id"])) == 1
    assert rows["time"] == [START + timedelta(seconds=1.6 * i) for i in range(3)]
    assert rows["dropped_frames"] == [0, 1, 2]
    np.testing.assert_allclose(rows["brightness"], 0.5)
    list(recorder(log).record(fake_detector(), "a.mp4", generator(cut([0.1], 1)), camera="gate", pass_id="one"))
    assert (log.rows()["camera"][-1], log.rows()["pass_id"][-1]) == ("gate", "one")


def test_without_a_log_nothing_stands_between_detector_and_report() -> None:
    scoring, scorer = generator([]), Mock(spec=ModelReader)
    nobody = Recorder(None)
    assert nobody.record(fake_detector(), "v", scoring) is scoring
    assert nobody.probing(fake_detector(), scorer) is scorer  # type: ignore[arg-type]


def test_a_log_that_fails_fails_no_score(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_logged", set())

    class Broken(Tables):
        def put(self, metadata: object, table: pa.Table) -> None:
            raise OSError("no log today")

    expected = cut([0.2] * 9, 2)
    assert list(recorder(Broken()).record(fake_detector(), "v", generator(expected))) == expected
    assert caplog.text.count("scoring goes on: no log today") == 1


def test_errors_are_swallowed_only_where_they_are_errors() -> None:
    with pytest.raises(KeyboardInterrupt), log_errors():
        raise KeyboardInterrupt


class Model:
    """Reads features that say which prompt was asked."""

    def __init__(self) -> None:
        self.n_read: list[int] = []

    def features(
        self, pixels: torch.Tensor, prompts: Sequence[str], heads: object, cache: VisionCache, frames: Sequence[object]
    ) -> np.ndarray:
        self.n_read.append(len(pixels))
        assert len(frames) == len(pixels)
        return np.stack([np.full((len(pixels), len(HEADS), D_HEAD), i, np.float32) for i in range(len(prompts))])


class Shared:
    """A scorer that notes whether the probe asked for the model."""

    def __init__(self) -> None:
        self.exclusive_uses = 0

    def read(self, batch: PixelBatch) -> FeatureBatch:
        return FeatureBatch(batch.segments, np.full((len(batch.segments), len(HEADS), D_HEAD), 7, np.float32))

    def exclusive(self) -> nullcontext[None]:
        self.exclusive_uses += 1
        return nullcontext()


def pixel_batch(n: int) -> PixelBatch:
    return PixelBatch(batch([0.0] * n, 0).segments, torch.zeros(n, 1, 3, 2, 2), VisionCache(0.1))


def test_the_probe_reads_its_share_under_all_prompts_where_the_model_is_free() -> None:
    detector, shared = fake_detector(), Shared()
    detector.extractor = Model()
    scored = ProbingReader(detector, shared, 0.3).read(pixel_batch(200))
    chosen = [i for i in range(200) if is_probed("v", 4 * i, 0.3)]
    assert 30 < len(chosen) < 90
    assert list(scored.prompt_readings) == chosen
    assert detector.extractor.n_read == [len(chosen)]
    assert shared.exclusive_uses == 1
    reading = scored.prompt_readings[chosen[0]]
    logits = [detector.scorer.bias + i * detector.scorer.weight.sum() for i in range(2)]
    np.testing.assert_allclose(reading.scores, 1 / (1 + np.exp(-np.array(logits))), atol=1e-6)
    np.testing.assert_allclose(reading.contributions.sum(1) + detector.scorer.bias, logits, atol=1e-6)


def test_one_prompt_is_nothing_to_compare_and_a_failing_probe_leaves_the_scores() -> None:
    detector = fake_detector(prompts=("a?",))
    detector.extractor = Model()
    assert not ProbingReader(detector, Shared(), 1.0).read(pixel_batch(3)).prompt_readings
    broken = fake_detector()  # without a model
    scored = ProbingReader(broken, Shared(), 1.0).read(pixel_batch(3))
    assert np.all(scored.features == 7)
    assert not scored.prompt_readings


def test_scores_relative_to_a_background_are_not_probed_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    detector, reader, active = fake_detector(), Shared(), recorder(Tables(), share=1.0)
    assert isinstance(active.probing(detector, reader), ProbingReader)
    detector.scorer = Scorer(HEADS, np.zeros(2 * len(HEADS) * D_HEAD), 0.0, background="ema")
    assert [active.probing(detector, reader) for _ in range(2)] == [reader, reader]
    assert [r.message for r in caplog.records if "not probed" in r.message] == [caplog.messages[-1]]


def test_a_batch_whose_parts_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 segments, 1 features"):
        FeatureBatch(batch([0.1, 0.2], 0).segments, np.zeros((1, 2, 3), np.float32))
    with pytest.raises(ValueError, match="2 segments, 1 features, 1 scores, 1 contributions"):
        ScoredBatch(batch([0.1, 0.2], 0).segments, np.zeros((1, 2, 3), np.float32), np.zeros(1), np.zeros((1, 2)))


def test_the_log_of_a_real_folder_is_closed_with_the_recording(tmp_path: Path) -> None:
    settings = Settings(prediction_log=str(tmp_path / "log"), probe_share=0.0, log_retention_days=36_500)
    with closing(recorder_of(settings)) as active:
        list(active.record(fake_detector(), "yard/a.mp4", generator(cut([0.1] * 5, 2)), recorded=START))
    assert list((tmp_path / "log").glob("day=2026-03-01/camera=yard/*.parquet"))


@pytest.mark.parametrize("smoothing", ["causal", "offline"])
def test_a_pass_that_lasts_for_weeks_does_not_grow(smoothing: Any) -> None:
    log, point = Tables(), OperatingPoint(1.0, 0.5, smoothing)
    detector = fake_detector(point)
    names = {"camera": "c", "video": "v", "pass_id": "p"}
    rows = PassRows(log, metadata_of(detector, point, "none"), point, names, None)  # type: ignore[arg-type]
    sizes = []
    for i in range(200):
        rows.add(batch([i / 200], i))
        sizes.append(len(rows._scores) + len(rows._edges) + len(rows._rows))
    assert max(sizes[100:]) <= max(sizes[:20])
