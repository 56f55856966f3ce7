"""The files of one event's row within a transaction: written before the row names them."""

import logging

from headhunt_svc.errors import ArtifactError
from headhunt_svc.events.features import EventFeatures, joined, load_features, save_features
from headhunt_svc.events.media import Media
from headhunt_svc.events.places import SUFFIX, Places, load_places, save_places
from headhunt_svc.events.tables import EventRow

logger = logging.getLogger(__name__)


class RowFiles:
    """Picture, features and places of rows."""

    def __init__(self, media: Media) -> None:
        self._media = media

    def write(
        self,
        row: EventRow,
        picture: bytes | None,
        features: EventFeatures | None,
        is_higher: bool,
        *,
        places: Places | None = None,
        replaces: bool = False,
    ) -> None:
        """Write what belongs to an event's peak, where that is the highest, and add the features to those that it has.

        replaces: they come instead.
        """
        if picture is not None and (is_higher or not row.picture):
            self._media.write(row.id, ".jpg", picture)
            row.picture = True
        if features is not None:
            stored = None if replaces else self.features(row)
            path = self._media.path(row.id, ".safetensors")
            save_features(path, features if stored is None else joined(stored, features))
            row.features = True
        if is_higher:
            self.write_places(row, places)
        self.count(row)

    def write_places(self, row: EventRow, places: Places | None) -> None:
        """Write the places of a peak; None: they are not known, and those of a lower one no longer count."""
        if places is not None:
            save_places(self._media.path(row.id, SUFFIX), places)
        row.places = places is not None
        self.count(row)

    def features(self, row: EventRow) -> EventFeatures | None:
        """The features of a row; None if it has none, or a damaged file of them, which the log names."""
        path = self._media.path(row.id, ".safetensors")
        try:
            return load_features(path) if row.features else None
        except ArtifactError as exc:
            logger.warning("%s: %s", path, exc)
            return None

    def picture(self, row: EventRow) -> bytes | None:
        """The picture of a row; None if it has none, or one that somebody has deleted, which the log names."""
        path = self._media.path(row.id, ".jpg")
        try:
            return path.read_bytes() if row.picture else None
        except FileNotFoundError:
            logger.warning("%s is gone: somebody has deleted it", path)
            return None

    def places(self, row: EventRow) -> Places | None:
        """The places of a row; None if it has none, or a damaged file of them, which the log names."""
        path = self._media.path(row.id, SUFFIX)
        try:
            return load_places(path) if row.places else None
        except ArtifactError as exc:
            logger.warning("%s: %s", path, exc)
            return None

    def count(self, row: EventRow) -> None:
        """How large what shows people is: clip, picture, places with their picture."""
        suffixes = (row.clip, ".jpg" if row.picture else None, SUFFIX if row.places else None)
        row.media_bytes = sum(self._media.size(row.id, suffix) for suffix in suffixes if suffix is not None)
