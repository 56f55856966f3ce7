"""A disk that gets full while a file is being written: the kernel's own limit on the size of files."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def full_after(n_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond n_bytes: what fits is written, then write() fails (EFBIG for ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))  # Python ignores SIGXFSZ
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
