"""detect: videos + bundle -> reports. The CLI verb and the DVC stage are the same loop."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from headhunt_svc.data.datasets import load_index
from headhunt_svc.data.feature_store import FeatureStore, Source
from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.detector.decoders import Decoders, TurnReader, video_mib
from headhunt_svc.detector.in_order import Check, in_order
from headhunt_svc.detector.options import DEFAULT_OPERATING_POINT, Options
from headhunt_svc.detector.pipeline import Detector, Reporter, stream_of
from headhunt_svc.detector.report import Report, load_report, save_report, save_shares
from headhunt_svc.errors import ArtifactError, VideoError, list_problems, name_video
from headhunt_svc.model.attribution import Attribution
from headhunt_svc.names import camera_of
from headhunt_svc.pipeline.files import Input, Outputs, Passes, report_path
from headhunt_svc.pipeline.shards import shard_key
from headhunt_svc.pipeline.stored_scores import StoringReader, stored_batches
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.settings import Settings
from headhunt_svc.storage.files import check_writable, remove_leftovers
from headhunt_svc.storage.locks import sole_writer
from headhunt_svc.types import OperatingPoint, Polygon, Split
from headhunt_svc.video.opening import open_video
from headhunt_svc.video.source import VideoFacts, VideoSource

if TYPE_CHECKING:
    from headhunt_svc.events.recording import EventRecorder

SHARES = ".shares.safetensors"
_DRAWING = threading.Lock()  # matplotlib draws in one thread at a time


def _kept(path: Path, reporter: Reporter, options: Options, masks: tuple[Polygon, ...] = ()) -> Report | None:
    """The report of an earlier run of this detector with these options, if it is there and readable."""
    try:
        report = load_report(path)
    except ArtifactError:
        return None
    point = OperatingPoint(report.sigma_segments, report.threshold, report.smoothing)
    source = (report.detector_id, report.code, report.normality, report.correction, report.operating_point, point)
    current = (reporter.detector_id, reporter.code, reporter.normality, reporter.correction, options.operating_point)
    contributions = any(s.contributions is not None for s in report.scores)
    prompt = reporter.description_prompt if options.describe else None
    same = contributions == options.contributions and report.description_prompt == prompt
    same &= report.lineage.masks == masks
    return report if same and source == (*current, reporter.operating_point(options)) else None


def _is_newer(video: Path, report: Path) -> bool:
    """Did the file or link of this name come here, or change, after the report was written? Times that `cp -p` keeps
    say nothing about that."""
    return max(video.stat().st_ctime_ns, video.lstat().st_ctime_ns) >= report.stat().st_mtime_ns


def _finished(path: Path, item: Input, reporter: Reporter, options: Options) -> Report | None:
    """The report of an earlier run, if it is also of the file and the stream that this run would read."""
    report = _kept(path, reporter, options, item.masks)
    if report is None or not item.path.exists() or _is_newer(item.path, path):
        return None
    if report.stream is not None or options.stream is not None:
        with open_video(item.path, stream=options.stream) as opened:
            if stream_of(opened) != report.stream:
                return None
    return report


def _save_shares(target: Path, report: Report, video: Path, detector: Detector, parts: Sequence[Attribution]) -> None:
    """Numbers and picture of what spoke for and against the events, beside a report."""
    of_heads, of_pictures = (np.concatenate([getattr(p, name) for p in parts]) for name in ("heads", "pictures"))
    from headhunt_svc.pipeline.plots import shares  # its libraries are slow to import

    heads = detector.scorer.heads
    save_shares(target.with_suffix(SHARES), report, heads, of_heads, of_pictures)
    picture = target.with_suffix(".shares.png")
    shares(picture, report, video, detector.bundle.segmentation, heads, of_heads, of_pictures)


def _drawn(
    batches: Iterable[ScoredBatch], item: Input, progress: Progress, task: TaskID, check: Check
) -> Iterator[ScoredBatch]:
    """The same batches; draws how far the video is. check: called with each; raises if the work must stop."""
    for batch in batches:
        check()
        progress.update(task, description=f"{item.video_id} {batch.stop_s:.0f} s")
        yield batch


def _video_mib(detector: Detector, video: VideoSource) -> int:
    return video_mib(video.size, detector.bundle.segmentation, detector.extractor, detector.batch_segments)


def _camera(item: Input) -> str:
    """The camera of a video."""
    return item.camera or camera_of(item.video_id, item.path)


def detect_video(
    detector: Detector,
    item: Input,
    outputs: Outputs,
    options: Options,
    recorder: Recorder,
    camera: str | None,
    progress: Progress,
    task: TaskID,
    keep: Callable[[Input, ScoredBatch], None] | None,
    events: "EventRecorder | None",
    decoders: Decoders,
    check: Check,
) -> Callable[[], Report]:
    """Score one video and write its report, unless that is there already; keep, events: see detect_videos.

    check: raises if the work must stop. Returns what stores the events, in the order of the videos: events of one
    camera merge.
    """
    target = report_path(outputs.folder, item.video_id) if outputs.folder is not None else None
    name = camera or _camera(item)
    detector = detector.at(name)
    if outputs.resume and target is not None:
        kept = _finished(target, item, detector, options)
        if kept is not None and (not outputs.explain or target.with_suffix(SHARES).exists()):
            earlier = kept
            return lambda: earlier
    attributions: list[Attribution] = []

    def watched(batches: Iterable[ScoredBatch]) -> Iterator[ScoredBatch]:
        """The same batches; keeps their attributions."""
        for batch in _drawn(batches, item, progress, task, check):
            if keep is not None:
                keep(item, batch)
            if batch.attribution is not None and target is not None:
                attributions.append(batch.attribution)
            yield batch

    with (
        open_video(item.path, item.video_id, stream=options.stream, masks=item.masks) as video,
        decoders.memory(_video_mib(detector, video), check),
    ):
        own = TurnReader(detector.model_reader(outputs.explain), decoders, detector.extractor.device)
        reader = recorder.probing(detector, own)
        event_watch = None if events is None else events.watch(detector, options, item.event_rules)
        source = video if event_watch is None else event_watch.source(video)
        batches = detector.score(source, reader, options=options)
        batches = recorder.record(detector, item.video_id, batches, options, camera=name)
        batches = batches if event_watch is None else event_watch.record(batches)
        with closing(batches):
            report = detector.report(video, watched(batches), options)
    if target is not None:
        save_report(target, report)
        with _DRAWING:
            if outputs.plot:
                from headhunt_svc.pipeline.plots import timeline  # as above

                timeline(target.with_suffix(".png"), report, item.path, detector.bundle.segmentation, item.truth)
            if outputs.explain:
                _save_shares(target, report, item.path, detector, attributions)

    def finish() -> Report:
        if event_watch is not None:
            event_watch.store_own(report, item.path, name)
        return report

    return finish


def detect_videos(
    detector: Detector,
    inputs: Sequence[Input],
    outputs: Outputs = Outputs(),
    options: Options = Options(),
    *,
    recorder: Recorder | None = None,
    camera: str | None = None,
    keep: Callable[[Input, ScoredBatch], None] | None = None,
    events: "EventRecorder | None" = None,
) -> Iterator[tuple[Input, Report | VideoError]]:
    """Score every input; results are in their order. A bad video never stops the others.

    Several are decoded at once where the model is faster than one decoder (detector/decoders.py).

    recorder: logs every segment. camera: of all videos; else of each as its input states or names.camera_of says.
    keep: called with every batch, of each video in order. events: stores the events of every video that is scored.

    Raises:
        ConfigError: see Detector.check; told before any video is decoded.
    """
    for each in {options, *(item.options for item in inputs if item.options)}:
        detector.check(each)
    if outputs.folder is not None:
        check_writable(outputs.folder)
    logging, decoders = recorder or Recorder(None), Decoders(Settings())

    def score(item: Input, progress: Progress, task: TaskID, check: Check) -> Callable[[], Report]:
        chosen = item.options or options
        return detect_video(
            detector, item, outputs, chosen, logging, camera, progress, task, keep, events, decoders, check
        )

    return _each(inputs, score, decoders)


def _each(
    inputs: Sequence[Input],
    score: Callable[[Input, Progress, TaskID, Check], Callable[[], Report]],
    decoders: Decoders,
) -> Iterator[tuple[Input, Report | VideoError]]:
    """The report of every input, or why there is none; draws progress.

    score: does the work for an input, in several threads at once; what it returns is called here, in order.
    """
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("detect", total=len(inputs))

        def work(item: Input, check: Check) -> Callable[[], Report]:
            return score(item, progress, task, check)

        with closing(in_order(inputs, work, decoders)) as finished:
            for item, scored in finished:
                result: Report | VideoError
                try:
                    result = scored.result()()
                except VideoError as exc:
                    result = exc
                yield item, result
                progress.advance(task)


def load_detector(bundle: Path, whole: bool = False) -> Detector:
    """Load a bundle and its model, and show meanwhile, on a terminal, that this takes a while (see Detector.load)."""
    with Console(stderr=True).status("loading the model"):
        return Detector.load(bundle, whole=whole)


def problem_of(item: Input, result: Report | VideoError) -> str | None:
    """Why a video was not scored whole, if it was not."""
    if isinstance(result, VideoError):
        reason = str(result)
    elif result.gaps:
        n = sum(gap.packets for gap in result.gaps)
        reason = f"{n} pictures could not be decoded ({result.gaps[0].reason})"
    else:
        return None
    return name_video(item.video_id, str(item.path), reason)


def whole_reports(results: Iterable[tuple[Input, Report | VideoError]]) -> Iterator[tuple[Input, Report]]:
    """The reports of videos that were scored whole.

    Raises:
        VideoError: after the last one, naming every video that was not.
    """
    problems: list[str] = []
    n = 0
    for item, result in results:
        n += 1
        if problem := problem_of(item, result):
            problems.append(problem)
        elif isinstance(result, Report):
            yield item, result
    if problems:
        raise VideoError(
            f"{len(problems)} of {n} videos could not be scored whole: {list_problems(problems)}: replace or repair "
            "them, or take them out of the annotations"
        )


class _StoredDetector:
    """Makes the reports of a split; decodes a video only where the store has no features of it that fit.

    The model is loaded when the first video is decoded.
    """

    def __init__(self, bundle: Path, store: FeatureStore, out: Path, options: Options) -> None:
        self._bundle, self._store, self._out, self._options = bundle, store, out, options
        self._reporter = Reporter.load(bundle)
        self._model = model_key(self._reporter.bundle.mllm, self._reporter.bundle.mllm_revision)
        self._prompts = (self._reporter.bundle.prompt,)
        self._sources: dict[str, str] = {}  # videos of which there are features: where each report came from
        self.decoders = Decoders(Settings())

    @cached_property
    def _detector(self) -> Detector:  # no lock: other threads ask for it once a first batch was read
        return Detector.load(self._bundle, whole=True)

    @property
    def videos(self) -> frozenset[str]:
        """The videos of which there are features."""
        return frozenset(self._sources)

    @property
    def passes(self) -> Passes:
        """How many reports came from where."""
        counts = Counter(self._sources.values())
        return Passes(**{name: counts[name] for name in Passes._fields})

    def report(self, item: Input, progress: Progress, task: TaskID, check: Check) -> Callable[[], Report]:
        """Write the report of a video, unless it is there already. check: raises if the work must stop.

        Raises:
            VideoError: the video cannot be read.
        """
        progress.update(task, description=item.video_id)
        if not os.path.isfile(item.path):  # noqa: PTH113 - no file either: a name that is too long
            with open_video(item.path):  # names what is wrong
                pass
        target = report_path(self._out, item.video_id)
        reporter = self._reporter.at(_camera(item))
        key = shard_key(item.path, self._model, None, self._prompts, self._reporter.bundle.segmentation)
        report: Report | None
        if self._store.key(item.video_id) != key:
            report, source = self._decoded(item, target, key, progress, task, check), "decoded"
        elif (report := _kept(target, reporter, self._options)) is not None:
            source = "reports"
        else:
            features = self._store.load(item.video_id)
            facts = VideoFacts(video_id=item.video_id)
            facts.update(features.state)
            report = reporter.report(facts, stored_batches(features, reporter.scorer), self._options)
            save_report(target, report)
            source = "stored"
        self._sources[item.video_id] = source
        ready = report
        return lambda: ready

    def _decoded(self, item: Input, target: Path, key: str, progress: Progress, task: TaskID, check: Check) -> Report:
        progress.update(task, description="loading the model")
        detector = self._detector.at(_camera(item))
        reader = StoringReader(detector)
        with (
            open_video(item.path, item.video_id) as video,
            self.decoders.memory(_video_mib(detector, video), check),
            closing(detector.score(video, TurnReader(reader, self.decoders, detector.extractor.device))) as batches,
        ):
            report = detector.report(video, _drawn(batches, item, progress, task, check), self._options)
        save_report(target, report)  # before its features: where a run stops in between, the next one decodes again
        source = Source(self._model, self._prompts, self._reporter.bundle.segmentation.model_dump_json())
        self._store.save(item.video_id, reader.features(video.state()), key, source)
        return report


def _inputs(index: Path, split: Split) -> list[Input]:
    return [Input(v.path, v.video_id, camera=v.camera) for v in load_index(index, split)]


def detect_split(
    bundle: Path, index: Path, split: Split, out: Path, operating_point: str = DEFAULT_OPERATING_POINT
) -> int:
    """A report for every video of a split, resumable; returns their number. Other files in `out` stay.

    Raises:
        VideoError: some video could not be scored (each is named), or has gaps.
    """
    inputs = _inputs(index, split)
    results = detect_videos(load_detector(bundle), inputs, Outputs(out, resume=True), Options(operating_point))
    return sum(1 for _ in whole_reports(results))


def detect_stored(
    bundle: Path, index: Path, split: Split, out: Path, features: Path, operating_point: str = DEFAULT_OPERATING_POINT
) -> Passes:
    """The stage detect: as `detect_split`, and keeps the outputs of all heads in the store `features`.

    After another choice of heads, scorer or operating point it makes the new reports from these, without decoding.
    `out` belongs to the stage: reports of other videos in it are deleted.

    Raises:
        VideoError: see detect_split.
        OutputError: another process does the same.
    """
    inputs, store = _inputs(index, split), FeatureStore(features, "headhunt detect --split test")
    detector = _StoredDetector(bundle, store, out, Options(operating_point))
    check_writable(out)
    with sole_writer(out), sole_writer(features):
        remove_leftovers(out)
        for stale in set(out.rglob("*.json")) - {report_path(out, item.video_id) for item in inputs}:
            stale.unlink()
        try:
            for _ in whole_reports(_each(inputs, detector.report, detector.decoders)):
                pass
        finally:
            stored = detector.videos
            store.finish(item.video_id for item in inputs if item.video_id in stored)
    return detector.passes
