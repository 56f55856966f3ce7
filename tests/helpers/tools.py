"""Programs of the system that some tests need: RTSP server, MQTT broker, PostgreSQL. CI installs them all."""

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's GStreamer bindings are for it


@functools.cache
def has_gstreamer() -> bool:
    """Can the RTSP servers of tests/helpers run?"""
    code = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        return subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True).returncode == 0
    except OSError:
        return False


NEEDS_RTSP = "needs GStreamer's RTSP server (.ci/run names the packages)"
needs_postgresql = pytest.mark.skipif(
    not (shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), reason="needs PostgreSQL"
)
needs_mosquitto = pytest.mark.skipif(shutil.which("mosquitto") is None, reason="needs mosquitto")
