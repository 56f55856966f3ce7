"""Annotation formats and footage on disk: the official files' counts, and everything that may be wrong."""

from pathlib import Path

import pytest

from conftest import write_video
from headhunt_svc.cli.pipeline import print_footage
from headhunt_svc.data.benchmarks import COUNTS, SPANS, read_benchmark
from headhunt_svc.data.datasets import read_annotations, read_folders
from headhunt_svc.data.footage import scan_footage
from headhunt_svc.errors import ConfigError, DatasetError
from headhunt_svc.params import DatasetParams, load_params

# lines of the official files
UCF = ["Abuse028_x264.mp4  Abuse  165  240  -1  -1  ", "Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1  "]
UCF_COUNTS = ["Normal_Videos_003_x264 0 29 0", "Abuse028_x264 0 239 0"]
XD = ["v=S-7rRLrxnVQ__#1_label_B4-0-0 0 1517 1970 3038", "F.2001__#00-29-00_label_B2-G-0.mp4 310 515"]
XD_COUNTS = [
    "v=S-7rRLrxnVQ__#1_label_B4-0-0 0 3100 3",
    "A.Beautiful.Mind.2001__#00-25-20_00-29-20_label_A 0 5760 4",
    "F.2001__#00-29-00_label_B2-G-0 0 900 2,6",
]


def official(folder: Path, name: str, spans: list[str], counts: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPANS[name]).write_text("\n".join(spans))
    (folder / COUNTS).write_text("\n".join(counts))
    return folder


@pytest.mark.parametrize(("name", "spans", "counts"), [("ucf_crime", UCF, UCF_COUNTS), ("xd_violence", XD, XD_COUNTS)])
def test_official_files_that_an_editor_saved_again(tmp_path: Path, name, spans: list[str], counts: list[str]) -> None:
    plain = read_benchmark(name, official(tmp_path, name, spans, counts))
    again = official(tmp_path, name, ["\ufeff" + spans[0], *spans[1:]], ["\ufeff" + counts[0], "", *counts[1:]])
    assert read_benchmark(name, again) == plain


def test_official_lines(tmp_path: Path) -> None:
    ucf = read_benchmark("ucf_crime", official(tmp_path / "u", "ucf_crime", UCF, UCF_COUNTS))
    normal, abuse = ucf.records("inclusive")
    assert (normal.video_id, normal.kinds, normal.true_spans) == ("Normal_Videos_003_x264", (), ())
    assert (abuse.video_id, abuse.n_frames, abuse.fps, abuse.kinds) == ("Abuse028_x264", 240, 30.0, ("Abuse",))
    assert abuse.true_spans == ((165, 240),)  # 165 to 240 inclusive, of 240 frames: cut off at the end
    assert ucf.records("half_open", fps=25.0)[1].fps == 25.0
    xd = read_benchmark("xd_violence", official(tmp_path / "x", "xd_violence", XD, XD_COUNTS)).records("inclusive")
    assert [r.kinds for r in xd] == [("riot",), (), ("shooting", "explosion")]
    assert xd[0].true_spans == ((0, 1518), (1970, 3039))
    assert xd[2].video_id == "F.2001__#00-29-00_label_B2-G-0"


@pytest.mark.external_data
@pytest.mark.parametrize(
    ("name", "anomalous", "normal", "frames", "inclusive", "half_open", "most_spans"),
    [
        ("ucf_crime", 140, 150, 1_111_808, 84_331, 84_182, 2),
        ("xd_violence", 500, 300, 2_335_801, 539_562, 538_324, 22),
    ],
)
def test_the_official_files_have_the_published_counts(
    external: Path, name, anomalous: int, normal: int, frames: int, inclusive: int, half_open: int, most_spans: int
) -> None:
    benchmark = read_benchmark(name, external / "annotations" / name)
    for ends, expected in (("inclusive", inclusive), ("half_open", half_open)):
        records = benchmark.records(ends)
        assert sum(r.is_anomalous for r in records) == anomalous
        assert sum(not r.is_anomalous for r in records) == normal
        assert sum(r.n_frames for r in records) == frames
        assert sum(int(r.truth().sum()) for r in records) == expected
        assert max(len(r.true_spans) for r in records) == most_spans
        assert not any(r.video_id.endswith(".mp4") for r in records)


@pytest.mark.external_data
def test_sixteen_ucf_videos_have_two_spans_and_seven_spans_are_cut_off(external: Path) -> None:
    benchmark = read_benchmark("ucf_crime", external / "annotations" / "ucf_crime")
    assert sum(len(a.spans) == 2 for a in benchmark.annotations) == 16
    assert sum(b >= benchmark.n_frames[a.video] for a in benchmark.annotations for _, b in a.spans) == 7


@pytest.mark.parametrize(
    ("name", "spans", "counts", "says"),
    [
        ("ucf_crime", ["A.mp4 Abuse 1 2"], [], "4 fields, expected"),
        ("ucf_crime", ["A.mp4 Abuse 1 x -1 -1"], [], "are not whole numbers"),
        ("ucf_crime", ["A.mp4 Abuse 9 -1 -1 -1"], [], "a span with one end"),
        ("ucf_crime", ["A.mp4 Abuse 9 2 -1 -1"], [], "a span from 9 to 2"),
        ("ucf_crime", ["A.mp4 Abuse 1 9 5 12"], [], "begins before the one before"),
        ("ucf_crime", ["A.mp4 Abuse -1 -1 -1 -1"], [], "label 'Abuse' with 0 spans"),
        ("ucf_crime", ["A.mp4 Normal 1 2 -1 -1"], [], "label 'normal' with 1 spans"),
        ("ucf_crime", ["A.mp4 Abuse 1 2 -1 -1"], [], "A is not in test_frame_counts.txt"),
        ("ucf_crime", ["A.mp4 Abuse 5 9 -1 -1"], ["A 0 4 0"], "begins after the 5 frames of A"),
        ("ucf_crime", [], ["A 0 4 0"], "A is not annotated"),
        ("ucf_crime", [], ["A 0 4"], "expected: name 0 last-frame class"),
        ("ucf_crime", [], ["A 1 4 0"], "frames 1 to 4"),
        ("ucf_crime", [], ["A 0 x 0"], "are not whole numbers"),
        ("xd_violence", ["v_label_B1-0-0 1 2 3"], [], "3 numbers after the name"),
        ("xd_violence", ["v_label_B1-0-0"], [], "0 numbers after the name"),
        ("xd_violence", ["v_label_A 1 2"], [], "label 'normal' with 1 spans"),
        ("xd_violence", ["v 1 2"], [], "does not end in _label_"),
        ("xd_violence", [], ["v_label_B1-0-0 0 9 1"], "is not annotated in annotations.txt"),
    ],
)
def test_wrong_lines_of_official_files(tmp_path: Path, name, spans: list[str], counts: list[str], says: str) -> None:
    good, good_counts = (UCF, UCF_COUNTS) if name == "ucf_crime" else (XD, XD_COUNTS)
    folder = official(tmp_path, name, [*good, *spans], [*good_counts, *counts])
    with pytest.raises(DatasetError, match=says) as caught:
        read_benchmark(name, folder)
    where = f"{SPANS[name]}:{len(good) + 1}: " if spans else f"{COUNTS}:{len(good_counts) + 1}: "
    assert where in str(caught.value)


def test_all_wrong_lines_of_all_files_at_once(tmp_path: Path) -> None:
    folder = official(tmp_path, "ucf_crime", ["x", *UCF, UCF[0]], [*UCF_COUNTS, "y", UCF_COUNTS[0]])
    with pytest.raises(DatasetError) as caught:
        read_benchmark("ucf_crime", folder)
    for part in ("Videos.txt:1: 1 fields", "Videos.txt:4: Abuse028", "counts.txt:3: exp", "counts.txt:4: Normal"):
        assert part in str(caught.value)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_benchmark("xd_violence", folder)


CSV = "video,split,label,start,stop,unit\n"


def test_csv_says_the_same_as_json_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        CSV + "a.mp4,test,fall,1.0,2.0,seconds\nb.mp4,test,normal,,,frames\na.mp4,test,fall,0,0.5,seconds\n"
    )
    (tmp_path / "a.jsonl").write_text(
        '{"video": "a.mp4", "split": "test", "label": "fall", "spans": [[1, 2], [0, 0.5]], "unit": "seconds"}\n'
        '{"video": "b.mp4", "split": "test", "label": "normal", "spans": [], "unit": "frames"}\n'
    )
    assert read_annotations(tmp_path / "a.csv") == read_annotations(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("name", "encoding", "rows"),
    [
        ("A.CSV", "utf-8-sig", ["video;split;label;start;stop;unit", "a.mp4;test;fall;1,25;2,5;seconds"]),
        ("a.txt", "utf-16", ["Video\tSplit\tLabel\tStart\tStop\tUnit", "a.mp4\ttest\tfall\t1,25\t2,5\tseconds"]),
        ("a.csv", "utf-8", ["unit, start, stop, label, split, video", "seconds, 1.25, 2.5, fall, test, a.mp4"]),
    ],
)
def test_annotations_as_spreadsheets_save_them(tmp_path: Path, name: str, encoding: str, rows: list[str]) -> None:
    (tmp_path / name).write_text("\n".join(rows), encoding=encoding)
    (annotation,) = read_annotations(tmp_path / name)
    assert (annotation.video, annotation.spans, annotation.unit) == ("a.mp4", ((1.25, 2.5),), "seconds")


def test_wrong_rows_of_a_csv_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        CSV + "a.mp4,test,fall,1,2,seconds\na.mp4,test,fall,3,,seconds\n\na.mp4,hard,fall,5,6,seconds\n"
        "b.mp4,test,fall,x,2,seconds\nc.mp4,test,fall,1,2\nd.mp4,test,normal,1,2,frames\ne.mp4,test,fall,1,2,frames,7\n"
    )
    with pytest.raises(DatasetError) as caught:
        read_annotations(path)
    for part in (
        "a.csv:2: spans.1.1",
        "a.csv:5: a.mp4 has another split than in line 2",
        "a.csv:6: start",
        "a.csv:7: unit",
        "a.csv:8: label 'normal' with 1 spans",
        "a.csv:9: too many",
    ):
        assert part in str(caught.value)
    path.write_text("video,label\n")
    with pytest.raises(DatasetError, match=r"a\.csv:1: the header must be video,split"):
        read_annotations(path)


def test_folders_with_and_without_splits(tmp_path: Path) -> None:
    write_video(tmp_path / "one" / "normal" / "a.mp4", 10)
    write_video(tmp_path / "one" / "anomalous" / "x" / "b.mp4", 12)
    found = scan_footage(DatasetParams(root=tmp_path / "one", layout="folders"))
    assert [(r.video_id, r.split, r.label, r.true_spans) for r in found.records] == [
        ("normal/a.mp4", "test", "normal", ()),
        ("anomalous/x/b.mp4", "test", "anomalous", ((0, 12),)),
    ]
    write_video(tmp_path / "two" / "validation" / "normal" / "a.mp4", 10)
    assert [a.split for a in read_folders(tmp_path / "two")] == ["validation"]
    with pytest.raises(DatasetError, match="no folders normal/ and anomalous/"):
        read_folders(tmp_path)


def ucf_like(folder: Path) -> DatasetParams:
    """Videos of ten frames: one is there in a folder of its class, one is shorter, ... as named."""
    root = folder / "videos"
    for name, n in (("Abuse/fine", 10), ("Abuse/short", 5), ("long", 12), ("a/twice", 10), ("b/twice", 10), ("new", 3)):
        write_video(root / f"{name}.mp4", n)
    (root / "broken.mp4").write_text("no video")
    names = ("fine", "short", "long", "twice", "broken", "gone")
    lines = [f"{n}.mp4 Abuse 2 4 -1 -1" for n in names]
    official(folder / "lists", "ucf_crime", lines, [f"{n} 0 9 0" for n in names])
    return DatasetParams(root=root, annotations=folder / "lists", layout="ucf_crime", span_ends="inclusive")


def test_everything_that_does_not_fit_is_in_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scan_footage(ucf_like(tmp_path))
    assert [(r.video_id, r.n_frames, r.true_spans) for r in found.records] == [
        ("fine", 10, ((2, 5),)),
        ("long", 12, ((2, 5),)),
    ]
    assert {f.video: f.status for f in found.findings} == {
        "short": "shorter",
        "long": "longer",
        "twice": "ambiguous",
        "broken": "unreadable",
        "gone": "missing",
        "new.mp4": "extra",
    }
    print_footage(found)
    table = capsys.readouterr().err
    for finding in found.findings:
        assert finding.video in table
        assert finding.status in table
    assert "2 videos fit their annotations: 2 anomalous, 22 frames in all" in table
    with pytest.raises(DatasetError, match=r"^4 videos do not fit .*short\.mp4: 5 frames, 10 are stated"):
        found.check(allow_missing=False)
    with pytest.raises(DatasetError, match=r"^3 videos do not fit"):
        found.check(allow_missing=True)


def test_a_missing_video_may_be_allowed_but_not_all_of_them(tmp_path: Path) -> None:
    params = ucf_like(tmp_path)
    official(tmp_path / "lists", "ucf_crime", [f"{n}.mp4 Abuse 2 4 -1 -1" for n in "xy"], ["x 0 9 0", "y 0 9 0"])
    write_video(params.root / "x.mp4", 10)
    scan_footage(params).check(allow_missing=True)
    (params.root / "x.mp4").unlink()
    with pytest.raises(DatasetError, match="none of the annotated videos is there"):
        scan_footage(params).check(allow_missing=True)


def test_a_stated_frame_rate_overrides_the_files(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 40)
    (tmp_path / "a.csv").write_text(CSV + "a.mp4,test,fall,1.0,2.0,seconds\n")
    plain = DatasetParams(root=tmp_path, annotations=tmp_path / "a.csv")
    stated = plain.model_copy(update={"fps": 5.0})
    assert [(r.fps, r.true_spans[0]) for p in (plain, stated) for r in scan_footage(p).records] == [
        (10.0, (10, 20)),
        (5.0, (5, 10)),
    ]


def test_inclusive_ends_are_of_frames_only(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 40)
    write_video(tmp_path / "b.mp4", 40)
    (tmp_path / "a.csv").write_text(CSV + "a.mp4,test,fall,10,20,frames\nb.mp4,test,fall,1,2,seconds\n")
    found = scan_footage(DatasetParams(root=tmp_path, annotations=tmp_path / "a.csv", span_ends="inclusive"))
    assert [r.true_spans[0] for r in found.records] == [(10, 21), (10, 20)]


def test_a_span_past_the_end_of_own_footage_means_a_shorter_file(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 15)
    (tmp_path / "a.csv").write_text(CSV + "a.mp4,test,fall,1,2,seconds\n")
    found = scan_footage(DatasetParams(root=tmp_path, annotations=tmp_path / "a.csv"))
    assert [f.status for f in found.findings] == ["shorter"]


def test_layouts_say_what_they_need(tmp_path: Path, root: Path) -> None:
    text = (root / "params.yaml").read_text().replace("  annotations: data/demo.jsonl\n", "")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match="give annotations, except for the layout `folders`"):
        load_params(tmp_path / "params.yaml")
