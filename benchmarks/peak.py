"""The most memory that a process held. (`getrusage` also counts that of the process which started it.)"""

import re
from pathlib import Path


def peak_bytes() -> int:
    """Bytes that this process held at most, since it was started."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024
