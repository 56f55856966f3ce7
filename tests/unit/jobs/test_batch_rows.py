"""Which rows of an earlier run of `headhunt batch` count, and who may write them."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from conftest import ROOT
from headhunt_svc.errors import OutputError
from headhunt_svc.jobs.batch import BatchCounts, rows_of_earlier_runs, run
from headhunt_svc.jobs.models import JobOptions, Row
from headhunt_svc.storage.store import Store


def test_a_row_that_a_disk_has_damaged_is_scored_again(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for name, content in (("whole", b'{"video_id": "a"}\n'), ("empty", b""), ("half", b'{"vid'), ("zeros", bytes(64))):
        store.write(f"results/ab/{name}.json", content)
    assert rows_of_earlier_runs(store) == {"results/ab/whole.json"}


@pytest.mark.parametrize("out", ["{}/out", "memory://two-runs"])
def test_a_second_run_into_a_folder_is_refused_and_leaves_the_first_alone(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store has no locks: docs/jobs.md says that one run at a time may write there."""
    on_disk, work = "memory" not in out, tmp_path / "out" / "work"
    second: list[BatchCounts] = []

    def batch() -> BatchCounts:
        return run([], out.format(tmp_path), ROOT / "artifacts" / "detector", JobOptions.model_validate({}))

    def while_another_run_begins(store: Store, rows: Iterable[Row]) -> None:
        monkeypatch.undo()
        if on_disk:
            work.mkdir(parents=True)
            with pytest.raises(OutputError, match=r"out/\.lock has been locked by another process"):
                batch()
            assert work.is_dir()
        else:
            second.append(batch())

    monkeypatch.setattr("headhunt_svc.jobs.batch._write_parts", while_another_run_begins)
    assert batch() == BatchCounts(0, 0, 0)
    assert (len(second), work.exists()) == (not on_disk, False)
    assert batch() == BatchCounts(0, 0, 0)
