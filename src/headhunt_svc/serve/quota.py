"""How much disk the uploads for jobs may take together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headhunt_svc.serve.problems import RETRY, Problem


class Quota:
    """The bytes in a folder of uploads, those that are arriving included."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stored_bytes = folder, 0
        self._arriving: dict[object, int] = {}  # bytes by upload; their files are not counted otherwise

    @contextmanager
    def taking(self, limit_bytes: int) -> Iterator[Callable[[int], None]]:
        """What to call with the size of each piece of an upload before it is written. It raises Problem (507)."""
        upload = object()
        self._arriving[upload], self._stored_bytes = 0, self._stored()

        def take(n: int) -> None:
            self._arriving[upload] += n
            if self._stored_bytes + sum(self._arriving.values()) > limit_bytes:
                detail = (
                    f"uploads for jobs may take {limit_bytes} bytes together: wait until jobs are purged, or let who "
                    "runs this service raise HEADHUNT_JOBS_UPLOAD_BYTES"
                )
                raise Problem(507, "storage", detail, RETRY)

        try:
            take(0)
            yield take
        finally:
            del self._arriving[upload]
            self._stored_bytes = self._stored()  # it may be there now: those that still arrive have less room

    def _stored(self) -> int:
        """Bytes of the uploads that are complete."""
        n = 0
        for path in self._folder.glob("*"):
            with suppress(FileNotFoundError):  # a worker has purged it meanwhile
                n += 0 if path.name.startswith("video-") else path.stat().st_size
        return n
