"""Who is asking: sessions by a cookie, and a token that a page of another site cannot know."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic

from headhunt_svc.web.keys import Keys, digest_of

COOKIE = "headhunt_console"
HOURS = 12  # then somebody types the key again
MOST = 1000  # sessions; beyond, the oldest ends
LOCAL = "local"  # who changes something where no keys are needed: somebody on this machine


@dataclass(frozen=True, slots=True)
class _Session:
    key: bytes
    ends: float


class Sessions:
    """Sessions of people who have typed a key; they end with the process, with the key, and after HOURS."""

    def __init__(self, keys: Callable[[], Keys | None], clock: Callable[[], float] = monotonic) -> None:
        """keys: those that count now; None where nobody needs one."""
        self._keys, self._clock = keys, clock
        self._secret = secrets.token_bytes(32)
        self._sessions: dict[bytes, _Session] = {}
        self._lock = Lock()

    @property
    def needs_key(self) -> bool:
        """Must somebody type a key?"""
        return self._keys() is not None

    def author(self, cookie: str | None, header: str | None = None) -> str | None:
        """The name of who asks, for the record; None: a key is needed. header: Authorization, of programs."""
        keys = self._keys()
        if keys is None:
            return LOCAL
        if header is not None:
            return keys.name_of(header)
        session = self._sessions.get(digest_of(cookie)) if cookie else None
        return keys.name_of_digest(session.key) if session is not None and session.ends > self._clock() else None

    def new_cookie(self) -> str:
        """A cookie that nobody can guess."""
        return secrets.token_urlsafe(32)

    def token(self, cookie: str) -> str:
        """What the forms of a page hold that this cookie was sent with."""
        return hmac.new(self._secret, cookie.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def is_token(self, cookie: str | None, token: str) -> bool:
        """Does this token belong to the cookie?"""
        return cookie is not None and hmac.compare_digest(self.token(cookie).encode(), token.encode())

    def log_in(self, key: str) -> str | None:
        """The cookie of a new session; None if no key is this one."""
        keys, now = self._keys(), self._clock()
        digest = digest_of(key.strip())
        if keys is None or keys.name_of_digest(digest) is None:
            return None
        with self._lock:
            self._sessions = {name: session for name, session in self._sessions.items() if session.ends > now}
            while len(self._sessions) >= MOST:
                del self._sessions[next(iter(self._sessions))]
            cookie = self.new_cookie()
            self._sessions[digest_of(cookie)] = _Session(digest, now + HOURS * 3600)
        return cookie

    def log_out(self, cookie: str | None) -> None:
        """End a session."""
        if cookie:
            with self._lock:
                self._sessions.pop(digest_of(cookie), None)
