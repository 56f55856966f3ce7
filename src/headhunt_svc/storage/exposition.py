"""Serves the Prometheus metrics of a process that has no HTTP of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from headhunt_svc.errors import ConfigError

LOOPBACK = "127.0.0.1"


@contextmanager
def metrics_served(port: int | None, address: str = LOOPBACK) -> Iterator[None]:
    """Serve all metrics as long as the `with` lasts. port: None serves nothing.

    Raises:
        ConfigError: the port is taken, or the address is none of this machine.
    """
    if port is None:
        yield
        return
    from prometheus_client import start_http_server  # slow to import, and commands know the address before

    try:
        server, thread = start_http_server(port, address)
    except OSError as exc:
        reason = exc.strerror or exc
        raise ConfigError(f"metrics cannot be served on {address}:{port} ({reason}): choose another one") from exc
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
