"""Who may write a folder, and who waits."""

import threading
import time
from pathlib import Path

import pytest

from headhunt_svc.errors import OutputError
from headhunt_svc.storage.locks import exclusive, locked, sole_writer


def test_a_second_writer_of_a_folder_is_refused_until_the_first_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with sole_writer(Path("features")):
        with pytest.raises(OutputError, match=r"another process writes to .*features: wait for it, or end it"):
            sole_writer(tmp_path / "features").__enter__()
        with sole_writer(tmp_path / "reports"), sole_writer(Path()):
            pass
    with sole_writer(tmp_path / "features"):
        pass
    assert not (tmp_path / "features").exists()  # nothing of the lock is in the folder


def test_a_change_waits_for_the_one_before_but_not_for_ever(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(tmp_path / ".lock"):
            entered.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(30)
    started = time.monotonic()
    with pytest.raises(OutputError, match=r"locked by another process for 0\.3 s"), exclusive(tmp_path / ".lock", 0.3):
        pass
    assert time.monotonic() - started >= 0.3
    threading.Timer(0.3, leave.set).start()
    with exclusive(tmp_path / ".lock"):
        assert leave.is_set()
    holder.join()


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for lock in (exclusive(tmp_path / "file" / ".lock"), sole_writer(tmp_path / "file" / "features")):
        with pytest.raises(OutputError, match=r"cannot write .*lock"), lock:
            pass


def test_a_lock_is_released_when_its_holder_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError), exclusive(tmp_path / ".lock"):
        raise ValueError
    with locked(tmp_path / ".lock") as held:
        assert held
