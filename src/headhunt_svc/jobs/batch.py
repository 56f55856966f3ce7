"""An archive without a queue: the same rows from one process or from the actors of Ray Data.

OUT/results/ab/KEY.json is a video's row, OUT/rows/part-*.parquet all of them in the order of the inputs. A run that was
cut off is started again with the same command: videos whose row is there are not scored again; those that failed are.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import fsspec
import pyarrow.parquet as pq

from headhunt_svc.detector import Detector, scoring_code
from headhunt_svc.errors import ConfigError, HeadHuntError, OutputError
from headhunt_svc.io.artifacts import load_bundle
from headhunt_svc.io.files import write_text
from headhunt_svc.io.reports import Report
from headhunt_svc.jobs.inputs import local
from headhunt_svc.jobs.models import Input, JobOptions, Row
from headhunt_svc.jobs.rows import row, tables
from headhunt_svc.monitor.observe import detecting

ROWS_IN_PART = 1000
Engine = Literal["local", "ray"]


@dataclass(frozen=True, slots=True)
class Done:
    """What a run came to; n_kept were there before."""

    n_videos: int
    n_failed: int
    n_kept: int


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on a disk or in an object store."""

    out: str

    def write(self, name: str, text: str) -> None:
        """A file; whole or not at all. Raises OutputError."""
        fs, root = fsspec.core.url_to_fs(self.out)
        if "file" in fs.protocol:
            write_text(Path(root) / name, text)
            return
        try:
            fs.pipe_file(f"{root}/{name}", text.encode())  # stores show an object once it is complete
        except OSError as exc:
            raise OutputError(f"cannot write {self.out}/{name} ({exc}): run the same command again") from exc

    def read(self, name: str) -> str | None:
        """A file's text, None if there is none."""
        fs, root = fsspec.core.url_to_fs(self.out)
        try:
            return str(fs.cat_file(f"{root}/{name}").decode())
        except FileNotFoundError:
            return None

    def write_parts(self, rows: Iterator[Row]) -> None:
        """All rows, as parts of up to ROWS_IN_PART."""
        fs, root = fsspec.core.url_to_fs(self.out)
        folder = f"{root}/rows"
        fs.makedirs(folder, exist_ok=True)
        names = set()
        for i, table in enumerate(tables(rows, ROWS_IN_PART)):
            names.add(f"part-{i:05d}.parquet")
            with fs.transaction, fs.open(f"{folder}/part-{i:05d}.parquet", "wb") as f:
                pq.write_table(table, f)
        for stale in fs.glob(f"{folder}/part-*.parquet"):
            if stale.rsplit("/", 1)[-1] not in names:
                fs.rm(stale)


def _row_name(video: Input, made_by: Sequence[object]) -> str:
    """Names a row by its video as the store describes it now, and by what scores it."""
    fs, path = fsspec.core.url_to_fs(video.uri)
    try:
        info = fs.info(path)
    except OSError:  # the engine will say what is wrong
        info = {}
    stamp = [str(info.get(k)) for k in ("size", "mtime", "ETag", "LastModified", "md5Hash", "created")]
    key = hashlib.sha256(json.dumps([video.model_dump(), stamp, made_by]).encode()).hexdigest()[:32]
    return f"results/{key[:2]}/{key}.json"


class BatchScorer:
    """Scores videos one by one; the local engine calls it, Ray Data makes one in every actor."""

    def __init__(self, bundle: str, out: str, options: dict[str, Any]) -> None:
        self.detect = detecting(Detector.load(Path(bundle)))
        self.place, self.options = Place(out), JobOptions.model_validate(options).of_detector

    def score(self, video: Input, name: str) -> str | None:
        """Write a video's row; returns the error instead where it cannot be scored."""
        try:
            with local(video.uri, Path()) as path:
                report: Report = self.detect(path, video.video_id, self.options)
        except HeadHuntError as exc:
            return f"{type(exc).__name__}: {exc}"
        except OSError as exc:
            return f"{video.uri}: {exc.strerror or exc}"
        made = row(video.uri, video.video_id, "succeeded", None, report)
        self.place.write(name, json.dumps(made, allow_nan=False) + "\n")
        return None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """For Ray Data: columns in, columns out."""
        columns = zip(batch["uri"], batch["video_id"], batch["name"], strict=True)
        errors = [self.score(Input(uri=str(u), video_id=str(v)), str(n)) or "" for u, v, n in columns]
        return {"name": list(batch["name"]), "error": errors}


def _local(scorer: dict[str, Any], todo: list[tuple[Input, str]]) -> Iterator[tuple[str, str]]:
    made = BatchScorer(**scorer)
    for video, name in todo:
        yield name, made.score(video, name) or ""


def _ray(scorer: dict[str, Any], todo: list[tuple[Input, str]], actors: int | None) -> Iterator[tuple[str, str]]:
    try:
        import ray
        import ray.data
    except ImportError as exc:
        raise ConfigError("Ray is not installed: pip install 'headhunt-svc[ray]'") from exc
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    n = actors or max(gpus, 1)
    rows = [{"uri": v.uri, "video_id": v.video_id, "name": name} for v, name in todo]
    scored = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        BatchScorer,
        fn_constructor_kwargs=scorer,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=n),
        num_gpus=1 if gpus else 0,
        num_cpus=1,
    )
    for found in scored.iter_rows():
        yield str(found["name"]), str(found["error"])


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

    Raises:
        ConfigError, ArtifactError: nothing can be scored like this. OutputError: nothing can be written there.
    """
    made, _ = load_bundle(bundle)
    made.locator(options.operating_point, options.smoothing)
    place = Place(out if "://" in out else str(Path(out).absolute()))
    names = {v.uri: _row_name(v, [made.detector_id, scoring_code(), options.model_dump()]) for v in videos}
    todo = [(v, names[v.uri]) for v in videos if place.read(names[v.uri]) is None]
    scorer = {"bundle": str(bundle.absolute()), "out": place.out, "options": options.model_dump()}
    errors: dict[str, str] = {}
    if todo:
        found = _local(scorer, todo) if engine == "local" else _ray(scorer, todo, actors)
        for i, (name, error) in enumerate(found, 1):
            if error:
                errors[name] = error
            note(f"{i} of {len(todo)}" + (f": {error}" if error else ""))

    def rows() -> Iterator[Row]:
        for v in videos:
            text = place.read(names[v.uri])
            yield json.loads(text) if text else row(v.uri, v.video_id, "failed", errors[names[v.uri]])

    place.write_parts(rows())
    return Done(len(videos), len(errors), len(videos) - len(todo))
