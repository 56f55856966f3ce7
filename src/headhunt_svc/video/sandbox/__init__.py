"""Decodes videos in separate, limited processes, so that no video can break the process of the service.

See docs/security.md.
"""

from headhunt_svc.video.sandbox.reader import SandboxedReader, start
from headhunt_svc.video.sandbox.wire import ProcessLimits

__all__ = ["ProcessLimits", "SandboxedReader", "start"]
