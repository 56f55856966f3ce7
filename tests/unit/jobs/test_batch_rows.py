"""Which rows of an earlier run of `headhunt batch` count."""

from pathlib import Path

from headhunt_svc.jobs.batch import rows_of_earlier_runs
from headhunt_svc.storage.store import Store


def test_a_row_that_a_disk_has_damaged_is_scored_again(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for name, content in (("whole", b'{"video_id": "a"}\n'), ("empty", b""), ("half", b'{"vid'), ("zeros", bytes(64))):
        store.write(f"results/ab/{name}.json", content)
    assert rows_of_earlier_runs(store) == {"results/ab/whole.json"}
