import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from conftest import write_video
from headhunt_svc.core.background import inputs
from headhunt_svc.core.frame_times import FrameTimes
from headhunt_svc.core.localization import smooth
from headhunt_svc.core.scoring import apply_scorer, novelty
from headhunt_svc.core.steady import without_steady
from headhunt_svc.data.datasets import (
    check_files_apart,
    load_index,
    load_records,
    make_record,
    read_annotations,
    save_index,
    save_labels,
    write_annotations,
)
from headhunt_svc.data.feature_store import FeatureStore, Source, VideoFeatures
from headhunt_svc.detector.export import scorer_graph
from headhunt_svc.detector.heads_file import load_selection, save_selection
from headhunt_svc.detector.scorer_file import load_scorer, save_scorer
from headhunt_svc.errors import ArtifactError, DatasetError, OutputError
from headhunt_svc.params import DatasetParams
from headhunt_svc.pipeline.index import index as write_index
from headhunt_svc.storage import files
from headhunt_svc.storage.files import read_json, write_json
from headhunt_svc.storage.tables import read_table
from headhunt_svc.types import (
    Alternatives,
    Background,
    Confidence,
    FrameSpan,
    HeadRef,
    HeadSelection,
    IndexedVideo,
    Normality,
    OperatingPoint,
    Scorer,
    Segment,
)
from headhunt_svc.video.clock import Discontinuity, Hole
from headhunt_svc.video.files import read_times
from headhunt_svc.video.source import Gap, VideoState

HEADS = (HeadRef(0, 1), HeadRef(2, 0))
SOURCE = Source("model 1", ("what?", "who?"), "1.6 s")
TIMES = np.array([[0.0, 0.4], [0.4, 0.8], [600.0, 600.4]])
STATE = VideoState(
    fps=10 / 3,
    stated_fps=4.0,
    n_frames=12,
    duration_s=1.2,
    gaps=[Gap(None, 2, "lost"), Gap(0.1, 1, "damaged", 0.3)],
    holes=[Hole(0.8, 600.0)],
    discontinuities=[Discontinuity(0.4, -7.5)],
    repaired_times=3,
    unfinished="cut off",
    stream=1,
    streams=(0, 1),
)


def _lines(path: Path, *lines: dict | str) -> Path:
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


def _line(video: str = "a.mp4", **changes) -> dict:
    return {"video": video, "split": "test", "label": "fall", "spans": [[1.0, 2.0]], "unit": "seconds", **changes}


def test_annotation_in_seconds_becomes_frames_and_survives_the_index(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 40)
    record = make_record(read_annotations(_lines(tmp_path / "x.jsonl", _line()))[0], path, read_times(path)[0])
    assert (record.n_frames, record.fps, record.true_spans) == (40, 10.0, (FrameSpan(10, 20),))
    assert record.truth().sum() == 10
    index, labels = tmp_path / "index.parquet", tmp_path / "labels.parquet"
    save_index(index, [record])
    save_labels(labels, [record])
    assert load_records(index, labels, "test") == [record]
    assert load_index(index, "test") == [IndexedVideo("a.mp4", path, 40, 10.0, "test")]
    assert load_records(index, labels, "calibration") == load_index(index, "calibration") == []


def test_a_camera_survives_both_forms_of_annotations_and_the_index(tmp_path: Path) -> None:
    """An index without cameras has no column of them, as those of older versions."""
    lines = _lines(tmp_path / "x.jsonl", _line(camera=" yard "), _line("b.mp4"))
    header = "video,split,label,start,stop,unit,camera"
    table = _lines(tmp_path / "x.csv", header, "a.mp4,test,fall,1,2,seconds, yard ", "b.mp4,test,fall,1,2,seconds,")
    annotations = read_annotations(lines)
    assert [a.camera for a in annotations] == ["yard", None]
    assert read_annotations(table) == annotations
    write_annotations(tmp_path / "again.jsonl", annotations)
    assert read_annotations(tmp_path / "again.jsonl") == annotations
    assert [*map(json.loads, (tmp_path / "again.jsonl").read_text().splitlines())][1].keys() == _line().keys()
    records = [make_record(a, tmp_path / a.video, FrameTimes.at_rate(40, 10.0)) for a in annotations]
    index, labels = tmp_path / "index.parquet", tmp_path / "labels.parquet"
    for stated, column in ((records, ["camera"]), (records[1:], [])):
        save_index(index, stated)
        save_labels(labels, stated)
        assert read_table(index).column_names == ["video_id", "path", "n_frames", "fps", "split", *column]
        assert load_records(index, labels) == stated
        assert [v.camera for v in load_index(index)] == [r.camera for r in stated]


def test_the_rows_of_a_video_name_one_camera_that_has_a_name(tmp_path: Path) -> None:
    rows = [f"{name}.mp4,test,fall,{i},{i + 1},seconds,cam-{i}" for i, name in enumerate("aab")]
    path = _lines(tmp_path / "x.csv", "video,split,label,start,stop,unit,camera", *rows)
    with pytest.raises(DatasetError, match=r"x\.csv:3: a\.mp4 has another camera than in line 2$"):
        read_annotations(path)
    with pytest.raises(DatasetError, match=r"x\.jsonl:1: camera: .* at least 1 character"):
        read_annotations(_lines(tmp_path / "x.jsonl", _line(camera=" ")))


def test_a_changed_label_leaves_the_index_as_it_is(tmp_path: Path) -> None:
    files = [write_video(tmp_path / "videos" / name, 40) for name in ("a.mp4", "b.mp4")]
    lines = [_line(), _line("b.mp4", split="calibration", label="normal", spans=[])]
    params = DatasetParams(root=files[0].parent, annotations=tmp_path / "x.jsonl")
    written = []
    for second in (lines[1], _line("b.mp4", split="calibration")):
        _lines(tmp_path / "x.jsonl", lines[0], second)
        write_index(params, tmp_path / "index.parquet", tmp_path / "labels.parquet")
        written.append([(tmp_path / f"{name}.parquet").read_bytes() for name in ("index", "labels")])
        records = load_records(tmp_path / "index.parquet", tmp_path / "labels.parquet", "calibration")
        assert [r.label for r in records] == [second["label"]]
    (before, labels_before), (after, labels_after) = written
    assert before == after
    assert labels_before != labels_after
    save_labels(tmp_path / "labels.parquet", load_records(tmp_path / "index.parquet", tmp_path / "labels.parquet")[:1])
    with pytest.raises(ArtifactError, match=r"labels\.parquet has no label of b\.mp4: run `headhunt index` again"):
        load_records(tmp_path / "index.parquet", tmp_path / "labels.parquet")
    with pytest.raises(ArtifactError, match=r"labels\.parquet has no column path: run `headhunt index` again"):
        load_index(tmp_path / "labels.parquet")


def test_all_wrong_lines_are_reported_at_once_with_their_numbers(tmp_path: Path) -> None:
    path = _lines(
        tmp_path / "x.jsonl", _line(), "{", _line("b.mp4", split="tset"), _line(), _line("c.mp4", label="normal")
    )
    with pytest.raises(DatasetError) as caught:
        read_annotations(path)
    for part in (
        "x.jsonl:2",
        "x.jsonl:3: split",
        "x.jsonl:4: a.mp4 is annotated twice, in test (",
        "x.jsonl:5: label 'normal' with 1 spans",
    ):
        assert part in str(caught.value)


def test_a_file_in_two_splits_is_named_whatever_it_is_called(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 40)
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a.mp4")
    lines = _lines(tmp_path / "x.jsonl", _line(), _line("b.mp4", split="calibration"), _line("./a.mp4"))
    records = [make_record(a, tmp_path / a.video, FrameTimes.at_rate(40, 10.0)) for a in read_annotations(lines)]
    check_files_apart([records[0], records[2]])
    with pytest.raises(DatasetError, match=r"b.mp4 \(calibration\) and a.mp4 \(test\) are one file"):
        check_files_apart(records)


def test_a_span_past_the_end_is_named(tmp_path: Path) -> None:
    annotation = read_annotations(_lines(tmp_path / "x.jsonl", _line()))[0]
    with pytest.raises(ValueError, match=r"a.mp4: a span from 1 s to 2 s, but the video ends at 1.500 s"):
        make_record(annotation, tmp_path / "a.mp4", FrameTimes.at_rate(15, 10.0))
    in_frames = annotation.model_copy(update={"unit": "frames", "spans": ((10.0, 20.0),)})
    with pytest.raises(ValueError, match=r"a.mp4: span \(10, 20\) is not within 0 and 15"):
        make_record(in_frames, tmp_path / "a.mp4", FrameTimes.at_rate(15, 10.0))


def test_features_round_trip_and_same_bytes(tmp_path: Path) -> None:
    segments = tuple(Segment("v", i, FrameSpan(4 * i, 4 * i + 4), (4 * i, 4 * i + 2)) for i in range(3))
    # not contiguous, as an array is that was put together along another axis
    values = np.random.default_rng(0).normal(size=(3, 2, 2, 5)).astype(np.float32).transpose(1, 0, 2, 3)
    stores = [FeatureStore(tmp_path / n) for n in "ab"]
    for store in stores:
        store.save("v", VideoFeatures(segments, TIMES, HEADS, values, values[:, :, 0], STATE, 2), "k1", SOURCE)
        store.finish(["v"])
    for name in sorted(p.name for p in (tmp_path / "a").iterdir()):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    np.testing.assert_array_equal(stores[0].under_prompt(["v"], 1, hidden=True).values[:, 0], values[1, :, 0])
    np.testing.assert_array_equal(stores[0].times(["v", "v"]), np.concatenate([TIMES, TIMES]))
    loaded = stores[0].under_prompt(["v"], 1)
    assert loaded.segments == segments
    np.testing.assert_array_equal(loaded.values, values[1])
    np.testing.assert_array_equal(loaded.select((HEADS[1], HEADS[0])), values[1][:, [1, 0]].reshape(3, 10))
    assert (stores[0].key("v"), stores[0].key("w")) == ("k1", None)
    whole = stores[0].load("v")
    assert (whole.state, whole.batch_segments) == (STATE, 2)


def test_features_of_removed_videos_go(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    segment = (Segment("v", 0, FrameSpan(0, 1), (0,)),)
    for name in ("old", "new"):
        zeros = (np.zeros(s, np.float32) for s in ((1, 1, 2, 3), (1, 1, 4)))
        store.save(name, VideoFeatures(segment, TIMES[:1], HEADS, *zeros, STATE, 1), "k", SOURCE)
    store.finish(["new"])
    with pytest.raises(ArtifactError, match="no features of old"):
        store.load("old")


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (replace(SOURCE, model="model 2"), "v are of model 'model 1', params.yaml asks for 'model 2'"),
        (replace(SOURCE, prompts=("who?", "what?")), r"v are of prompts \('what\?', 'who\?'\), params.yaml asks for"),
        (replace(SOURCE, segmentation="2 s"), "v are of segmentation '1.6 s', params.yaml asks for '2 s'"),
    ],
)
def test_features_of_another_model_prompts_or_segments_are_named(tmp_path: Path, wanted: Source, says: str) -> None:
    store = FeatureStore(tmp_path)
    segment = (Segment("v", 0, FrameSpan(0, 1), (0,)),)
    zeros = (np.zeros(s, np.float32) for s in ((2, 1, 2, 3), (2, 1, 4)))
    store.save("v", VideoFeatures(segment, TIMES[:1], HEADS, *zeros, STATE, 1), "k", SOURCE)
    store.check(["v"], SOURCE)
    with pytest.raises(ArtifactError, match=f"{says}.*run `headhunt extract`"):
        store.check(["v"], wanted)
    with pytest.raises(ArtifactError, match="no features of w"):
        store.check(["w"], SOURCE)


def test_selection_round_trip(tmp_path: Path) -> None:
    sure = Confidence(50, (1.0, 0.9), 0.8, None, 0.91, 0.03, "trustworthy", "2 of 2 heads")
    compared = replace(sure, alternatives=Alternatives(0.8, 0.02, 0.9, 0.01))
    for confidence in (compared, sure, None):
        chosen = HeadSelection(
            HEADS, (0.5, 0.25), SOURCE.prompts, "m", "r", "robust", confidence, "d", "r float32", "1.6 s"
        )
        save_selection(tmp_path / "heads.json", chosen)
        assert load_selection(tmp_path / "heads.json") == chosen
    save_selection(tmp_path / "heads.json", replace(chosen, confidence=sure))
    raw = json.loads((tmp_path / "heads.json").read_text())
    del raw["confidence"]["alternatives"]  # of an older version
    (tmp_path / "heads.json").write_text(json.dumps(raw))
    assert load_selection(tmp_path / "heads.json").confidence == sure
    (tmp_path / "heads.json").write_text('{"heads": []}')
    with pytest.raises(ArtifactError, match="run `headhunt identify`"):
        load_selection(tmp_path / "heads.json")


def test_scorer_round_trip(tmp_path: Path) -> None:
    scorer = Scorer(HEADS, np.arange(6.0), -0.5)
    save_scorer(tmp_path / "s.safetensors", scorer)
    loaded = load_scorer(tmp_path / "s.safetensors")
    assert (loaded.heads, loaded.bias, loaded.normality) == (HEADS, -0.5, None)
    np.testing.assert_array_equal(loaded.weight, scorer.weight)
    with_normality = replace(scorer, normality=Normality(np.arange(6.0), np.diag(np.arange(6.0)), 1.5))
    save_scorer(tmp_path / "n.safetensors", with_normality)
    loaded = load_scorer(tmp_path / "n.safetensors")
    assert loaded.normality is not None
    assert loaded.normality.weight == 1.5
    assert loaded.normality.typical is None
    np.testing.assert_array_equal(loaded.normality.mean, np.arange(6.0))
    np.testing.assert_array_equal(loaded.normality.precision, np.diag(np.arange(6.0)))
    typical = replace(scorer, normality=Normality(np.arange(6.0), np.diag(np.arange(6.0)), 1.5, 12.25))
    save_scorer(tmp_path / "t.safetensors", typical)
    again = load_scorer(tmp_path / "t.safetensors").normality
    assert again is not None
    assert again.typical == 12.25
    assert not again.ignores_steady  # as in files of earlier versions
    save_scorer(tmp_path / "i.safetensors", replace(typical, normality=replace(again, ignores_steady=True)))
    kept = load_scorer(tmp_path / "i.safetensors").normality
    assert kept is not None
    assert kept.ignores_steady
    assert loaded.background is None
    save_scorer(tmp_path / "b.safetensors", replace(with_normality, background="ema"))
    assert load_scorer(tmp_path / "b.safetensors").background == "ema"
    (tmp_path / "s.safetensors").write_bytes(b"junk")
    with pytest.raises(ArtifactError, match="headhunt fit"):
        load_scorer(tmp_path / "s.safetensors")


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("n", [1, 2, 37])
@pytest.mark.parametrize("weight", [None, 0.8])
@pytest.mark.parametrize("background", [None, "ema", "median"])
def test_onnx_equals_the_core(sigma: float, n: int, weight: float | None, background: Background | None) -> None:
    rng, d = np.random.default_rng(n), 10 if background is None else 20
    root = rng.normal(size=(d, d))
    normality = None if weight is None else Normality(rng.normal(size=d), root @ root.T, weight)
    scorer = Scorer(HEADS, rng.normal(size=d), -1.3, normality, background)
    graph = scorer_graph(scorer, OperatingPoint(sigma, 0.5), {"heads": HEADS, "prompt": "why?"})
    z = rng.normal(size=(n, 10)).astype(np.float32)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    raw, smoothed = session.run(["raw", "smoothed"], {"features": z})
    expected = apply_scorer(scorer, inputs(background, z))
    np.testing.assert_allclose(raw, expected, atol=1e-5)
    np.testing.assert_allclose(smoothed, smooth(expected, sigma), atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map == {"heads": "[[0, 1], [2, 0]]", "prompt": "why?"}


@pytest.mark.parametrize("n", [1, 7, 9, 40, 400])
def test_onnx_leaves_out_what_is_strange_all_the_time_as_the_core_does(n: int) -> None:
    rng = np.random.default_rng(n)
    root = rng.normal(size=(6, 6))
    normality = Normality(rng.normal(size=6), root @ root.T, 0.7, 2.5, ignores_steady=True)
    scorer = Scorer(HEADS, rng.normal(size=6), -1.3, normality)
    z = (rng.normal(size=(n, 6)) + 2 * (np.arange(n) > n // 3)[:, None]).astype(np.float32)
    session = onnxruntime.InferenceSession(scorer_graph(scorer, OperatingPoint(0.75, 0.5), {}).SerializeToString())
    raw, smoothed = session.run(["raw", "smoothed"], {"features": z})
    expected = apply_scorer(scorer, z)
    np.testing.assert_allclose(raw, expected, atol=1e-5)
    left = without_steady(expected, novelty(scorer, z))
    assert (np.abs(left - expected) > 0.01).any() == (n > 7)
    np.testing.assert_allclose(smoothed, smooth(left, 0.75), atol=1e-5)


@pytest.mark.parametrize("damage", ["truncated", "a changed number", "empty", "no checksum"])
def test_a_damaged_shard_is_extracted_again_and_never_read(tmp_path: Path, damage: str) -> None:
    segments = tuple(Segment("v", i, FrameSpan(4 * i, 4 * i + 4), (4 * i, 4 * i + 2)) for i in range(3))
    values = np.random.default_rng(0).normal(size=(2, 3, 2, 5)).astype(np.float32)
    features = VideoFeatures(segments, TIMES, HEADS, values, values[:, :, 0], STATE, 2)
    store = FeatureStore(tmp_path)
    store.save("v", features, "k1", SOURCE)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    if damage == "no checksum":  # as earlier versions wrote them
        with safe_open(path, "np") as f:
            about = {k: v for k, v in json.loads(f.metadata()["about"]).items() if k != "crc32"}
        path.write_bytes(save({"values": values, "hidden": values[:, :, 0].copy()}, {"about": json.dumps(about)}))
    else:
        changed = content[:-9] + bytes([content[-9] ^ 64]) + content[-8:]
        path.write_bytes({"truncated": content[:-1], "a changed number": changed, "empty": b""}[damage])
    assert store.key("v") is None
    with pytest.raises(ArtifactError, match=r"holds no features of v \(.*\): run `headhunt extract`"):
        store.load("v")
    store.save("v", features, "k1", SOURCE)
    assert store.key("v") == "k1"
    assert path.read_bytes() == content


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "a.json", {"v": 1})

    def full(self: Path, *args, **kwargs) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match=r"cannot write .*a\.json \(No space left on device\): choose another place"):
        write_json(tmp_path / "a.json", {"v": 2})
    assert read_json(tmp_path / "a.json", "x") == {"v": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_code_version_changes_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    for name in ("mllm/a.py", "core/b.py", "io/files.py"):
        (package / name).parent.mkdir(parents=True)
        (package / name).write_text("x = 1\n")
    monkeypatch.setattr(files, "__file__", str(package / "io" / "files.py"))
    first = files.code_version("mllm", "core/b.py")
    assert files.code_version("mllm", "core/b.py") == first
    (package / "mllm" / "a.py").write_text("x = 2\n")
    assert files.code_version("mllm", "core/b.py") != first


def test_missing_artifacts_name_the_stage_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="run `headhunt identify` first"):
        read_json(tmp_path / "heads.json", "headhunt identify")
