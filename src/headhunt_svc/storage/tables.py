"""Parquet files as bytes, and back: read in the thread that asks; nothing else in the package reads them."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as the content of a parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def open_parquet(source: Path | BinaryIO) -> pq.ParquetFile:
    """Open a parquet file without prefetching; read it with `read_table`, which raises the same errors."""
    return pq.ParquetFile(source, pre_buffer=False)


def read_table(source: Path | BinaryIO | pq.ParquetFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Read all rows of a parquet file, and all columns or some.

    pyarrow's own `read_table`, which pandas uses too, prefetches in threads. Such a thread can be the last that holds a
    Python file while the interpreter ends: the process then dies with "terminate called without an active exception"
    after its work is done, or hangs (apache/arrow issues 34314 and 50482).

    Raises:
        OSError: it cannot be read.
        pyarrow.ArrowException: it is no parquet file.
    """
    file = source if isinstance(source, pq.ParquetFile) else open_parquet(source)
    return file.read(columns=columns and list(columns), use_threads=False)


def read_parts(file: pq.ParquetFile, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
    """The same rows, so many at a time, where all of them would take much memory. Raises: see `read_table`."""
    for batch in file.iter_batches(rows, columns=list(columns), use_threads=False):
        yield pa.Table.from_batches([batch])
