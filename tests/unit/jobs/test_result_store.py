import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.detector.batches import FeatureBatch, TimedSegment
from headhunt_svc.errors import ArtifactError
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.storage.locks import locked
from headhunt_svc.storage.tensors import save_tensors
from headhunt_svc.types import FrameSpan, Segment
from helpers.reports import REPORT


def batch(first: int, n: int) -> FeatureBatch:
    rng = np.random.default_rng(first)
    segments = tuple(
        TimedSegment(
            Segment("v", i, FrameSpan(4 * i, 4 * i + 4), (4 * i, 4 * i + 2)),
            0.1 * i,
            0.1 * i + 0.1,
        )
        for i in range(first, first + n)
    )
    return FeatureBatch(segments, rng.normal(size=(n, 2, 3)).astype(np.float32))


def same(a: FeatureBatch, b: FeatureBatch) -> bool:
    light = [[(p.segment, p.start_s, p.stop_s) for p in x.segments] for x in (a, b)]
    return light[0] == light[1] and np.array_equal(a.features, b.features)


def test_checkpoints_give_the_same_batches_back_to_the_bit(tmp_path: Path) -> None:
    store, made = ResultStore(tmp_path), [batch(0, 3), batch(3, 3), batch(6, 2)]
    store.save_checkpoint("key", 0, made[:2])
    store.save_checkpoint("key", 2, made[2:])
    assert all(same(a, b) for a, b in zip(store.checkpoint("key", "v"), made, strict=True))


def test_a_checkpoint_counts_as_far_as_it_is_whole(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.save_checkpoint("key", 0, [batch(0, 3)])
    store.save_checkpoint("key", 1, [batch(3, 3)])
    store.save_checkpoint("key", 3, [batch(9, 3)])  # the one before is missing
    assert len(store.checkpoint("key", "v")) == 2
    (tmp_path / "checkpoints" / "key" / "00000001.safetensors").write_bytes(b"half")
    assert len(store.checkpoint("key", "v")) == 1
    store.drop_checkpoint("key")
    assert store.checkpoint("key", "v") == []


def test_a_lock_is_held_by_one_and_ends_with_its_process(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from headhunt_svc.storage.locks import locked
with locked(Path({str(tmp_path / "lock")!r})) as held:
    print(held, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with locked(tmp_path / "lock") as held:
            assert not held
        other.kill()
        other.wait()
    with locked(tmp_path / "lock") as held:
        assert held


def test_waiting_for_a_lock_can_be_given_up(tmp_path: Path) -> None:
    def busy() -> None:
        raise InterruptedError

    with locked(tmp_path / "lock"), pytest.raises(InterruptedError), locked(tmp_path / "lock", busy):
        pass


def test_lines_of_many_writers_stay_whole(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    threads = [
        threading.Thread(target=lambda i=i: [store.log_scoring(f"{i}-{j}", 0) for j in range(50)]) for i in range(4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    keys = [json.loads(line)["key"] for line in store.scorings.read_text().splitlines()]
    assert sorted(keys) == sorted(f"{i}-{j}" for i in range(4) for j in range(50))


@pytest.mark.parametrize("damage", ["empty", "half", "one digit", "zeros", "another version"])
def test_a_damaged_result_is_no_result_and_is_made_again(tmp_path: Path, damage: str) -> None:
    store = ResultStore(tmp_path)
    store.save("key", REPORT)
    path, content = store.result_path("key"), store.result_path("key").read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "half": content[: len(content) // 2],
            "one digit": content.replace(b'"raw":0.9', b'"raw":0.8'),
            "zeros": bytes(len(content)),
            "another version": b"{}\n",
        }[damage]
    )
    assert not store.has("key")
    with pytest.raises(ArtifactError, match="run `headhunt jobs retry JOB`"):
        store.result("key", "v")
    store.save("key", REPORT)
    assert store.has("key")
    assert store.result("key", "v") == REPORT


def test_a_result_from_before_there_were_checksums_is_read(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.save("key", REPORT)
    store.result_path("key").write_text(REPORT.model_dump_json() + "\n")
    assert store.result("key", "v") == REPORT


def test_a_checkpoint_with_a_changed_byte_is_left_out(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.save_checkpoint("key", 0, [batch(0, 3)])
    (path,) = (tmp_path / "checkpoints" / "key").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert store.checkpoint("key", "v") == []


@pytest.mark.parametrize("name", ["sizes", "features", "index", "span", "frames", "times"])
@pytest.mark.parametrize("odd", [None, np.zeros(0), np.zeros((2, 2))], ids=repr)
def test_a_checkpoint_of_odd_arrays_is_none(tmp_path: Path, name: str, odd: np.ndarray | None) -> None:
    arrays = {
        "sizes": np.array([1]),
        "features": np.zeros((1, 2, 3), np.float32),
        "index": np.array([0]),
        "span": np.array([(0, 4)]),
        "frames": np.array([(0, 2)]),
        "times": np.array([(0.0, 0.4)]),
    }
    path = tmp_path / "checkpoints" / "key" / "00000000.safetensors"
    save_tensors(path, arrays, {})
    assert len(ResultStore(tmp_path).checkpoint("key", "a.mp4")) == 1
    changed = {**arrays, name: odd} if odd is not None else {n: a for n, a in arrays.items() if n != name}
    save_tensors(path, changed, {})
    assert ResultStore(tmp_path).checkpoint("key", "a.mp4") == []


def test_files_that_another_worker_removes_during_a_purge_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are there when they are listed; a file and a whole checkpoint are gone when they are looked at."""
    store = ResultStore(tmp_path)
    names = [store.result_path(f"{i:032x}") for i in range(3)]
    names += [store.uploads / str(i) for i in range(3)]
    names += [tmp_path / "checkpoints" / f"key{i}" / "00000000.safetensors" for i in range(3)]
    for path in names:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    stat, listdir = Path.stat, os.listdir

    def stat_late(path: Path, **options: bool) -> os.stat_result:
        if path in (names[1], names[4]):
            path.unlink()
        return stat(path, **options)

    def listdir_late(path: Path) -> list[str]:
        if path == names[7].parent:
            store.drop_checkpoint("key1")
        return listdir(path)

    monkeypatch.setattr(Path, "stat", stat_late)
    monkeypatch.setattr(os, "listdir", listdir_late)
    store.purge(1.0, (), ())
    monkeypatch.undo()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
