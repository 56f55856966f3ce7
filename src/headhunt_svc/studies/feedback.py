"""feedback: what operators' marks make of the detector, simulated on stored features of labelled videos.

A kind of anomaly is left out of calibration and validation videos, and the scorer is fitted anew. Then the kind is what
goes on at one camera: harmless, but taken for anomalous; or anomalous, but overlooked. Its videos are the days of this
camera, in random order: segments of the first ones are marked, the others are measured. Heads are those of the bundle.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from rich.console import Console
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headhunt_svc.core.correction import CameraCorrection, correct_camera, corrected_scorer
from headhunt_svc.core.fitting import fit_scorer
from headhunt_svc.core.fleet_correction import correct_fleet
from headhunt_svc.core.labelled import Calibration, Labels, Marks, Rows
from headhunt_svc.core.protocol import Figures
from headhunt_svc.core.scoring import logits
from headhunt_svc.data.datasets import load_records
from headhunt_svc.data.feature_store import FeatureStore, Source
from headhunt_svc.detector.bundle import Bundle, load_bundle, model_key
from headhunt_svc.errors import DatasetError
from headhunt_svc.params import Params
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_labelled, load_prompts
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import HeadRef, Scorer

HARMLESS = ("car", "fall", "bag", "run", "crawl")
OVERLOOKED = ("fire", "vandal", "crawl")
MARKS = (5, 10, 20)
ALIKE = (("fall", "crawl"), ("bag", "fire"))  # a harmless kind, and an unseen one that is lost with it
CHANGES = ("shown", "auc", "recall", "false_alarms")
PER_VIDEO = 2  # marked segments
MOST_PAST = 2 / 3  # of a kind's videos: the others are measured
WRONG = 0.1  # share of the events
FLEET_DRAWS = 3  # each learns once for each camera


@dataclass(frozen=True, slots=True)
class Segments:
    """Labelled segments, one a row: features, label, video, its kinds of anomaly, and its camera."""

    z: Float[np.ndarray, "segment features"]
    labels: Labels
    videos: np.ndarray
    kinds: Mapping[str, tuple[str, ...]]
    cameras: Mapping[str, str]

    @classmethod
    def of(cls, data: LabelledFeatures, heads: tuple[HeadRef, ...], params: Params) -> "Segments":
        """From stored features."""
        kinds = {r.video_id: r.kinds for r in data.records}
        cameras = {r.video_id: str(r.camera) for r in data.records}
        z = np.asarray(data.inputs(heads, params.fit.relative_to), np.float64)
        return cls(z, data.labels, np.array(data.videos), kinds, cameras)

    def only(self, rows: Bool[np.ndarray, " segment"]) -> "Segments":
        """Some of the segments."""
        return Segments(self.z[rows], self.labels[rows], self.videos[rows], self.kinds, self.cameras)

    def shows(self, kind: str) -> Bool[np.ndarray, " segment"]:
        """Is it a segment of a video of this kind?"""
        return np.isin(self.videos, [video for video, kinds in self.kinds.items() if kind in kinds])

    def among(self, videos: Sequence[str]) -> Bool[np.ndarray, " segment"]:
        """Is it a segment of one of these videos?"""
        return np.isin(self.videos, list(videos))

    def calibration(self) -> Calibration:
        """For core/correction.py."""
        return Calibration(self.z, self.labels, self.videos.tolist(), self.kinds)


def joined(parts: Sequence[Segments]) -> Segments:
    """All of them."""
    return Segments(
        np.concatenate([part.z for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.videos for part in parts]),
        {video: kinds for part in parts for video, kinds in part.kinds.items()},
        {video: camera for part in parts for video, camera in part.cameras.items()},
    )


@dataclass(frozen=True, slots=True)
class World:
    """A detector that does not know a kind; threshold: of logits, best F1 on validation segments.

    shown: the anomalous segments of all videos of the kind. others: test segments of all other videos.
    """

    fleet: Scorer
    threshold: float
    calibration: Segments
    validation: Segments
    shown: Segments
    others: Segments

    def alarms(self, scorer: Scorer, segments: Segments) -> Bool[np.ndarray, " segment"]:
        """Is the score above the threshold?"""
        return np.asarray(logits(scorer, segments.z) > self.threshold)

    def figures(self, scorer: Scorer, shown: Segments, others: Segments) -> dict[str, float]:
        """shown: share of the segments of the kind with an alarm. Of the others: AUC, also by kind, recall, alarms."""
        raised, scores = self.alarms(scorer, others), logits(scorer, others.z)
        kinds = sorted({kind for video in set(others.videos.tolist()) for kind in others.kinds[video]})
        of_kind = {kind: ~others.labels | others.shows(kind) for kind in kinds}
        return {
            "shown": float(self.alarms(scorer, shown).mean()),
            "auc": float(roc_auc_score(others.labels, scores)),
            **{f"auc_{kind}": float(roc_auc_score(others.labels[v], scores[v])) for kind, v in of_kind.items()},
            "recall": float(raised[others.labels].mean()),
            "false_alarms": float(raised[~others.labels].mean()),
        }

    def correct(self, marks: Marks) -> CameraCorrection:
        """As a camera's marks are learned from."""
        nothing = np.zeros((0, marks.z.shape[1]))
        known, validation = self.calibration.calibration(), self.validation.calibration()
        return correct_camera(self.fleet, known, marks, nothing, None, validation, self.threshold)


def make_world(
    kind: str, parts: tuple[Segments, Segments, Segments], heads: tuple[HeadRef, ...], params: Params
) -> World:
    """A detector that was made without a kind of anomaly."""
    calibration, validation, test = parts
    known, checked = calibration.only(~calibration.shows(kind)), validation.only(~validation.shows(kind))
    data = known.calibration()
    fleet = fit_scorer(data.z, data.labels, data.videos, heads, params.fit, data.kinds).scorer
    scores = logits(fleet, checked.z)
    threshold = max(np.unique(scores).tolist(), key=lambda t: f1_score(checked.labels, scores > t))
    every = joined([calibration, validation, test])
    shown = every.only(every.shows(kind) & every.labels)
    return World(fleet, threshold, known, checked, shown, test.only(~test.shows(kind)))


@dataclass(frozen=True, slots=True)
class Marked:
    """Rows that were marked, the number of the event of each, and the videos of the past: they are not measured."""

    rows: Rows
    event: Int[np.ndarray, " mark"]
    past: list[str]


def mark(
    segments: Segments, may_be_marked: Bool[np.ndarray, " segment"], most: int, random: np.random.Generator
) -> Marked:
    """Mark up to PER_VIDEO segments of a video after the other, until there are enough; a video is an event.

    There may be fewer: videos remain to measure on.
    """
    rows: list[int] = []
    event: list[int] = []
    past: list[str] = []
    videos = np.unique(segments.videos)
    for video in random.permutation(videos).tolist():
        if len(rows) >= most or len(past) + 1 > MOST_PAST * len(videos):
            break
        chosen = random.permutation(np.flatnonzero((segments.videos == video) & may_be_marked))[:PER_VIDEO]
        rows += chosen.tolist()[: most - len(rows)]
        event += [len(past)] * (len(rows) - len(event))
        past.append(video)
    return Marked(np.array(rows, int), np.array(event, int), past)


def marks_of(segments: Segments, marked: Marked, anomalous: bool) -> Marks:
    """The marks; every event is a day."""
    groups = tuple(segments.videos[row] for row in marked.rows)
    return Marks(segments.z[marked.rows], np.full(len(groups), anomalous), groups, marked.event)


def learn_kind(world: World, most: int, anomalous: bool, draws: int) -> Figures | None:
    """Means over draws of what a number of marks of one kind does; None: no alarm that could be marked.

    anomalous False: only segments that raise an alarm are marked, as false. True: any, as what was overlooked.
    """
    rows: list[Figures] = []
    corrections = []
    raised = world.alarms(world.fleet, world.shown)
    for draw in range(draws):
        random = np.random.default_rng(draw)
        marked = mark(world.shown, np.ones_like(raised) if anomalous else raised, most, random)
        later = world.shown.only(~world.shown.among(marked.past))
        if not len(marked.rows) or not len(later.labels):
            continue
        correction = world.correct(marks_of(world.shown, marked, anomalous))
        scorer = corrected_scorer(world.fleet, correction)
        before, after = (world.figures(s, later, world.others) for s in (world.fleet, scorer))
        rows.append({"marks": len(marked.rows), "before": before, "after": after})
        corrections.append(correction)
    if not rows:
        return None
    return {
        "draws": len(rows),
        "marks": float(np.mean([row["marks"] for row in rows])),
        **{
            when: {name: float(np.mean([row[when][name] for row in rows])) for name in rows[0][when]}
            for when in ("before", "after")
        },
        "weights": [correction.mark_weight for correction in corrections],
        "outvoted": float(np.mean([len(correction.outvoted) for correction in corrections])),
        "needs_other_heads": float(np.mean([correction.needs_other_heads for correction in corrections])),
    }


def learn_with_wrong_marks(world: World, most: int, draws: int, mixed: bool) -> Figures | None:
    """Marks of a harmless kind of which a share is wrong; mixed: beside as many confirmed events of other kinds."""
    rows: list[Figures] = []
    raised = world.alarms(world.fleet, world.shown)
    real = world.others.only(world.alarms(world.fleet, world.others) & world.others.labels)
    for draw in range(draws):
        random = np.random.default_rng(draw)
        marked = mark(world.shown, raised, most, random)
        confirmed = mark(real, np.ones(len(real.labels), bool), most if mixed else 0, random)
        later = world.shown.only(~world.shown.among(marked.past))
        if not len(marked.rows):
            continue
        event = np.concatenate([marked.event, confirmed.event + len(marked.past)])
        anomalous = np.arange(len(event)) >= len(marked.rows)
        z = np.concatenate([world.shown.z[marked.rows], real.z[confirmed.rows]])
        events = np.unique(event)
        wrong = set(random.choice(events, max(1, round(WRONG * len(events))), replace=False).tolist())
        others = world.others.only(~world.others.among(confirmed.past))
        groups = tuple(str(number) for number in event)
        right = world.correct(Marks(z, anomalous, groups, event))
        misled = world.correct(Marks(z, anomalous ^ np.isin(event, list(wrong)), groups, event))
        before, with_right, with_wrong = (
            world.figures(scorer, later, others)
            for scorer in (world.fleet, corrected_scorer(world.fleet, right), corrected_scorer(world.fleet, misled))
        )
        rows.append(
            {
                "events": len(events),
                "wrong": len(wrong),
                "named": len(set(misled.outvoted) & wrong),
                "right_outvoted": len(set(misled.outvoted) - wrong),
                **{f"{name}_before": value for name, value in before.items()},
                **{f"{name}_right": value for name, value in with_right.items()},
                **{f"{name}_wrong": value for name, value in with_wrong.items()},
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else None


def tell_apart(world: World, kind: str, most: int, draws: int) -> dict[str, float] | None:
    """How well a logistic regression tells later segments of the harmless kind from those of another one: ROC-AUC.

    marks: from marks of the harmless kind and calibration segments; told: from marks and half of the other kind's
    videos, measured on the other half. None: too few videos.
    """
    other = world.others.only(world.others.shows(kind) & world.others.labels)
    aucs: dict[str, list[float]] = {"marks": [], "told": []}
    for draw in range(draws):
        marked = mark(world.shown, np.ones(len(world.shown.labels), bool), most, np.random.default_rng(draw))
        later = world.shown.only(~world.shown.among(marked.past))
        half = other.among(np.unique(other.videos)[draw % 2 :: 2].tolist())
        for name, against, measured in (
            ("marks", world.calibration.z, other.z),
            ("told", other.z[half], other.z[~half]),
        ):
            if min(len(marked.rows), len(later.z), len(against), len(measured)):
                model = make_pipeline(
                    StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=500)
                )
                z = np.concatenate([world.shown.z[marked.rows], against])
                model.fit(z, np.arange(len(z)) < len(marked.rows))
                truth = np.arange(len(later.z) + len(measured)) < len(later.z)
                values = model.decision_function(np.concatenate([later.z, measured]))
                aucs[name].append(float(roc_auc_score(truth, values)))
    return {name: float(np.mean(values)) for name, values in aucs.items()} if all(aucs.values()) else None


def offer_to_fleet(world: World, most: int, draws: int) -> Figures | None:
    """How often marks of a kind, each of the camera of its video, reach the common scorer; and what that costs then.

    Half of the test videos prove that nothing gets worse, what it costs is measured on the other half.
    """
    accepted, costs, decided = 0, [], 0
    raised, names = world.alarms(world.fleet, world.shown), np.unique(world.others.videos)
    choice, known = world.validation.calibration(), world.calibration.calibration()
    for draw in range(draws):
        random = np.random.default_rng(draw)
        marked = mark(world.shown, raised, most, random)
        if not len(marked.rows):
            continue
        every = marks_of(world.shown, marked, anomalous=False)
        cameras = np.array([world.shown.cameras[video] for video in every.groups])
        marks = {camera: every.only(np.flatnonzero(cameras == camera)) for camera in sorted(set(cameras.tolist()))}
        half = world.others.among(random.permutation(names)[::2].tolist())
        proof, rest = world.others.only(half), world.others.only(~half)
        decision = correct_fleet(world.fleet, known, marks, choice, proof.calibration(), proof.cameras, world.threshold)
        decided += 1
        if decision.correction is not None:
            accepted += 1
            scorers = (world.fleet, corrected_scorer(world.fleet, decision.correction))
            before, after = (float(roc_auc_score(rest.labels, logits(scorer, rest.z))) for scorer in scorers)
            costs.append(after - before)
    return {"draws": decided, "accepted": accepted, "auc": costs} if decided else None


def load_segments(
    params: Params, bundle: Bundle, index: Path, labels: Path, features: Path, tests: Path
) -> tuple[Segments, Segments, Segments]:
    """Calibration, validation and test segments: outputs of the bundle's heads."""
    heads = tuple(HeadRef(*head) for head in bundle.heads)
    records = {split: load_records(index, labels, split) for split in ("calibration", "validation", "test")}
    parts = []
    for split in ("calibration", "validation"):
        (data,) = load_prompts(params, FeatureStore(features), records[split], [params.prompts.scoring])
        parts.append(Segments.of(data, heads, params))
    store, cut = FeatureStore(tests, "headhunt detect --split test"), bundle.segmentation.model_dump_json()
    key = model_key(bundle.mllm, bundle.mllm_revision)
    store.check([r.video_id for r in records["test"]], Source(key, (bundle.prompt,), cut))
    test = Segments.of(load_labelled(store, records["test"], 0, params.label.min_anomalous_share), heads, params)
    return parts[0], parts[1], test


def _mean(rows: Sequence[Figures]) -> Figures:
    """Means over kinds, and the changes with their standard error over kinds."""
    change = {name: np.array([row["after"][name] - row["before"][name] for row in rows]) for name in CHANGES}
    before, after = (float(np.mean([row[when]["shown"] for row in rows])) for when in ("before", "after"))
    error = {name: float(v.std(ddof=1) / np.sqrt(len(v))) if len(v) > 1 else None for name, v in change.items()}
    return {
        "before": before,
        "after": after,
        "fall": 1 - after / before if before else None,
        "change": {name: {"mean": float(v.mean()), "error": error[name]} for name, v in change.items()},
    }


def _present(kinds: Sequence[str], worlds: Mapping[str, World]) -> Iterator[tuple[str, World]]:
    return ((kind, worlds[kind]) for kind in kinds if kind in worlds)


def feedback(
    params: Params, index: Path, labels: Path, features: Path, tests: Path, bundle: Path, out: Path, draws: int = 6
) -> dict[str, Any]:
    """Write and return the figures.

    Raises:
        DatasetError: no video shows any of the kinds.
        ArtifactError: features are missing, of another model or of other prompts.
    """
    manifest = load_bundle(bundle)[0]
    parts = load_segments(params, manifest, index, labels, features, tests)
    heads = tuple(HeadRef(*head) for head in manifest.heads)
    present = {kind for part in parts for kinds in part.kinds.values() for kind in kinds}
    kinds = [kind for kind in dict.fromkeys((*HARMLESS, *OVERLOOKED)) if kind in present]
    if not kinds:
        raise DatasetError(f"no video shows one of {', '.join(dict.fromkeys((*HARMLESS, *OVERLOOKED)))}")
    progress = Console(stderr=True)
    worlds = {kind: make_world(kind, parts, heads, params) for kind in track(kinds, "detectors", console=progress)}
    untouched = {kind: logits(world.fleet, world.others.z).tobytes() for kind, world in worlds.items()}
    harmless: dict[str, Any] = {}
    overlooked: dict[str, Any] = {}
    tasks = [(kind, n) for kind in kinds for n in MARKS]
    for kind, n in track(tasks, "marks", console=progress):
        if kind in HARMLESS and (row := learn_kind(worlds[kind], n, anomalous=False, draws=draws)):
            harmless.setdefault(str(n), {})[kind] = row
        if kind in OVERLOOKED and n <= 10 and (row := learn_kind(worlds[kind], n, anomalous=True, draws=draws)):
            overlooked.setdefault(str(n), {})[kind] = row
    rest = list(_present(HARMLESS, worlds))
    wrong: dict[str, Any] = {"alone": {}, "mixed": {}}
    fleet: dict[str, Any] = {}
    for kind, world in track(rest, "wrong marks, common scorer", console=progress):
        for name in wrong:
            if row := learn_with_wrong_marks(world, MARKS[-1], draws, mixed=name == "mixed"):
                wrong[name][kind] = row
        if row := offer_to_fleet(world, MARKS[-1], min(draws, FLEET_DRAWS)):
            fleet[kind] = row
    apart = {
        f"{kind}, {other}": tell_apart(worlds[kind], other, MARKS[-1], draws) for kind, other in ALIKE if kind in worlds
    }
    result = {
        "detector_id": manifest.detector_id,
        "draws": draws,
        "harmless": harmless,
        "mean": {n: _mean(list(rows.values())) for n, rows in harmless.items()},
        "overlooked": overlooked,
        "wrong": wrong,
        "fleet": fleet,
        "apart": {pair: row for pair, row in apart.items() if row},
        "others_equal": all(logits(w.fleet, w.others.z).tobytes() == untouched[kind] for kind, w in worlds.items()),
    }
    write_json(out, result)
    return result
