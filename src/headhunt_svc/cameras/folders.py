"""A folder that a recorder fills: each file is scored once, when it is finished, as `headhunt detect --events` does.

What was taken stands in the events' database, so that a restart scores nothing again. A file that is being scored when
the process ends is scored anew from its start; its events have the same keys, so none is stored twice.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from watchfiles import watch

from headhunt_svc.cameras.config import Camera
from headhunt_svc.cameras.resting import RestingFiles, changed, version_of
from headhunt_svc.cameras.sharing import Shared, SharedReader, StoppedError, check_camera
from headhunt_svc.cameras.sources import FolderSource
from headhunt_svc.cameras.status import CameraState
from headhunt_svc.cameras.watched import WatchedCamera
from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.errors import ConfigError, HeadHuntError, OutputError, UnreachableError, VideoError
from headhunt_svc.events.recording import EventRecorder, Footage
from headhunt_svc.events.rules import EventRules
from headhunt_svc.events.taken import TakenFile, TakenFiles
from headhunt_svc.events.times import compile_pattern
from headhunt_svc.names import VideoId, absolute, uri_of
from headhunt_svc.storage.files import sha256
from headhunt_svc.video.opening import open_video

logger = logging.getLogger(__name__)
SCAN_S = 30.0  # network disks tell nobody about new files
RETRY_S = 60.0  # after a failure that was not expected
ATTEMPTS = 3  # then the file waits until it changes


class _Over:
    """Tells watchfiles when to end."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self.is_set = is_over


class FolderCamera(WatchedCamera):
    """A camera whose footage comes as files."""

    def __init__(
        self,
        camera: Camera,
        shared: Shared,
        earlier: CameraState | None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Raises ConfigError: the operating point does not fit the detector, or the name pattern cannot be used."""
        super().__init__(camera, earlier, clock)
        assert isinstance(camera.source, FolderSource)
        self._source = camera.source
        self._shared = shared
        self._options = camera.options("offline")
        check_camera(camera, shared.in_use.detector)
        if camera.name_pattern is not None:
            compile_pattern(camera.name_pattern)
        self._shared_reader = SharedReader(shared.runner)
        self._rules = EventRules(camera.merge_s, camera.time_zone, camera.name_pattern, camera.keep_clips)
        self._recorder = EventRecorder(shared.store, "live")
        self._taken = TakenFiles(shared.engine, camera.name)
        self._versions: dict[str, str] = {}
        self._bad: dict[str, str] = {}  # files that could not be scored, by path_id
        self._attempts: dict[str, int] = {}  # that failed unexpectedly, by path_id
        self._offered_s = self._scored_s = 0.0

    def stop(self) -> None:
        """See WatchedCamera; also gives up its place in front of the model."""
        super().stop()
        self._shared_reader.stop()

    @property
    def open_event(self) -> None:
        """Events of files are over when they are stored."""
        return None

    def watch_source(self) -> str | None:
        """Take files until the camera is off or the folder is gone."""
        folder = self._source.path
        self._versions = dict(self._taken.versions())
        self._bad = {file.path_id: file.path for file in self._taken.problems()}
        files, scan_time = RestingFiles(folder, self._source.rest_s, self._versions), -SCAN_S
        self._check(folder)
        for changes in watch(
            folder,
            watch_filter=None,
            debounce=500,
            stop_event=_Over(self.is_over),
            rust_timeout=500,
            yield_on_timeout=True,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            if time.monotonic() - scan_time >= SCAN_S:
                scan_time = time.monotonic()
                self._check(folder)
                self._forget_missing(files.scan())
                self._phase, self._problem = "receiving", None
            for _, changed_path in changes:
                files.look(Path(changed_path))
            self._note_newest(files)
            for path, version in files.resting():
                if self.is_over():
                    break
                self._take(files, path, version)
        return None

    def _check(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder")

    def _note_newest(self, files: RestingFiles) -> None:
        if files.newest is not None:
            self._last_picture = min(files.newest, self._clock())

    def _forget_missing(self, path_ids: set[str]) -> None:
        """Forget files that are gone for long; not where the folder is empty, as a disk may be away."""
        missing = set(self._versions) - path_ids
        for path_id in missing:
            self._bad.pop(path_id, None)
        if path_ids and missing:
            keep = timedelta(days=self._shared.store.settings.keep_days)
            self._taken.forget(missing, self._clock() - keep)

    def _take(self, files: RestingFiles, path: Path, version: str) -> None:
        """Score a file and remember it; what is wrong with it does not keep others from being taken."""
        path_id, name = files.path_id(path), files.name(path)
        problem: str | None = None
        content: str | None = None
        try:
            content = sha256(path)
            if version_of(path) != version:
                return  # it goes on to be written
            if not self._taken.has(content):
                self._score(path, name, content)
        except StoppedError:
            return
        except (OutputError, UnreachableError):  # of the events, not of the file
            raise
        except (VideoError, OSError) as exc:
            if version_of(path) is None:
                return
            problem = str(exc)
        except Exception as exc:
            problem = str(exc) if isinstance(exc, HeadHuntError) else self._crashed(exc)
            self._attempts[path_id] = self._attempts.get(path_id, 0) + 1
            if self._attempts[path_id] < ATTEMPTS or self._stop.is_set():
                files.postpone(path, RETRY_S)
                return
        self._taken.put(TakenFile(path_id, name, version, content, self._clock(), problem))
        self._versions[path_id] = version
        self._attempts.pop(path_id, None)
        self._bad.pop(path_id, None)
        if problem is None:
            self._last_scored = min(changed(version), self._clock())
        else:
            self._bad[path_id] = name
            logger.warning("camera %s: %s cannot be scored until it changes: %s", self.camera.name, name, problem)

    def _score(self, path: Path, name: str, content: str) -> None:
        """Score a file and store its events. Raises VideoError, OSError, OutputError, UnreachableError."""
        camera, options = self.camera, self._options
        video_id = VideoId(f"{camera.name}/{name}")
        now = self._shared.in_use.now  # to the end of the file
        detector = now.detector.at(camera.name)
        reader = self._shared.recorder.probing(detector, self._shared_reader)
        watched = self._recorder.watch(detector, options, self._rules)
        with open_video(path, video_id, masks=camera.masks) as video:
            batches = detector.score(watched.source(video), reader, options=options)
            batches = self._shared.recorder.record(
                detector, video_id, batches, options, camera=camera.name, candidate=lambda: now.candidate
            )
            with closing(watched.record(batches)) as recorded:
                report = detector.report(video, self._while_watched(recorded), options)
        watched.store(report, Footage(path, camera.name, uri_of(absolute(path)), path.name, content))
        scored_s = sum(score.stop_s - score.start_s for score in report.scores)
        self._scored_s += scored_s
        self._offered_s += max(report.duration_s, scored_s)

    def _while_watched(self, batches: Iterable[ScoredBatch]) -> Iterator[ScoredBatch]:
        """The same batches; ends the work when the camera is no longer watched."""
        for batch in batches:
            if self._stop.is_set():
                raise StoppedError
            yield batch

    def tick(self) -> None:
        """Events of files are over when they are stored."""

    def finish(self) -> None:
        """Nothing is open: a file that is not finished is scored anew."""

    def state(self, now: datetime) -> CameraState:
        """See WatchedCamera."""
        bad = list(self._bad.values())
        problem = f"files that could not be scored: {len(bad)}, the last one is {bad[-1]}" if bad else None
        return CameraState(
            camera=self.camera.name,
            written=now,
            phase=self._phase,
            last_picture=self._last_picture,
            last_scored=self._last_scored,
            offered_s=self._offered_s,
            scored_s=self._scored_s,
            problem=self._problem or problem,
            detector_id=self._shared.in_use.detector.detector_id,
        )
