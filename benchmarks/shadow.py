"""What a candidate in shadow adds to scoring, as a share of it: the embedded detector, both in one run.

    python benchmarks/shadow.py --rounds 15

A video is scored with a prediction log again and again, by turns without and with a candidate, so that other work on
the machine meets both. Of the rounds with one, the CPU time that the candidate takes is measured where it is spent: in
the scoring thread, and in the writer of its rows, which are flushed after every video. The whole is the CPU time of the
process. The difference of the two kinds of rounds stands beside it; on a busy machine it is mostly noise.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pairs import Ratio
from rich.console import Console
from rich.table import Table

from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, camera, surveillance
from headhunt_svc.detector.pipeline import Detector, Reporter
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.prediction_log.shadowing import ShadowPass
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.video.opening import open_video

ROOT = Path(__file__).parent.parent
T = TypeVar("T")


class Clock:
    """CPU seconds that threads spend in some functions; `total` of all."""

    def __init__(self) -> None:
        self.total = 0.0

    def timed(self, function: Callable[..., T]) -> Callable[..., T]:
        """The same function, measured."""

        def measured(*arguments: Any) -> T:
            began = time.thread_time()
            try:
                return function(*arguments)
            finally:
                self.total += time.thread_time() - began

        return measured


def main() -> None:
    """Score by turns, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=4, help="Scenes that the video is made of.")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    detector = Detector.load(ROOT / "artifacts" / "detector")
    scorer = replace(detector.scorer, bias=detector.scorer.bias + 0.5)
    points = detector.bundle.model_copy(update={"scorer_sha256": "of the benchmark"})
    candidate = Reporter(points, scorer)
    scoring, writing = Clock(), Clock()
    ShadowPass.add = scoring.timed(ShadowPass.add)  # type: ignore[method-assign]
    cpu: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = [surveillance(np.random.default_rng(i), "explosion", camera(i)) for i in range(arguments.repeats)]
        pictures = np.concatenate([render(scene, t, 128) for scene, t in scenes])
        write_mp4(folder / "clip.mp4", pictures, FPS)
        recorder = Recorder(PredictionLog(str(folder / "log")), probe_share=0.0)
        shadow_log = recorder.shadow_log()
        assert shadow_log is not None
        for part in ("_sort_in", "_flush"):
            setattr(shadow_log, part, writing.timed(getattr(shadow_log, part)))
        segments = 0
        for number in range(2 * arguments.rounds + 2):
            with_candidate = number % 2 == 1
            chosen = (lambda: candidate) if with_candidate else None
            if number == 2:  # the first of each is a warm-up
                scoring.total = writing.total = 0.0
            began = time.process_time()
            with open_video(folder / "clip.mp4", "yard/clip") as video:
                scores = detector.score(video)
                batches = recorder.record(detector, "yard/clip", scores, candidate=chosen)
                with closing(batches):
                    segments = sum(len(batch.segments) for batch in batches)
            for log in (recorder.log, shadow_log):
                if log is not None and (with_candidate or log is not shadow_log):
                    log.flush()
            if number >= 2:
                cpu[with_candidate].append(time.process_time() - began)
        recorder.close()
    whole = sum(cpu[True])
    figures = {
        "segments": segments,
        "scoring_cpu_ms_a_segment": 1e3 * statistics.median(cpu[False]) / segments,
        "candidate_cpu_ms_a_segment": 1e3 * (scoring.total + writing.total) / arguments.rounds / segments,
        "share_scoring": scoring.total / whole,
        "share_writing": writing.total / whole,
        "share": (scoring.total + writing.total) / whole,
        "difference_of_rounds": Ratio.of(zip(cpu[True], cpu[False], strict=True)).median - 1,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    table = Table(
        "segments", "scored in", "its candidate in", "share", "of it scoring", "of it writing", "rounds differ by"
    )
    table.add_row(
        str(segments),
        f"{figures['scoring_cpu_ms_a_segment']:.2f} ms",
        f"{figures['candidate_cpu_ms_a_segment']:.3f} ms",
        *(f"{100 * figures[name]:.2f} %" for name in ("share", "share_scoring", "share_writing")),
        f"{100 * figures['difference_of_rounds']:+.2f} %",
    )
    Console().print(table)


if __name__ == "__main__":
    main()
