"""What a thing that only stands there does to scores, with and without what is strange all the time (docs/adr/0025).

python benchmarks/standing_things.py, at the top of the repository or in a demo's folder where the stage `identify` has
run. Renders normal videos of labelled cameras, each with a thing of the wide world in view from start to end, and reads
them once with the model; everything else comes from stored features of calibration and validation videos. Segments,
without smoothing; the threshold is the one that finds three quarters of the anomalous validation segments.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from headhunt_svc import paths
from headhunt_svc.core.localization import contiguous
from headhunt_svc.core.scoring import logits, novelty
from headhunt_svc.core.steady import without_steady
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, N_LABELLED_CAMERAS, camera, surveillance
from headhunt_svc.demo.wide.things import Thing
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.params import Params, load_params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_prompts, records_of_selection
from headhunt_svc.studies.generalisation import LeftOut, leave_out_cameras, leave_out_kinds
from headhunt_svc.types import LABELLED, HeadRef, Scorer, Smoothing
from headhunt_svc.video.opening import open_video

THINGS = ("flag", "gate", "sign", "screen", "signal", "barrier", "fountain", "box", "truck", "tractor", "forklift",
          "motorbike")  # fmt: skip
VIDEOS, SIZE, SEED = 36, 128, 77
FOUND = 0.75
Take = Callable[[np.ndarray, np.ndarray | None, np.ndarray], np.ndarray]  # of a video: scores, novelty, edges


def film(folder: Path, number: int) -> None:
    """One normal video with a thing to which nothing happens."""
    rng, kind = np.random.default_rng([SEED, number]), THINGS[number % len(THINGS)]
    scene, t = surveillance(rng, None, camera(number % N_LABELLED_CAMERAS))
    thing = Thing.draw(rng, kind, 0.0, 1e6, scene.scale)
    thing.speed, thing.lasts_s = 1e-9, 0.0
    scene.actors.append(thing)
    write_mp4(folder / f"{number:02d}_{kind}.mp4", render(scene, t, SIZE), FPS)


def read(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of every film the thing, and the features and times of its segments."""
    detector = Detector.load(paths.BUNDLE)
    for path in sorted(folder.glob("*.mp4")):
        with open_video(path) as video, closing(detector.score(video)) as batches:
            parts = [(b.features, [(s.start_s, s.stop_s) for s in b.segments]) for b in batches]
        z = np.concatenate([features for features, _ in parts])
        yield path.stem.partition("_")[2], z.reshape(len(z), -1), np.concatenate([np.array(e) for _, e in parts])


def kept(scores: np.ndarray, new: np.ndarray | None, edges: np.ndarray) -> np.ndarray:
    """Scores as they are."""
    return scores


def ignored(smoothing: Smoothing) -> Take:
    """Scores less what is strange all the time."""
    return lambda scores, new, edges: without_steady(scores, new, smoothing, contiguous(edges))


ARMS: Mapping[str, Take] = {"kept": kept, "ignored": ignored("offline"), "ignored, live": ignored("causal")}


def scored(scorer: Scorer, z: np.ndarray, edges: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of one video by each arm."""
    probability, new = 1 / (1 + np.exp(-logits(scorer, z))), novelty(scorer, z)
    return {name: take(probability, new, edges) for name, take in ARMS.items()}


def of_videos(
    scorer: Scorer, data: LabelledFeatures, from_onset: bool = False
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels and scores of all segments; from_onset: anomalous videos begin with their first anomalous segment."""
    z, labels, parts = data.inputs(scorer.heads, scorer.background), [], []
    for rows in data.per_video(np.arange(len(z))):
        if from_onset and data.labels[rows].any():
            rows = rows[int(np.argmax(data.labels[rows])) :]
        labels.append(data.labels[rows])
        parts.append(scored(scorer, z[rows], data.times[rows]))
    return np.concatenate(labels), {name: np.concatenate([part[name] for part in parts]) for name in ARMS}


def left_out(
    data: LabelledFeatures,
    params: Params,
    heads: tuple[HeadRef, ...],
    groups: Sequence[LeftOut],
    from_onset: bool = False,
) -> str:
    """Mean AUC and AP over what is left out, and the AUC's difference to the first arm with its standard error."""
    rows = []
    for group in groups:
        tests = data.only(group.measured)
        if len(set(tests.labels.tolist())) == 2:
            scorer = fit_heads(data.only(group.training), heads, params.fit).scorer
            labels, scores = of_videos(scorer, tests, from_onset)
            rows.append([[roc_auc_score(labels, s), average_precision_score(labels, s)] for s in scores.values()])
    values = np.array(rows)
    gains = values - values[:, :1]
    errors = gains.std(0, ddof=1) / np.sqrt(len(values))
    return "   ".join(
        f"{values[:, i, 0].mean():.4f} ({gains[:, i, 0].mean():+.4f} ± {errors[i, 0]:.4f}) {values[:, i, 1].mean():.4f}"
        for i in range(len(ARMS))
    )


def main() -> None:
    """Print the figures of every arm."""
    params = load_params(Path("params.yaml"))
    selection, by_split = records_of_selection(paths.INDEX, paths.LABELS, paths.HEADS)
    records = [record for split in LABELLED for record in by_split[split]]
    (data,) = load_prompts(params, FeatureStore(paths.FEATURES), records, [params.prompts.scoring])
    calibration, validation = (data.only({r.video_id for r in by_split[split]}) for split in LABELLED)
    scorer = fit_heads(calibration, selection.heads, params.fit).scorer
    with TemporaryDirectory() as folder:
        with ProcessPoolExecutor() as executor:
            list(executor.map(film, [Path(folder)] * VIDEOS, range(VIDEOS)))
        standing = [(thing, scored(scorer, z, edges)) for thing, z, edges in read(Path(folder))]

    print("arms: " + ", ".join(ARMS))
    labels, scores = of_videos(scorer, validation)
    aucs = [(roc_auc_score(labels, s), average_precision_score(labels, s)) for s in scores.values()]
    print("validation videos, ROC-AUC and AP: " + "   ".join(f"{auc:.4f} {ap:.4f}" for auc, ap in aucs))
    print("kinds left out: " + left_out(data, params, selection.heads, leave_out_kinds(records)))
    print(
        "kinds left out, from their onset: " + left_out(data, params, selection.heads, leave_out_kinds(records), True)
    )
    print("cameras left out: " + left_out(data, params, selection.heads, leave_out_cameras(records)))
    thresholds = {name: np.quantile(s[labels], 1 - FOUND) for name, s in scores.items()}
    print("above the threshold: " + "   ".join(f"{(scores[n][~labels] > t).mean():.1%}" for n, t in thresholds.items()))
    for thing in ("all things", *THINGS):
        parts = [scores for name, scores in standing if thing in ("all things", name)]
        shares = [np.mean([(part[n] > t).mean() for part in parts]) for n, t in thresholds.items()]
        print(f"{thing}, segments above it: " + "   ".join(f"{share:.1%}" for share in shares))


if __name__ == "__main__":
    main()
