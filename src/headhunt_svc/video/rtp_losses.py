"""Notices lost packets of RTSP: FFmpeg joins what is left into pictures, and only its log says so."""

import logging
from types import TracebackType

import av.logging

_MISSED = "RTP: missed"  # of FFmpeg's rtpdec.c
_WAITED_S = 0.01  # a packet that takes as long was not there before


class Losses:
    """Says which packets of one stream may lack data.

    A `with` covers what one thread reads. What is lost while a packet is read belongs to that one or to the next.
    """

    def __init__(self) -> None:
        logging.getLogger("libav").setLevel(logging.CRITICAL)  # what is not captured is for nobody
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.WARNING)
        self._capture: av.logging.Capture | None = None
        self._lines: list[tuple[int, str, str]] = []
        self._n_concerned = 0  # packets that come now
        self._while_opening = False  # packets that were received then are concerned

    def __enter__(self) -> None:
        self._capture = av.logging.Capture()
        self._lines = self._capture.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._capture is not None
        self._while_opening = self._is_reported()
        self._capture.__exit__(None, None, None)

    def _is_reported(self) -> bool:
        reported = any(_MISSED in text for _, _, text in self._lines)
        self._lines.clear()
        return reported

    def may_concern_next(self, waited_s: float) -> bool:
        """May the packet that was read now lack data? waited_s: how long that took."""
        if self._is_reported():
            self._n_concerned = 2
        self._while_opening = self._while_opening and waited_s < _WAITED_S
        concerned = self._n_concerned > 0 or self._while_opening
        self._n_concerned = max(self._n_concerned - 1, 0)
        return concerned
