"""A thing that no calibration video shows stands in view: no event offline, and live none once that is known."""

from contextlib import closing
from pathlib import Path

import numpy as np

from conftest import ROOT
from headhunt_svc.core.steady import LEAST
from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, camera, surveillance
from headhunt_svc.demo.wide.things import Thing
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.video.opening import open_video


def test_a_new_box_raises_no_alarm_for_as_long_as_it_stands_there(tmp_path: Path) -> None:
    rng = np.random.default_rng([77, 19])
    scene, t = surveillance(rng, None, camera(3))
    box = Thing.draw(rng, "box", 0.0, 1e6, scene.scale)  # nothing happens to it
    box.speed = 1e-9
    scene.actors.append(box)
    write_mp4(tmp_path / "box.mp4", render(scene, t, 128), FPS)
    detector = Detector.load(ROOT / "artifacts" / "detector")
    with open_video(tmp_path / "box.mp4") as video, closing(detector.score(video)) as scoring:
        batches = list(scoring)
        offline, live = (
            detector.report(video, batches, Options(smoothing=smoothing)) for smoothing in ("offline", "causal")
        )
    assert min(score.raw for score in offline.scores) > offline.threshold
    assert offline.events == ()
    assert all(score.novelty is not None and score.novelty > 0 for score in offline.scores)
    assert len(live.events) == 1  # at first nobody can know that it stands there all the time
    assert live.events[0].start_s == 0
    assert live.events[0].stop_s <= (LEAST + 3) * 1.6
    assert max(score.smoothed for score in live.scores[-3:]) < live.threshold
