"""Parquet -> a table. The one place that reads parquet: pyarrow's own threads must not hold a Python file."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


def open_parquet(source: Path | BinaryIO) -> pq.ParquetFile:
    """A parquet file that reads nothing ahead; read it with `read_table`.

    Raises:
        OSError: it cannot be read.
        pyarrow.ArrowException: it is no parquet file.
    """
    return pq.ParquetFile(source, pre_buffer=False)


def read_table(source: Path | BinaryIO | pq.ParquetFile, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows, all columns or some, read in the thread that asks.

    pyarrow's `read_table`, and pandas' with it, reads ahead in threads of its own, and such a thread can be the last to
    let go of a Python file while the interpreter ends: the process then dies with "terminate called without an active
    exception" after its work is done, or hangs (apache/arrow issues 34314 and 50482).

    Raises:
        OSError: it cannot be read.
        pyarrow.ArrowException: it is no parquet file.
    """
    file = source if isinstance(source, pq.ParquetFile) else open_parquet(source)
    return file.read(columns=columns and list(columns), use_threads=False)
