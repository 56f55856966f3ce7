"""The candidate scores a video beside the detector in use, from the features that were read for that one."""

from headhunt_svc.detector.batches import FeatureBatch, ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.detector.scores import VideoScores


class Shadow:
    """The candidate's scores of one video. The model does not run again."""

    def __init__(self, candidate: Reporter, camera: str, options: Options) -> None:
        """candidate: whose features are the same (detector/links.py). options: of the detector in use.

        Raises:
            ConfigError: the candidate has no such operating point, or its scores are not known before the video ends.
        """
        self.detector = candidate.at(camera)
        self.detector.check_normality(options)
        self.point = self.detector.operating_point(options)
        self._scores = VideoScores(self.detector.scorer)

    def add(self, batch: ScoredBatch) -> ScoredBatch:
        """The next batch of the detector in use, as the candidate scores it."""
        return self._scores.add(FeatureBatch(batch.segments, batch.features, resumed=batch.resumed))
