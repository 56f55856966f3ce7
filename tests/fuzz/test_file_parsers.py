"""Every file that comes from outside or lies where others write: read, or refused with an error of errors.py.

`make fuzz` gives every target two hundred times the examples.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from headhunt_svc.errors import HeadHuntError
from headhunt_svc.storage.tables import open_parquet, parquet_bytes
from headhunt_svc.storage.tensors import CHECKSUM, save_tensors, tensor_bytes
from helpers.parsed_files import TARGETS, Target

DEPTHS = (60, 20_000)
NESTED = [text for n in DEPTHS for text in ("[" * n + "]" * n, '{"a":' * n + "1" + "}" * n, "[" * n)]
few = settings(max_examples=settings().max_examples // 5, suppress_health_check=list(HealthCheck))


def _read(target: Target, folder: Path, content: bytes) -> None:
    """Read the content; an error that is not one of ours, or has no message, fails the test."""
    path = folder / target.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    message = "none"
    try:
        target.read(folder)
    except HeadHuntError as exc:
        message = str(exc)
    assert 0 < len(message) < 20_000
    assert "\n" not in message


@pytest.mark.parametrize("name", TARGETS)
def test_what_these_tests_damage_can_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / TARGETS[name].name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(TARGETS[name].seed())
    if name not in ("scores as JSON", "scores as CSV", "scores as an array"):  # of none of the demo's videos
        TARGETS[name].read(tmp_path)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_nested_too_deeply(tmp_path: Path, name: str) -> None:
    for text in NESTED:
        _read(TARGETS[name], tmp_path, text.encode())


PIECES = [
    b"",
    b"\n",
    b",",
    b'"',
    b"{",
    b"[",
    b"}",
    b"]",
    b"<",
    b"&",
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b"\0",
    b"\xff\xfe",
]
bits = st.binary(max_size=6) | st.sampled_from([*PIECES, b"\xff\xfe", b"9" * 5000])


@pytest.mark.parametrize("name", TARGETS)
@few
@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = TARGETS[name].seed()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(start + 60, len(content))))
        content = content[:start] + data.draw(bits) + content[stop:]
    _read(TARGETS[name], tmp_path, content)


odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.just([]), st.just({}),
    st.sampled_from([10**30, -1, 2**63, [[1, 2, 3]], {"a": None}, "\ud800", "../..", [None], "a" * 3000, "[" * 2000]),
)  # fmt: skip


def _replaced(data: st.DataObject, value: Any) -> Any:
    """A JSON value with one place in it changed, dropped or added."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 5)):
        name = data.draw(st.sampled_from(sorted(value)))
        return {**value, name: _replaced(data, value[name])}
    if isinstance(value, list) and value and data.draw(st.integers(0, 5)):
        i = data.draw(st.integers(0, len(value) - 1))
        return [*value[:i], _replaced(data, value[i]), *value[i + 1 :]]
    return data.draw(odd)


JSON_TARGETS = [name for name, target in TARGETS.items() if target.name.endswith(".json")]


@pytest.mark.parametrize("name", JSON_TARGETS)
@few
@given(st.data())
def test_no_value_in_a_file_is_too_odd(tmp_path: Path, name: str, data: st.DataObject) -> None:
    value = _replaced(data, json.loads(TARGETS[name].seed()))
    _read(TARGETS[name], tmp_path, json.dumps(value).encode() + b"\n")


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.name.endswith(".safetensors")])
@few
@given(st.data())
def test_no_fact_beside_tensors_is_too_odd(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = tmp_path / "seed.safetensors"
    path.write_bytes(TARGETS[name].seed())
    with safe_open(path, "np") as f:
        facts, tensors = f.metadata() or {}, {key: f.get_tensor(key) for key in f.keys()}
    path.unlink()
    changed = data.draw(st.sampled_from(sorted(tensors)))
    tensors[changed] = data.draw(
        st.sampled_from([np.zeros(0), np.zeros((2, 2)), np.full(3, np.nan), np.zeros(3, np.int8), np.array(0.0)])
    )
    if "about" in facts:
        about = json.loads(facts["about"])
        if about.pop(CHECKSUM, None) is not None:  # whoever writes a file also writes its checksum
            changed_facts = _replaced(data, about)
            save_tensors(path, tensors, changed_facts if isinstance(changed_facts, dict) else about)
            _read(TARGETS[name], tmp_path, path.read_bytes())
            return
        facts["about"] = json.dumps(_replaced(data, about))
    _read(TARGETS[name], tmp_path, tensor_bytes(tensors, facts))


columns = st.sampled_from(
    [
        lambda n: pa.nulls(n),
        lambda n: pa.array([None] * n, pa.string()),
        lambda n: pa.array(["[" * 5000] * n),
        lambda n: pa.array(["null"] * n),
        lambda n: pa.array(['[["a", 2]]'] * n),
        lambda n: pa.array(["{}"] * n),
        lambda n: pa.array([b"\xff"] * n, pa.binary()),
        lambda n: pa.array([float("nan")] * n),
        lambda n: pa.array([2**63 - 1] * n),
        lambda n: pa.array([-(2**63)] * n, pa.timestamp("us", "UTC")),
        lambda n: pa.array([[1.0]] * n),
        lambda n: pa.array([[1.0] * (i % 3) for i in range(n)], pa.list_(pa.float32())),
        lambda n: pa.array([{"a": 1}] * n),
        lambda n: pa.array([True] * n),
    ]
)


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.name.endswith(".parquet")])
@few
@given(st.data())
def test_no_column_of_a_table_is_too_odd(tmp_path: Path, name: str, data: st.DataObject) -> None:
    table = open_parquet(io.BytesIO(TARGETS[name].seed())).read(use_threads=False)
    i = data.draw(st.integers(0, table.num_columns - 1))
    kind = data.draw(st.sampled_from(["drop", "change", "twice", "metadata"]))
    if kind == "drop":
        table = table.remove_column(i)
    elif kind == "change":
        table = table.set_column(i, table.column_names[i], data.draw(columns)(len(table)))
    elif kind == "twice":
        table = table.append_column(table.column_names[i], table.column(i))
    else:
        metadata = table.schema.metadata or {}
        changed = {
            key: json.dumps(_replaced(data, json.loads(value))) if value.startswith(b"{") else value
            for key, value in metadata.items()
        }
        table = table.replace_schema_metadata(changed)
    _read(TARGETS[name], tmp_path, parquet_bytes(table))
