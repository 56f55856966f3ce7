"""What a recalibration needs of the project that a bundle was made in: stored features and labels, no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headhunt_svc import paths
from headhunt_svc.core.labelled import Calibration
from headhunt_svc.data.datasets import data_digest, load_records
from headhunt_svc.data.feature_store import FeatureStore, Source
from headhunt_svc.data.labels import read_labels
from headhunt_svc.detector.bundle import Bundle, model_key
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.params import Params
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_labelled
from headhunt_svc.pipeline.recalibrate import relabelled
from headhunt_svc.storage.files import sha256
from headhunt_svc.types import LABELLED, HeadRef, VideoRecord


@dataclass(frozen=True, slots=True)
class Project:
    """Paths of the project. corrections: the file of labels that the bundle was recalibrated with, if it was."""

    index: Path = paths.INDEX
    labels: Path = paths.LABELS
    features: Path = paths.FEATURES
    test_features: Path = paths.TEST_FEATURES
    corrections: Path | None = None

    def records(self, bundle: Bundle) -> list[VideoRecord]:
        """The labelled videos that the bundle was made from, and the test videos.

        Raises:
            ArtifactError: they are not here, or others.
        """
        way_out = (
            "run this in the folder of the project that the bundle was made in (`headhunt init`, `dvc repro`); a copy "
            "of its artifacts/ and data/features is enough, videos and model are not read"
        )
        if not (self.index.exists() and self.labels.exists()):
            raise ArtifactError(f"{self.index} and {self.labels} are not here, and marks need their videos: {way_out}")
        records = load_records(self.index, self.labels)
        if data_digest(r for r in records if r.split in LABELLED) != bundle.data["index_sha256"]:
            raise ArtifactError(
                f"{self.index} and {self.labels} are not those that the bundle was made from: {way_out}"
            )
        return records

    def labelled(self, params: Params, bundle: Bundle) -> tuple[Calibration, Calibration]:
        """The segments that the scorer was fitted on, and those that its operating points come from.

        Raises:
            ArtifactError: see `records`; or features are missing, or of another model.
            ConfigError: the bundle was recalibrated with labels that are not given.
        """
        records = [r for r in self.records(bundle) if r.split in LABELLED]
        store = FeatureStore(self.features)
        source = Source(
            model_key(bundle.mllm, bundle.mllm_revision),
            bundle.calibration_prompts,
            bundle.segmentation.model_dump_json(),
        )
        store.check([r.video_id for r in records], source)
        new = self._corrections(bundle)
        records = [relabelled(r, store.load(r.video_id), new[r.video_id]) if r.video_id in new else r for r in records]
        calibration, validation = (
            self._segments(store, [r for r in records if r.split == split], params, bundle) for split in LABELLED
        )
        return calibration, validation

    def _segments(
        self, store: FeatureStore, records: Sequence[VideoRecord], params: Params, bundle: Bundle
    ) -> Calibration:
        prompt = bundle.calibration_prompts.index(bundle.prompt)
        data = load_labelled(store, records, prompt, params.label.min_anomalous_share)
        z = data.inputs(tuple(HeadRef(*h) for h in bundle.heads), None)
        kinds = {r.video_id: r.kinds for r in data.records}
        return Calibration(z.astype(np.float64), data.labels, data.videos, kinds)

    def _corrections(self, bundle: Bundle) -> dict[str, dict[int, bool]]:
        """The labels that the bundle's scorer was fitted to instead of the project's."""
        steps = [step for step in bundle.data.get("recalibrated", []) if "labels_sha256" in step]
        if self.corrections is None:
            if steps:
                raise ConfigError(
                    f"the bundle was recalibrated with labels ({steps[-1]['labels_sha256']}): give the same file again "
                    "(headhunt recalibrate LABELS --from-events)"
                )
            return {}
        if not steps or sha256(self.corrections)[:16] != steps[-1]["labels_sha256"]:
            raise ConfigError(
                f"{self.corrections} is not the file of labels that the bundle was recalibrated with: run `headhunt "
                f"recalibrate {self.corrections}` first, then `--from-events` on the new bundle"
            )
        return read_labels(self.corrections)

    def test(self, params: Params, bundle: Bundle) -> LabelledFeatures:
        """The test videos with the features that `headhunt detect --split test` has stored.

        Raises:
            ArtifactError: there are none, or they are of another model.
        """
        records = [r for r in self.records(bundle) if r.split == "test"]
        store = FeatureStore(self.test_features, "headhunt detect --split test")
        source = Source(
            model_key(bundle.mllm, bundle.mllm_revision),
            (bundle.prompt,),
            bundle.segmentation.model_dump_json(),
        )
        store.check([r.video_id for r in records], source)
        return load_labelled(store, records, 0, params.label.min_anomalous_share)
