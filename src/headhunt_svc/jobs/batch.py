"""Scores an archive without a queue, in this process or on a Ray cluster, with the same rows.

OUT/results/ab/KEY.json is the row of one video, OUT/rows/part-*.parquet holds all rows in the order of the inputs. The
same command continues a run that was interrupted: videos that have a row are not scored again, failed ones are.
OUT/work holds checkpoints of long videos during a run; where OUT is an object store, a temporary folder does.
"""

import hashlib
import json
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import fsspec
from rich.console import Console
from rich.progress import track

from headhunt_svc.detector.bundle import check_point, load_bundle
from headhunt_svc.detector.in_order import Check, NotNeededError, in_order
from headhunt_svc.detector.report import scoring_code
from headhunt_svc.errors import ConfigError, HeadHuntError, OutputError, UnreachableError, name_video
from headhunt_svc.jobs.models import AttemptOutcome, JobOptions, JobVideo, Row
from headhunt_svc.jobs.process import POLL_S, ScoringProcess
from headhunt_svc.jobs.retry import backoff_s, retry
from headhunt_svc.jobs.rows import row, tables
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.names import is_file_uri, path_of
from headhunt_svc.settings import JobSettings
from headhunt_svc.storage.json_text import parse_json
from headhunt_svc.storage.locks import exclusive
from headhunt_svc.storage.scratch import temporary_folder
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import parquet_bytes

ROWS_PER_PART = 1000
MAX_BLOCKS = 4096  # units of work that Ray keeps track of
WORK = "work"
Engine = Literal["local", "ray"]
Item = dict[str, str]  # a video: uri, video_id, name of its row; once it is scored: error


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Videos of a run: all, failed, and already scored by an earlier run."""

    n_videos: int
    n_failed: int
    n_kept: int


def _row_name(video: JobVideo, lineage: Sequence[object]) -> str:
    """Name of a video's row, made of the video (as its store describes it now) and of what scores it.

    A video that its store cannot describe gets a random name, so that no row of an earlier run is taken for its row.
    """
    try:
        fs, path = fsspec.core.url_to_fs(str(path_of(video.uri)) if is_file_uri(video.uri) else video.uri)
        info = fs.info(path)
        version = [str(info.get(k)) for k in ("size", "mtime", "ETag", "LastModified", "md5Hash", "created")]
    except Exception:  # every store's library has its own; fetching the video will report the cause
        version = [secrets.token_hex()]
    key = hashlib.sha256(json.dumps([video.model_dump(exclude_none=True), version, lineage]).encode()).hexdigest()[:32]
    return f"results/{key[:2]}/{key}.json"


class BatchScorer:
    """Scores videos, several at once where it is called by several threads; Ray Data makes one object in each actor.

    The model runs in a process of its own, as a worker's does; it ends when this process ends in any way.
    """

    def __init__(self, bundle: str, store: Store, options: JobOptions) -> None:
        self.settings, self.store, self.options = JobSettings(), store, options
        self._temporary = temporary_folder()
        work = store.folder / WORK if store.folder is not None else self._temporary
        self.results = ResultStore(work, durable=False)  # what a power failure takes is scored again
        self.process = ScoringProcess(Path(bundle), self.results, self.settings.checkpoint_s, "archive")
        self.process.start()

    def __call__(self, item: Item, check: Check = lambda: None) -> Item:
        """Score a video and write its row; `error`: why it cannot be scored, otherwise an empty text.

        check: raises NotNeededError where the work must stop.
        """
        video = JobVideo(uri=item["uri"], video_id=item["video_id"])

        def wait(cause: str, reason: str, attempt: int) -> None:
            until = time.monotonic() + backoff_s(attempt, self.settings)
            while (left_s := until - time.monotonic()) > 0:
                check()
                time.sleep(min(left_s, POLL_S))

        def attempt(alone: bool) -> AttemptOutcome:
            return self._attempt(video, item["name"], check, alone)

        outcome = retry(attempt, self.settings, wait, self.settings.attempts)
        return {**item, "error": outcome.get("error", "")}

    def _attempt(self, video: JobVideo, name: str, check: Check, alone: bool) -> AttemptOutcome:
        def stop() -> str | None:
            try:
                check()
            except NotNeededError as exc:
                return str(exc)
            return None

        outcome = self.process.score(video, self.options, stop, alone=alone)
        if "result" in outcome:
            report = self.results.result(outcome["result"], video.video_id)
            line = json.dumps(row(video.uri, video.video_id, "succeeded", None, report), allow_nan=False) + "\n"
            try:
                self.store.write(name, line.encode())
            except (OutputError, UnreachableError) as exc:
                return {"trouble": str(exc)}
        return outcome

    def close(self) -> None:
        """End the process that scores."""
        self.process.close()
        shutil.rmtree(self._temporary, ignore_errors=True)


def _score_here(arguments: dict[str, Any], items: list[Item]) -> Iterator[Item]:
    """Scores the videos in this process."""
    with closing(BatchScorer(**arguments)) as scorer, closing(in_order(items, scorer, scorer.process)) as scored:
        for _, item in scored:
            yield item.result()


def _score_on_ray(arguments: dict[str, Any], items: list[Item], actors: int | None) -> Iterator[Item]:
    """Scores the videos in the actors of a Ray cluster."""
    try:
        import ray
        import ray.data
    except ImportError as exc:
        raise ConfigError("Ray is not installed: pip install 'headhunt-svc[ray]'") from exc
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False  # `run` shows its own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    n = actors or max(gpus, 1)
    scored = ray.data.from_items(items, override_num_blocks=min(len(items), MAX_BLOCKS)).map(
        BatchScorer,  # type: ignore[arg-type]  # a class, of which each actor makes one callable
        fn_constructor_kwargs=arguments,
        compute=ray.data.ActorPoolStrategy(size=n),
        num_gpus=1 if gpus else 0,
        num_cpus=1,
    )
    try:
        yield from scored.iter_rows()
    except ray.exceptions.RayError as exc:
        reason = (str(exc).strip().splitlines() or [type(exc).__name__])[-1]
        raise HeadHuntError(f"Ray gave up ({reason}): run the same command again, what is done stays") from exc


def rows_of_earlier_runs(store: Store) -> set[str]:
    """The names of the rows of earlier runs, without those that a disk has damaged; object stores check theirs."""
    names = store.glob("results/*/*.json")
    return {name for name in names if store.folder is None or _is_row(store.read(name))}


def _is_row(content: bytes) -> bool:
    try:
        return isinstance(parse_json(content), dict)
    except ValueError:
        return False


def _write_parts(store: Store, rows: Iterable[Row]) -> None:
    """Write all rows as parquet files of up to ROWS_PER_PART rows, and remove those of an earlier, longer run."""
    names = set()
    for i, table in enumerate(tables(rows, ROWS_PER_PART)):
        names.add(name := f"rows/part-{i:05d}.parquet")
        store.write(name, parquet_bytes(table), durable=True)
    for stale in set(store.glob("rows/part-*.parquet")) - names:
        store.remove(stale)


@contextmanager
def _sole_run(folder: Path | None) -> Iterator[None]:
    """Write to a folder as the only run; None: an object store, which has no locks.

    The lock lies in the folder: beside one that is mounted, nothing may be writable.
    """
    if folder is None:
        yield
        return
    with exclusive(folder / ".lock", wait_s=0):
        yield


def run(
    videos: Sequence[JobVideo],
    out: str,
    bundle: Path,
    options: JobOptions,
    engine: Engine = "local",
    actors: int | None = None,
    note: Callable[[str], object] = lambda _: None,
) -> BatchCounts:
    """Score every video that has no row yet, then write the tables.

    out: folder or URI. note: called with the error of each video that failed.

    Raises:
        ConfigError: options, engine or `out` cannot be used. ArtifactError: no bundle.
        OutputError, UnreachableError: `out` cannot be written, or another run writes there (noticed on a disk only).
    """
    detector, scorer = load_bundle(bundle)
    check_point(detector, scorer, options.operating_point, options.smoothing)
    store = Store(out)
    with _sole_run(store.folder):
        lineage = [detector.detector_id, scoring_code(), options.model_dump()]
        names = {v.uri: _row_name(v, lineage) for v in videos}
        kept = rows_of_earlier_runs(store)
        todo = [
            {"uri": v.uri, "video_id": v.video_id, "name": names[v.uri]} for v in videos if names[v.uri] not in kept
        ]
        errors: dict[str, str] = {}
        if todo:
            arguments = {"bundle": str(bundle.resolve()), "store": store, "options": options}
            scored = _score_here(arguments, todo) if engine == "local" else _score_on_ray(arguments, todo, actors)
            for item in track(scored, "videos", len(todo), console=Console(stderr=True)):
                if item["error"]:
                    errors[item["name"]] = item["error"]
                    note(name_video(item["video_id"], item["uri"], item["error"]))

        def rows() -> Iterator[Row]:
            for v in videos:
                name = names[v.uri]
                yield row(v.uri, v.video_id, "failed", errors[name]) if name in errors else parse_json(store.read(name))

        _write_parts(store, rows())
        if store.folder is not None:
            shutil.rmtree(store.folder / WORK, ignore_errors=True)
        return BatchCounts(len(videos), len(errors), len(videos) - len(todo))
