"""Do the promises of `budget` and `conformal` hold? Draws of videos from published scores of UCF-Crime.

    python benchmarks/promises.py ../shared/data                      # 200 draws; minutes on one core
    python benchmarks/promises.py ../shared/data --json out.json      # the figures as JSON

The videos of the score file are the population. A draw takes some of them with replacement, as calibration does new
ones, so that the true rate of what was chosen is known: that of the whole population. Three scores of 16 frames are one
segment of 48 (1.6 s). For comparison: the rule that keeps the budget in the count itself, and the highest score of
whole videos in place of that of a window.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from headhunt_svc.core.calibration import budget
from headhunt_svc.core.localization import runs
from headhunt_svc.core.promises import conformal_threshold, window_peaks, window_promise
from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.data.benchmarks import read_benchmark
from headhunt_svc.data.score_files import read_scores
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import CalibrateParams
from headhunt_svc.types import FrameSpan, OperatingPoint

BUDGETS = ((40, 5.0), (75, 2.0), (75, 10.0), (150, 1.0), (150, 5.0))  # normal videos, alarms per hour
ANOMALOUS = 30  # videos in a draw, for the recall that the choice goes by
RATES = ((8, 0.2), (19, 0.2), (19, 0.05), (60, 0.05))  # normal videos, share of windows
WINDOW_S = 20.0
SEGMENT, STRIDE = 48, 16


def population(data: Path) -> list[ScoredVideo]:
    """Raw scores of the test videos of UCF-Crime, one for each segment."""
    records = read_benchmark("ucf_crime", data / "annotations" / "ucf_crime").records("inclusive", None)
    scores = read_scores(data / "published_scores" / "urf_hvaa_ucf_crime_refined.json", records, STRIDE)
    videos, step = [], SEGMENT // STRIDE
    for v in scores.videos:
        means = np.array([v.scores[i : i + step].mean() for i in range(0, len(v.scores), step)])
        starts = range(0, v.record.n_frames, SEGMENT)
        spans = tuple(FrameSpan(i, min(i + SEGMENT, v.record.n_frames)) for i in starts)
        videos.append(ScoredVideo(v.record, spans, means))
    return videos


def alarms(videos: Sequence[ScoredVideo], threshold: float) -> int:
    """Alarms in videos with smoothed scores."""
    return sum(len(runs(v.scores > threshold, v.goes_on)[0]) for v in videos)


def per_hour(videos: Sequence[ScoredVideo], point: OperatingPoint) -> float:
    """False alarms per hour of normal videos with raw scores."""
    smoothed = [v.smoothed(point.sigma_segments) for v in videos]
    return alarms(smoothed, point.threshold) / (sum(v.duration_s for v in videos) / 3600)


def drawn(videos: Sequence[ScoredVideo], n: int, random: np.random.Generator) -> list[ScoredVideo]:
    """Some videos with replacement, each of a name of its own."""
    rows = [videos[i] for i in random.integers(0, len(videos), n)]
    return [replace(v, record=replace(v.record, video_id=f"{i}")) for i, v in enumerate(rows)]


def budget_row(
    normal: Sequence[ScoredVideo], anomalous: Sequence[ScoredVideo], n: int, most: float, draws: int
) -> dict[str, Any]:
    """How often the true rate of the chosen point exceeds the budget.

    naive: of the lowest threshold down to which the count itself keeps the budget.
    """
    params, random = CalibrateParams(false_alarms_per_hour=most), np.random.default_rng(0)
    thresholds = (np.arange(params.n_thresholds) + 0.5) / params.n_thresholds
    true, naive, hours = [], [], []
    for _ in range(draws):
        videos = drawn(normal, n, random)
        hours.append(sum(v.duration_s for v in videos) / 3600)
        smoothed = [v.smoothed(params.promise_sigma) for v in videos]
        kept = max(thresholds)
        for t in thresholds[::-1]:
            if alarms(smoothed, float(t)) / hours[-1] > most:
                break
            kept = t
        naive.append(per_hour(normal, OperatingPoint(params.promise_sigma, float(kept))))
        try:
            point = budget([*videos, *drawn(anomalous, ANOMALOUS, random)], params, "offline")
        except FeatureError:
            continue  # not offered
        true.append(per_hour(normal, point.operating_point))
    return {
        "normal_videos": n,
        "hours": float(np.mean(hours)),
        "budget": most,
        "offered": len(true) / draws,
        "mean_rate": float(np.mean(true)) if true else None,
        "over_budget": float(np.sum(np.array(true) > most) / draws),
        "naive_over_budget": float(np.mean(np.array(naive) > most)),
    }


def alarm_share(smoothed: Sequence[ScoredVideo], threshold: float) -> float:
    """The share of windows with an alarm, videos counting alike; smoothed scores."""
    shares = [float(np.mean(p > threshold)) for v in smoothed if len(p := window_peaks(v, WINDOW_S))]
    return float(np.mean(shares))


def conformal_row(normal: Sequence[ScoredVideo], n: int, rate: float, draws: int) -> dict[str, Any]:
    """The true share of windows with an alarm at the chosen points: its mean, and how often it is as stated."""
    params = CalibrateParams(conformal_rate=rate, conformal_window_s=WINDOW_S)
    random, smoothed = np.random.default_rng(0), [v.smoothed(params.promise_sigma) for v in normal]
    promises = [window_promise(drawn(smoothed, n, random), params) for _ in range(draws)]
    stated = promises[0].up_to
    shares = np.array([alarm_share(smoothed, p.threshold) for p in promises])
    return {
        "normal_videos": n,
        "rate": rate,
        "mean_share": float(shares.mean()),
        "error": float(shares.std(ddof=1) / np.sqrt(draws)),
        "stated_up_to": stated,
        "as_stated": float(np.mean(shares <= stated)),
    }


def length_shift(normal: Sequence[ScoredVideo], rate: float, draws: int) -> dict[str, float]:
    """Chosen on the shorter half of the videos, used on the longer half: by whole videos, and by windows."""
    params = CalibrateParams(conformal_rate=rate, conformal_window_s=WINDOW_S)
    by_length = sorted((v.smoothed(params.promise_sigma) for v in normal), key=lambda v: v.duration_s)
    half = len(by_length) // 2
    short, long = by_length[:half], by_length[half:]
    random = np.random.default_rng(0)
    videos, windows = [], []
    for _ in range(draws):
        sample = drawn(short, 38, random)
        whole = conformal_threshold(np.array([v.scores.max() for v in sample]), rate)
        videos.append(np.mean([v.scores.max() > whole for v in long]))
        peaks = [p[random.integers(len(p))] for v in sample if len(p := window_peaks(v, WINDOW_S))]
        windows.append(alarm_share(long, conformal_threshold(np.array(peaks), rate)))
    return {"rate": rate, "videos": float(np.mean(videos)), "windows": float(np.mean(windows))}


def table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """A table of figures."""
    result = Table(*rows[0], title=title)
    for row in rows:
        result.add_row(*("-" if x is None else f"{x:.3g}" for x in row.values()))
    return result


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description="Do the promises of budget and conformal hold?")
    parser.add_argument("data", type=Path)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    videos = population(args.data)
    normal = [v for v in videos if not v.record.is_anomalous]
    anomalous = [v for v in videos if v.record.is_anomalous]
    console = Console(width=140, highlight=False)
    rates = [conformal_row([v for v in normal if v.duration_s >= WINDOW_S], n, r, args.draws) for n, r in RATES]
    console.print(table(f"conformal, windows of {WINDOW_S:g} s", rates))
    shift = length_shift(normal, 0.1, args.draws)
    console.print(table("conformal, chosen on the shorter half, used on the longer half: share with an alarm", [shift]))
    budgets = []
    for n, most in BUDGETS:
        budgets.append(budget_row(normal, anomalous, n, most, args.draws))
        console.print(budgets[-1])
    console.print(table("budget, 95 % confidence", budgets))
    if args.json:
        args.json.write_text(json.dumps({"conformal": rates, "length_shift": shift, "budget": budgets}, indent=1))


if __name__ == "__main__":
    main()
