"""Whatever is in params.yaml, annotations or a model folder: one line says what, where and the way out."""

import json
import string
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conftest import ROOT, write_video
from headhunt_svc.params import load_params
from helpers.commands import command, refusal, refusal_of

PARAMS = """
mllm: {id: model}
dataset: {root: footage, annotations: annotations.jsonl}
segmentation: {length_s: 0.8, frames_per_segment: 2}
prompts: {texts: ["what happens in the video?"]}
identify: {top_k: 5, seed: 0}
calibrate: {sigma_segments: [0.0, 0.5]}
"""
few = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose parameters and annotations are fine, with two videos and no index."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(PARAMS)
    for name in ("a.mp4", "b.mp4"):
        write_video(folder / "footage" / name, 16)
    return folder


# -- params.yaml ------------------------------------------------------------------------------------------------------
SHIPPED = (ROOT / "params.yaml").read_bytes()
numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([10**30, -(10**30), 2**32, 2**64, 10**400, 1e308, 5e-324, -0.0])
)
scalars = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=8), st.dates(), st.datetimes(), st.binary(max_size=4),
    st.sampled_from(["", " ", "\0", "/", "a" * 5000, "auto", "f\nf", "\x1b[31m"]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(string.ascii_letters, max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
PLACES = [
    (section, *name)
    for section, names in yaml.safe_load(PARAMS).items()
    for name in [(), *((n,) for n in names), ("odd",)]
]
LAUGHS = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30))])
MERGES = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 30))]
)


def refuse_params(project: Path, content: bytes) -> str:
    """What `headhunt identify` says; with parameters that can be used, that there is no index."""
    (project / "fuzzed.yaml").write_bytes(content)
    return refusal("identify", "--params", "fuzzed.yaml", cwd=project)


@few
@given(st.sampled_from(PLACES), values)
def test_no_value_of_a_parameter_is_too_odd(project: Path, place: tuple[str, ...], value: Any) -> None:
    raw = yaml.safe_load(PARAMS)
    *above, name = place
    inner = raw
    for key in above:
        inner = inner[key]
    inner[name] = value
    message = refuse_params(project, yaml.safe_dump(raw).encode())
    assert "fuzzed.yaml" in message or "`headhunt index` first" in message


@few
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@example(b"")
@example(b"- mllm")
@example(b"\xff\xfe")
@example("mllm: {id: a}".encode("utf-16"))
@example(b"mllm: " + b"[" * 5000)
@example(b"mllm: " + b"{a: " * 5000)
@example(b"&a [*a]")
@example(b"mllm: &a {id: *a}")
@example(LAUGHS.encode())
@example(f"{LAUGHS}\nmllm: *a29\ndataset: *a29".encode())
@example(f"{MERGES}\nmllm: *a29".encode())
@example(b"mllm: !!python/object/apply:os.system [ls]")
@example(b"mllm: !!int x")
@example(b"mllm: !!float ''")
@example(b"mllm: !!bool x")
@example(b"mllm: !!timestamp x")
@example(b"mllm: !!binary x")
@example(b"mllm: !!set {a, b}")
@example(b"mllm: 2001-99-99")
@example(b"mllm: 0b_")
@example(b"mllm: {id: " + b"9" * 5000 + b"}")
@example(b"? [a]\n: b")
@example(b"%YAML 9.9\n--- a")
def test_no_params_file_is_too_odd(project: Path, content: bytes) -> None:
    assert "fuzzed.yaml" in refuse_params(project, content)


@few
@given(st.data())
def test_a_damaged_params_file_is_refused_or_read(project: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SHIPPED)))
    stop = data.draw(st.integers(start, min(start + 200, len(SHIPPED))))
    put = data.draw(
        st.binary(max_size=6) | st.sampled_from([b"\n", b": ", b"- ", b"\t", b"{", b"[", b"&", b"*", b"!!"])
    )
    message = refuse_params(project, SHIPPED[:start] + put + SHIPPED[stop:])
    assert "fuzzed.yaml" in message or "`headhunt index` first" in message


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("identify: {seed: -1}", "identify.seed: Input should be greater than or equal to 0"),
        ("identify: {seed: 4294967296}", "identify.seed: Input should be less than 4294967296"),
        ("identify: {instability_penalty: .nan}", "identify.instability_penalty: Input should be a finite number"),
        ("calibrate: {n_thresholds: 1000000000000}", "calibrate.n_thresholds: Input should be less than or equal to"),
        ("calibrate: {sigma_segments: [.inf]}", "calibrate.sigma_segments.0: Input should be a finite number"),
        ("label: {min_anomalous_share: .nan}", "label.min_anomalous_share: Input should be a finite number"),
        ("split: {calibration: .inf}", "split.calibration"),
        ("label: {}\nlabel: {}", "label stands here twice"),
    ],
)
def test_numbers_that_would_fail_later_are_refused_at_once(project: Path, line: str, says: str) -> None:
    rest = "".join(old + "\n" for old in PARAMS.splitlines() if old.split(":")[0] != line.split(":")[0])
    assert says in refuse_params(project, f"{rest}{line}\n".encode())


def test_many_wrong_values_are_counted(project: Path) -> None:
    wrong = "".join(f"odd{i}: 1\n" for i in range(500))
    message = refuse_params(project, (PARAMS + wrong).encode())
    assert message.endswith("odd9: unknown parameter; and 490 more")


def test_the_parameters_of_these_tests_can_be_used(project: Path) -> None:
    assert load_params(project / "params.yaml").mllm.id == "model"
    assert "`headhunt index` first" in refuse_params(project, PARAMS.encode())


# -- annotations ------------------------------------------------------------------------------------------------------
ROW = {"video": "a.mp4", "split": "test", "label": "fall", "spans": [[0.2, 0.8]], "unit": "seconds"}
odd_spans = st.lists(st.tuples(numbers, numbers) | values, max_size=3)
rows = st.fixed_dictionaries(
    {
        "video": st.sampled_from(
            ["a.mp4", "b.mp4", "./a.mp4", "", "none.mp4", "../footage/a.mp4", "a\0b", "/", ".", "x" * 5000]
        ),
        "split": st.sampled_from(["calibration", "validation", "test", "hard", "train"]) | scalars,
        "label": st.sampled_from(["normal", "fall", "fall+fight"]) | scalars,
        "spans": odd_spans,
        "unit": st.sampled_from(["seconds", "frames"]) | scalars,
    }
)
CSV = "video,split,label,start,stop,unit"


@pytest.fixture(scope="module")
def annotated(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in a folder of its own, as an index is written to it."""
    folder = tmp_path_factory.mktemp("annotated")
    (folder / "footage").symlink_to(project / "footage")
    for name in ("jsonl", "csv"):
        (folder / f"{name}.yaml").write_text(PARAMS.replace("annotations.jsonl", f"annotations.{name}"))
    return folder


def refuse_annotations(folder: Path, kind: str, content: bytes) -> str | None:
    """What `headhunt index` says; None if it can use them."""
    (folder / f"annotations.{kind}").write_bytes(content)
    done = command("index", "--params", f"{kind}.yaml", cwd=folder)
    return refusal_of(done) if done.code else None


def as_json(value: Any) -> Any:
    return str(value) if isinstance(value, bytes | date) else value


@few
@given(st.lists(rows, min_size=1, max_size=3))
@example([ROW | {"spans": [[0, float("inf")]], "unit": "frames"}])
@example([ROW | {"spans": [[1, float("inf")]], "unit": "frames"}])
@example([ROW | {"spans": [[1, float("inf")]]}])
@example([ROW | {"spans": [[1e308, 1e308]], "unit": "frames"}])
@example([ROW | {"spans": [[1e308, 1e308]]}])
@example([ROW | {"spans": [[0, 10**400]]}])
@example([ROW | {"spans": [[0.2, 0.2]]}])
@example([ROW | {"spans": [[3, 3]], "unit": "frames"}])
@example([ROW | {"spans": [[float("nan"), float("nan")]]}])
@example([ROW | {"video": "a\0b"}])
@example([ROW | {"video": "\ud800"}])
def test_no_annotation_is_too_odd(annotated: Path, lines: list[dict[str, Any]]) -> None:
    content = "\n".join(json.dumps(line, default=as_json) for line in lines)
    refuse_annotations(annotated, "jsonl", content.encode())


@few
@given(st.sampled_from(["jsonl", "csv"]), st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@example("jsonl", b"")
@example("csv", b"")
@example("jsonl", b"[" * 100_000)
@example("jsonl", b'{"video": ' * 10_000)
@example("jsonl", b"\xff\xfe{")
@example("jsonl", b"7")
@example("jsonl", b'{"video": "\\ud800"}')
@example("csv", CSV.encode() + b"\n" + b'"' * 1001)
@example("csv", b"a" * 200_000)
@example("csv", b'"' + b"a" * 200_000)
@example("csv", CSV.encode() + b"\n" + b"a" * 200_000)
@example("csv", b"\0,\0")
@example("csv", f"{CSV},{CSV}\n".encode())
@example("csv", f"{CSV}\n".encode("utf-16"))
@example("csv", f"{CSV}\n".encode("utf-16")[:-1])
@example("csv", b",,,,,\n,,,,,")
def test_no_annotations_file_is_too_odd(annotated: Path, kind: str, content: bytes) -> None:
    message = refuse_annotations(annotated, kind, content)
    assert message is not None
    assert f"annotations.{kind}" in message


@few
@given(st.lists(st.sampled_from(["a.mp4", "test", "normal", "fall", "0.2", "0.8", "seconds", "frames", "", "nan", "inf",
    "-1", "1e999", "0x10", '"', '""', "1,5", "\u2028", " "]), max_size=14))  # fmt: skip
def test_no_cell_is_too_odd(annotated: Path, cells: list[str]) -> None:
    lines = [CSV, *(",".join(cells[i : i + 6]) for i in range(0, len(cells), 6))]
    message = refuse_annotations(annotated, "csv", "\n".join(lines).encode())
    assert message is None or "a.mp4" in message or "annotations.csv" in message or "footage" in message
