"""Tells open pages that something has changed (server-sent events): one look at the data for all of them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping

from headhunt_svc.errors import HeadHuntError

logger = logging.getLogger(__name__)
EVERY_S = 2.0
MOST_OPEN = 200  # pages; each costs a task and a connection


class TooManyPagesError(Exception):
    """No more pages may wait for changes."""


class Live:
    """Looks at the data again and again while a page is open, and wakes those that wait."""

    def __init__(self, versions: Callable[[], Mapping[str, str]], every_s: float = EVERY_S) -> None:
        """versions: by subject (events, status, drift) a text that changes when it does."""
        self._look, self._every_s = versions, every_s
        self._versions: Mapping[str, str] = {}
        self._changed = asyncio.Event()
        self.open = 0
        self.is_ending = False

    @property
    def is_full(self) -> bool:
        """May no more pages wait?"""
        return self.open >= MOST_OPEN

    async def watch(self) -> None:
        """Look until cancelled; what cannot be read now is looked at again."""
        while True:
            if self.open:
                await self._look_now()
            await asyncio.sleep(self._every_s)

    async def _look_now(self) -> None:
        try:
            versions = await asyncio.to_thread(self._look)
        except HeadHuntError as exc:
            logger.warning("live updates wait: %s", exc)
            return
        if versions != self._versions:
            self._versions = versions
            self._changed.set()
            self._changed = asyncio.Event()

    def end(self) -> None:
        """Let all streams end, so that the server can."""
        self.is_ending = True
        self._changed.set()

    async def changes(self) -> AsyncIterator[str]:
        """The subjects to draw anew: first all, as the page may be older than the first look, then those that change.

        Raises:
            TooManyPagesError: no more pages may wait.
        """
        if self.is_full:
            raise TooManyPagesError
        self.open += 1
        try:
            await self._look_now()
            sent: Mapping[str, str] = {}
            while not self.is_ending:
                changed, versions = self._changed, self._versions
                for subject in [name for name, version in versions.items() if sent.get(name) != version]:
                    yield subject
                sent = versions
                if self._versions == sent:
                    await changed.wait()
        finally:
            self.open -= 1
