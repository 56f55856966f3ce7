"""reference: normal held-out videos + bundle -> what a camera without a baseline of its own is compared with."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headhunt_svc.data.datasets import load_records
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import DatasetError
from headhunt_svc.monitoring.baselines import save_rows
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.prediction_log.windows import Rows, WindowQuery, read_window
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.storage.store import Store
from headhunt_svc.video.opening import open_video

NO_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # the videos have no date; the same one makes the same file
CAMERA = "reference"


def reference(bundle: Path, index: Path, labels: Path, out: Path) -> Rows:
    """Write the log rows of all normal validation and test videos, every segment probed.

    Raises:
        DatasetError: there are no such videos.
    """
    records = [r for r in load_records(index, labels) if r.split in ("validation", "test") and not r.is_anomalous]
    if not records:
        raise DatasetError(f"{labels} has no normal validation or test videos: the monitor's reference needs some")
    detector = Detector.load(bundle)
    options = Options(detector.bundle.default_point)
    with tempfile.TemporaryDirectory() as folder:
        with PredictionLog(folder, retention_days=100_000) as log:
            recorder = Recorder(log, probe_share=1.0)
            time = NO_TIME
            for r in records:
                with open_video(r.path, r.video_id) as video:
                    batches = detector.score(video, recorder.probing(detector))
                    batches = recorder.record(
                        detector, r.video_id, batches, options, camera=CAMERA, recorded=time, pass_id=r.video_id
                    )
                    detector.report(video, batches, options)
                time += timedelta(hours=1)
        window = read_window(Store(folder), WindowQuery(NO_TIME, time))
    rows = window.cameras[CAMERA]
    save_rows(out, rows)
    return rows
