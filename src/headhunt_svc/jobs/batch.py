"""An archive without a queue: the same rows from one process or from the actors of Ray Data.

OUT/results/ab/KEY.json is a video's row, OUT/rows/part-*.parquet all of them in the order of the inputs. A run that was
cut off is started again with the same command: videos whose row is there are not scored again; those that failed are.
OUT/work (on an object store a temporary folder of each machine) holds checkpoints of long videos while it runs.
"""

import hashlib
import json
import logging
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import fsspec
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.pipeline import scoring_code
from headhunt_svc.errors import ConfigError, HeadHuntError, OutputError, UnreachableError
from headhunt_svc.jobs.inputs import of_store
from headhunt_svc.jobs.isolated import Outcome, Scorer, backoff_s, tried
from headhunt_svc.jobs.models import Input, JobOptions, Row
from headhunt_svc.jobs.rows import row, tables
from headhunt_svc.jobs.store import Store
from headhunt_svc.settings import JobSettings
from headhunt_svc.storage.files import write_file, write_text

ROWS_IN_PART = 1000
MOST_BLOCKS = 4096  # pieces of work that Ray keeps account of
WORK = "work"
Engine = Literal["local", "ray"]


@dataclass(frozen=True, slots=True)
class Done:
    """What a run came to; n_kept were there before."""

    n_videos: int
    n_failed: int
    n_kept: int


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on a disk or in an object store.

    Raises:
        UnreachableError: from its methods, the store does not answer, or nothing can be written.
    """

    out: str
    is_local: bool

    @classmethod
    def at(cls, out: str) -> "Place":
        """A path or URI. Raises ConfigError: no store of this kind."""
        try:
            fs, root = fsspec.core.url_to_fs(out)
        except (ValueError, ImportError) as exc:
            raise ConfigError(f"{out}: {exc}") from exc
        local = "file" in fs.protocol
        return cls(str(Path(root).absolute()) if local else out, local)

    def write(self, name: str, text: str) -> None:
        """A file; whole or not at all."""
        if self.is_local:
            write_text(Path(self.out) / name, text)
            return
        with of_store(f"cannot write {self.out}/{name} now"):
            fs, root = fsspec.core.url_to_fs(self.out)
            fs.pipe_file(f"{root}/{name}", text.encode())  # stores show an object once it is complete

    def results(self) -> frozenset[str]:
        """Names of the rows that are there."""
        with of_store(f"cannot list {self.out} now"):
            fs, root = fsspec.core.url_to_fs(self.out)
            found = fs.glob(f"{root}/results/*/*.json")
            return frozenset("/".join(path.split("/")[-3:]) for path in found)

    def read(self, name: str) -> str | None:
        """A file's text, None if there is none."""
        with of_store(f"cannot read {self.out}/{name} now"):
            fs, root = fsspec.core.url_to_fs(self.out)
            try:
                return str(fs.cat_file(f"{root}/{name}").decode())
            except FileNotFoundError:
                return None

    def write_parts(self, rows: Iterator[Row]) -> None:
        """All rows, as parts of up to ROWS_IN_PART."""
        names = set()
        for i, table in enumerate(tables(rows, ROWS_IN_PART)):
            names.add(name := f"part-{i:05d}.parquet")
            if self.is_local:
                write_file(Path(self.out) / "rows" / name, lambda path, of=table: pq.write_table(of, path))  # type: ignore[misc]
                continue
            with of_store(f"cannot write {self.out}/rows/{name} now"):
                fs, root = fsspec.core.url_to_fs(self.out)
                with fs.transaction, fs.open(f"{root}/rows/{name}", "wb") as f:
                    pq.write_table(table, f)
        with of_store(f"cannot tidy {self.out}/rows now"):
            fs, root = fsspec.core.url_to_fs(self.out)
            for stale in fs.glob(f"{root}/rows/part-*.parquet"):
                if stale.rsplit("/", 1)[-1] not in names:
                    fs.rm(stale)


def _row_name(video: Input, made_by: Sequence[object]) -> str:
    """Names a row by its video as the store describes it now, and by what scores it.

    A video that the store cannot describe now gets a name of its own: no row that is there may be taken for its row.
    """
    try:
        fs, path = fsspec.core.url_to_fs(video.uri)
        info = fs.info(path)
        stamp = [str(info.get(k)) for k in ("size", "mtime", "ETag", "LastModified", "md5Hash", "created")]
    except Exception:  # each store raises what its own library raises; fetching the video will say what is wrong
        stamp = [secrets.token_hex()]
    key = hashlib.sha256(json.dumps([video.model_dump(), stamp, made_by]).encode()).hexdigest()[:32]
    return f"results/{key[:2]}/{key}.json"


class BatchScorer:
    """Scores videos one by one; the local engine calls it, Ray Data makes one in every actor.

    The scoring itself is in a process of its own, as a worker's is; it ends when this one does, however that happens.
    """

    def __init__(self, bundle: str, out: Place, options: JobOptions) -> None:
        self.settings, self.place, self.options = JobSettings(), out, options
        self._made = None if out.is_local else tempfile.TemporaryDirectory(prefix="headhunt-")
        self.store = Store(Path(self._made.name) if self._made else Path(out.out) / WORK)
        self.scorer = Scorer(Path(bundle), self.store.folder, self.settings.checkpoint_s)
        self.scorer.start()

    def score(self, video: Input, name: str) -> str:
        """Write a video's row; returns the error instead where it cannot be scored, else nothing."""

        def attempt() -> Outcome:
            out = self.scorer.score(video, self.options, lambda: None)
            if "result" in out:
                report = self.store.result(out["result"], video.video_id)
                made = row(video.uri, video.video_id, "succeeded", None, report)
                try:
                    self.place.write(name, json.dumps(made, allow_nan=False) + "\n")
                except (OutputError, UnreachableError) as exc:
                    return {"trouble": str(exc)}
            return out

        def waiting(cause: str, why: str, n: int) -> None:
            time.sleep(backoff_s(n, self.settings))

        return str(tried(attempt, self.settings, waiting, self.settings.attempts).get("error", ""))

    def close(self) -> None:
        """End the process that scores."""
        self.scorer.close()
        if self._made is not None:
            self._made.cleanup()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """For Ray Data: columns in, columns out."""
        columns = zip(batch["uri"], batch["video_id"], batch["name"], strict=True)
        errors = [self.score(Input(uri=str(u), video_id=str(v)), str(n)) for u, v, n in columns]
        return {"name": list(batch["name"]), "error": errors}


def _local(scorer: dict[str, Any], todo: list[tuple[Input, str]]) -> Iterator[tuple[str, str]]:
    made = BatchScorer(**scorer)
    try:
        for video, name in todo:
            yield name, made.score(video, name)
    finally:
        made.close()


def _ray(scorer: dict[str, Any], todo: list[tuple[Input, str]], actors: int | None) -> Iterator[tuple[str, str]]:
    try:
        import ray
        import ray.data
    except ImportError as exc:
        raise ConfigError("Ray is not installed: pip install 'headhunt-svc[ray]'") from exc
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False  # ours counts videos
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    n = actors or max(gpus, 1)
    rows = [{"uri": v.uri, "video_id": v.video_id, "name": name} for v, name in todo]
    scored = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map_batches(
        BatchScorer,
        fn_constructor_kwargs=scorer,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=n),
        num_gpus=1 if gpus else 0,
        num_cpus=1,
    )
    try:
        for found in scored.iter_rows():
            yield str(found["name"]), str(found["error"])
    except ray.exceptions.RayError as exc:
        why = str(exc).strip().splitlines()[-1]
        raise HeadHuntError(f"Ray gave up ({why}): run the same command again, what is done stays") from exc


def run(
    videos: Sequence[Input],
    out: str,
    bundle: Path,
    options: JobOptions,
    engine: Engine = "local",
    actors: int | None = None,
    note: Callable[[str], object] = lambda _: None,
) -> Done:
    """Score every video that has no row yet, then write the tables.

    note: told of every video that failed.

    Raises:
        ConfigError, ArtifactError: nothing can be scored like this. OutputError, UnreachableError: nothing can be
            written there.
    """
    made, _ = load_bundle(bundle)
    made.operating_point(options.operating_point, options.smoothing)
    place = Place.at(out)
    names = {v.uri: _row_name(v, [made.detector_id, scoring_code(), options.model_dump()]) for v in videos}
    there = place.results()
    todo = [(v, names[v.uri]) for v in videos if names[v.uri] not in there]
    scorer = {"bundle": str(bundle.absolute()), "out": place, "options": options}
    errors: dict[str, str] = {}
    if todo:
        found = _local(scorer, todo) if engine == "local" else _ray(scorer, todo, actors)
        for name, error in track(found, "videos", len(todo), console=Console(stderr=True)):
            if error:
                errors[name] = error
                note(error)

    def rows() -> Iterator[Row]:
        for v in videos:
            text = place.read(names[v.uri])
            yield json.loads(text) if text else row(v.uri, v.video_id, "failed", errors[names[v.uri]])

    place.write_parts(rows())
    if place.is_local:
        shutil.rmtree(Path(place.out) / WORK, ignore_errors=True)
    return Done(len(videos), len(errors), len(videos) - len(todo))
