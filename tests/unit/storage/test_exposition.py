"""The port for Prometheus of processes without HTTP of their own."""

import socket
import urllib.request

import pytest

from headhunt_svc.errors import ConfigError
from headhunt_svc.monitoring.metrics import LAST_RUN
from headhunt_svc.storage.exposition import metrics_served


def test_a_taken_port_is_refused_by_name_and_a_free_one_serves_the_gauges() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"on 127.0.0.1:{port} \(.*\): choose another one"), metrics_served(port):
            pass
    LAST_RUN.set(12345)
    with metrics_served(port):
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
        assert "headhunt_monitor_last_run_seconds 12345.0" in page
    with metrics_served(port):  # it was given back
        pass
