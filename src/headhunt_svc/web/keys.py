"""API keys: several, each with a name, sent as bearer tokens or typed once, compared in constant time, never shown."""

import hashlib
import hmac
import ipaddress
import logging
import stat
from collections.abc import Iterable
from pathlib import Path
from time import monotonic

from headhunt_svc.errors import ConfigError
from headhunt_svc.settings import Settings

logger = logging.getLogger(__name__)
_POLL_S = 1.0  # how often the file of keys is looked at
_MIN_CHARS = 16  # characters of a key


class Keys:
    """The keys by name; only their digests are kept."""

    def __init__(self, keys: Iterable[tuple[str, str]]) -> None:
        self._digests: dict[str, bytes] = {}
        for name, key in keys:
            if not name or not name.isprintable() or name in self._digests:
                raise ConfigError(f"API keys: the name {name!r} is empty, not printable or there twice; write name:key")
            if len(key) < _MIN_CHARS or not key.isascii() or not key.isprintable() or " " in key:
                way_out = f"{_MIN_CHARS} or more ASCII characters, no spaces"
                raise ConfigError(f"API keys: the key of {name!r} needs {way_out}")
            self._digests[name] = digest_of(key)

    def __repr__(self) -> str:
        return f"Keys({', '.join(self._digests)})"

    @classmethod
    def load(cls, settings: Settings) -> "Keys | None":
        """Read HEADHUNT_API_KEYS (name:key,name:key) and HEADHUNT_API_KEYS_FILE (name:key lines); None without keys.

        Raises:
            ConfigError: not of this form, or the file is missing, empty or readable by everybody.
        """
        lines = settings.api_keys.get_secret_value().split(",") if settings.api_keys is not None else []
        if settings.api_keys_file is not None:
            lines += _lines(settings.api_keys_file)
        pairs = [line.strip().partition(":") for line in lines if line.strip()]
        if any(not colon for _, colon, _ in pairs):
            raise ConfigError("API keys: one of them has no name; write name:key")  # which one would show it
        return cls((name.strip(), key.strip()) for name, _, key in pairs) if pairs else None

    def name_of(self, header: str | None) -> str | None:
        """The name of the key in an Authorization header, or None."""
        scheme, _, token = (header or "").partition(" ")
        name = self.name_of_digest(digest_of(token.strip()))
        return name if scheme.lower() == "bearer" else None

    def name_of_digest(self, digest: bytes) -> str | None:
        """The name of the key with this digest, or None; takes the same time for every key."""
        match = None
        for name, key_digest in self._digests.items():
            if hmac.compare_digest(digest, key_digest):
                match = name
        return match


def digest_of(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as f:
            if stat.S_IMODE(path.stat().st_mode) & stat.S_IROTH:
                raise ConfigError(f"{path}: everybody can read these API keys: run `chmod o-r {path}`")
            lines = [line for line in f.read().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: API keys cannot be read ({getattr(exc, 'strerror', None) or 'not text'})") from exc
    if not lines:
        raise ConfigError(f"{path}: no API keys in this file; write lines of name:key")
    return lines


def required(host: str) -> bool:
    """Must a service that listens on this address or name have keys? Everywhere but on loopback."""
    if host == "localhost":
        return False
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_loopback


def keys_for(settings: Settings, addresses: list[str]) -> Keys | None:
    """The keys of a service that listens on these addresses; None where it needs none. Raises ConfigError."""
    keys = Keys.load(settings)
    public = [address for address in addresses if required(address)]
    if keys is None and public:
        raise ConfigError(
            f"listening on {public[0]} needs API keys: set HEADHUNT_API_KEYS=name:key or "
            "HEADHUNT_API_KEYS_FILE, or listen on 127.0.0.1"
        )
    return keys


class CurrentKeys:
    """The keys that count now: a changed HEADHUNT_API_KEYS_FILE is read again, so that keys change without a restart.

    While the file is missing or wrong, the keys before still count, and the log says so.
    """

    def __init__(self, settings: Settings, addresses: list[str]) -> None:
        self._settings, self._addresses = settings, addresses
        self._state, self._next_look = self._file_state(), monotonic() + _POLL_S
        self._keys = keys_for(settings, addresses)

    def __call__(self) -> Keys | None:
        """The keys; None where none are needed."""
        if self._settings.api_keys_file is not None and monotonic() >= self._next_look:
            self._next_look = monotonic() + _POLL_S
            state = self._file_state()
            if state != self._state:
                self._state = state
                self._read_again()
        return self._keys

    def _file_state(self) -> tuple[int, ...]:
        """What changes when the file does."""
        try:
            state = self._settings.api_keys_file.stat() if self._settings.api_keys_file is not None else None
        except OSError:
            return ()
        return (state.st_mtime_ns, state.st_size, state.st_ino, state.st_mode) if state is not None else ()

    def _read_again(self) -> None:
        try:
            self._keys = keys_for(self._settings, self._addresses)
        except ConfigError as exc:
            logger.error("the changed API keys do not count, those before do: %s", exc)
        else:
            logger.info("API keys were read again")
