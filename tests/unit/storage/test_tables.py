import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headhunt_svc.storage.tables import open_parquet, read_table

READER = """
import io, os, sys
from pathlib import Path
import pyarrow.parquet as pq
from headhunt_svc.storage.tables import read_table

def threads():
    return len(os.listdir("/proc/self/task"))

before = threads()
for source in (Path(sys.argv[1]), io.BytesIO(Path(sys.argv[1]).read_bytes())):
    assert read_table(source).num_rows == 2000
print(threads() - before, end=" ")
pq.read_table(sys.argv[1])
print(threads() - before)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": range(2000), "name": [f"x{i % 7}" for i in range(2000)]}), path, row_group_size=500)
    return path


def test_columns_are_those_that_were_asked_for(path: Path) -> None:
    assert read_table(path).equals(pq.read_table(path))
    with path.open("rb") as f:
        assert read_table(open_parquet(f), ["name"]).equals(pq.read_table(path, columns=["name"]))
    with pytest.raises(FileNotFoundError):
        read_table(path.with_name("b.parquet"))


def test_reading_leaves_no_thread_that_could_hold_a_python_file_at_exit(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READER, path], capture_output=True, text=True, timeout=120, check=True
    ).stdout.split()
    assert done[0] == "0"
    assert int(done[1]) > 0  # those of pyarrow's own way
