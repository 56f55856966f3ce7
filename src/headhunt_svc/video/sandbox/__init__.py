"""Decode in a separate, limited process: a video may break that process, never this one. See docs/security.md."""

from headhunt_svc.video.sandbox.reader import SandboxedReader, start
from headhunt_svc.video.sandbox.wire import ProcessLimits

__all__ = ["ProcessLimits", "SandboxedReader", "start"]
