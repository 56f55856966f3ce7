"""reference: normal held-out videos + bundle -> what a camera without a baseline of its own is compared with."""

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headhunt_svc.data.datasets import load_index
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import DatasetError
from headhunt_svc.monitoring.baselines import save_rows
from headhunt_svc.prediction_log.recording import Observer
from headhunt_svc.prediction_log.windows import Rows, read_window
from headhunt_svc.prediction_log.writer import Place, PredictionLog

NO_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # the videos have no date; the same one makes the same file
CAMERA = "reference"


def reference(bundle: Path, index: Path, out: Path) -> Rows:
    """Write the log rows of all normal validation and test videos, every segment probed.

    Raises:
        DatasetError: there are no such videos.
    """
    records = [r for r in load_index(index) if r.split in ("validation", "test") and not r.is_anomalous]
    if not records:
        raise DatasetError(f"{index} has no normal validation or test videos: the monitor's reference needs some")
    detector = Detector.load(bundle)
    with tempfile.TemporaryDirectory() as folder:
        with PredictionLog(folder, retention_days=100_000) as log:
            observer = Observer(log, probe_share=1.0)
            at = NO_TIME
            for r in records:
                observer.detect(detector, r.path, r.video_id, camera=CAMERA, recorded=at, pass_id=r.video_id)
                at += timedelta(hours=1)
        window = read_window(Place(folder), NO_TIME, at, detector_id=None, block_segments=1, sample_rows=sys.maxsize)
    rows = window.cameras[CAMERA]
    save_rows(out, rows)
    return rows
