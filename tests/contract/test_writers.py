"""Files are written through the storage layer, which makes them whole and keeps two writers apart."""

import ast
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

SOURCE = ROOT / "src" / "headhunt_svc"
WRITERS = {"write_text", "write_bytes", "rename", "renames", "mkstemp", "copyfile", "copy2", "save_file"}
ALLOWED = {
    ("cli/events.py", "copyfile"): "what write_file calls",
    ("demo/corpus.py", "open"): "what write_file calls",
    ("demo/films.py", "open"): "what write_file calls",
    ("demo/pool.py", "open"): "what write_file calls",
    ("events/clips.py", "open"): "a file of FFmpeg in a temporary folder, which the store then takes over",
    ("events/media.py", "copyfile"): "what write_file calls",
    ("monitoring/baselines.py", "write_text"): "what write_file calls",
    ("video/ring.py", "open"): "what write_file calls",
}


def _writes(path: Path) -> Iterator[tuple[str, int]]:
    """Calls that write or rename files, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        modes = [a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)]
        if name == "open" and any(isinstance(m, str) and m and set(m) <= set("wax+bt") for m in modes):
            yield name, node.lineno
        if name == "replace" and len(node.args) == 1 and not node.keywords:  # of a Path: str.replace takes two
            yield name, node.lineno
        if isinstance(node.func, ast.Attribute) and name in WRITERS:
            yield name, node.lineno


def test_files_are_written_through_the_storage_layer() -> None:
    calls = {
        (file, name): f"{file}:{line}"
        for path in sorted(SOURCE.rglob("*.py"))
        if not (file := path.relative_to(SOURCE).as_posix()).startswith("storage/")
        for name, line in _writes(path)
    }
    assert sorted(calls[call] for call in calls.keys() - ALLOWED.keys()) == []
    assert sorted(ALLOWED.keys() - calls.keys()) == []
