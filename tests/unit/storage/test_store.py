"""One folder interface for disks and object stores."""

import errno
import pickle
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from headhunt_svc.errors import ConfigError, OutputError, UnreachableError
from headhunt_svc.storage.store import Store


@pytest.fixture(params=["{}/log", "file://{}/log", "{}/a [1] folder", "memory://{}", "filecache::memory://{}", "rel"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.chdir(tmp_path)
    yield Store(request.param.format(tmp_path))
    MemoryFileSystem.store.clear()


def test_files_come_back_and_are_replaced_listed_and_removed(store: Store) -> None:
    store.write("a/one.json", b"1")
    store.write("a/two.json", b"2")
    store.write("b/three.json", b"3")
    store.write("a/one.json", b"one")
    assert [store.read(name) for name in ("a/one.json", "b/three.json")] == [b"one", b"3"]
    with store.open("a/two.json") as file:
        assert file.read() == b"2"
    assert store.glob("*/*.json") == ["a/one.json", "a/two.json", "b/three.json"]
    assert store.glob("*") == ["a", "b"]
    store.remove("a/two.json")
    store.remove("b", recursive=True)
    assert store.glob("*/*.json") == ["a/one.json"]


def test_a_file_that_does_not_exist_is_told_from_a_store_that_does_not_answer(store: Store) -> None:
    assert store.glob("*") == []
    store.remove("none.json")
    with pytest.raises(FileNotFoundError):
        store.read("none.json")
    with pytest.raises(FileNotFoundError):
        store.open("none.json")


def test_another_process_in_another_folder_gets_the_same_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("a.json", b"1")
    sent = pickle.dumps(store)
    monkeypatch.chdir("/")
    assert pickle.loads(sent).read("a.json") == b"1"  # noqa: S301 - as Ray does


@pytest.mark.parametrize("uri", ["memory://x", "filecache::memory://x", "simplecache::memory://x"])
def test_an_object_store_has_no_folder_on_this_disk_even_behind_a_cache(uri: str, tmp_path: Path) -> None:
    assert Store(uri).folder is None
    assert Store(f"file://{tmp_path}").folder == tmp_path


def test_an_unknown_kind_of_store_is_refused() -> None:
    with pytest.raises(ConfigError, match="nowhere://bucket"):
        Store("nowhere://bucket")


def test_a_disk_that_cannot_be_written_is_named_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    store.write("a.json", b"old")

    def full(self: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"cannot write .*a\.json"):
        store.write("a.json", b"new")
    assert store.read("a.json") == b"old"


class LibraryError(Exception):
    """An error of a store's library: not an OSError."""


def test_whatever_a_store_raises_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(MemoryFileSystem):
        def _fail(self, *_: object, **__: object) -> None:
            raise LibraryError("503")

        pipe_file = cat_file = open = glob = rm = _fail

    fsspec.register_implementation("away", Failing, clobber=True)
    store = Store("away://bucket")
    for action in (
        lambda: store.write("a.json", b""),
        lambda: store.read("a.json"),
        lambda: store.open("a.json"),
        lambda: store.glob("*"),
        lambda: store.remove("a.json"),
    ):
        with pytest.raises(UnreachableError, match=r"away://bucket.* now \(503\)"):
            action()


def test_folders_are_made_where_a_store_has_real_ones() -> None:
    class WithFolders(MemoryFileSystem):
        def pipe_file(self, path: str, value: bytes, **more: object) -> None:
            if not self.isdir(path.rpartition("/")[0]):
                raise FileNotFoundError(path)
            super().pipe_file(path, value, **more)

    fsspec.register_implementation("folders", WithFolders, clobber=True)
    store = Store("folders://archive")
    store.write("day/a.json", b"1")
    assert store.read("day/a.json") == b"1"
