import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.errors import VideoOpenError
from headhunt_svc.names import (
    MOST_ID,
    CameraName,
    VideoId,
    camera_of,
    escape,
    file_name,
    path_of,
    printable,
    tell_apart,
    unescape,
    uri_of,
)

FILE_NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: not {0, ord("/")} & set(name))
PATHS = st.lists(st.sampled_from(["a", "b", "c.mp4", "%41", "\x1b", "\udcfc"]), min_size=1, max_size=4)


@given(FILE_NAMES)
def test_an_id_can_be_printed_and_turned_back(name: bytes) -> None:
    video_id = escape(os.fsdecode(name))
    assert video_id.encode().decode() == video_id
    assert not any(c < " " or "\x7f" <= c <= "\x9f" for c in video_id)
    assert os.fsencode(unescape(video_id)) == name
    assert unquote_to_bytes(video_id) == name  # as the page says


@given(FILE_NAMES, FILE_NAMES)
def test_two_names_have_two_ids_and_two_reports(one: bytes, other: bytes) -> None:
    ids = {escape(os.fsdecode(name)) for name in (one, other)}
    assert len(ids) == len({file_name(video_id) for video_id in ids}) == len({one, other})


@pytest.mark.parametrize(
    ("name", "video_id"),
    [
        (b"yard 7.mp4", "yard 7.mp4"),
        ("Küche 🎥.mp4".encode(), "Küche 🎥.mp4"),
        (b"k\xfcche.mp4", "k%FCche.mp4"),
        (b"\x1b[31mq.mp4", "%1B[31mq.mp4"),
        (b"a\nb.mp4", "a%0Ab.mp4"),
        (b"100%.mp4", "100%.mp4"),
        (b"a%20b.mp4", "a%2520b.mp4"),
        ("\u202egpj.mp4".encode(), "%E2%80%AEgpj.mp4"),
        ("\x9b2J.mp4".encode(), "%C2%9B2J.mp4"),
    ],
)
def test_ordinary_names_stay(name: bytes, video_id: str) -> None:
    assert escape(os.fsdecode(name)) == video_id


def test_text_for_the_terminal_keeps_its_percent_signs() -> None:
    assert printable("a%20b 5 %\x1b[2J\udcff") == "a%20b 5 %%1B[2J%FF"
    assert printable("\ud800") == "%ED%A0%80"


def test_messages_of_errors_can_be_printed_and_stored() -> None:
    assert str(VideoOpenError(f"{Path(os.fsdecode(b'k' + bytes([0xFC, 0x1B])))}: no such file")) == (
        "k%FC%1B: no such file"
    )


@given(st.text(alphabet="ab./\\\x1b%\udcff", min_size=1, max_size=30) | st.text(max_size=300))
def test_outputs_stay_below_their_folder(video_id: str) -> None:
    path = Path(file_name(video_id))
    assert not path.is_absolute()
    assert not {"..", "."} & set(path.parts)
    assert path.parts
    assert all(len(part.encode()) <= 200 for part in path.parts)


@pytest.mark.parametrize(
    ("video_id", "place", "camera"),
    [
        ("x.mp4", "yard/x.mp4", "yard"),
        ("x.mp4", "footage/yard/./x.mp4", "yard"),
        ("x.mp4", "footage/yard/../gate/x.mp4", "gate"),
        ("yard/left/x.mp4", "footage/yard/left/x.mp4", "yard/left"),
        ("x.mp4", "s3://footage/yard/x.mp4", "yard"),
        ("x.mp4", "s3://yard/x.mp4", "yard"),
        ("x.mp4", "file:///footage/k%FCche/x.mp4", "k%FCche"),
        ("x.mp4", "/x.mp4", "unnamed"),
        ("x.mp4", None, "unnamed"),
        ("gate/7", None, "gate"),
        ("x.mp4", "footage/\x1b[31m\udcfc/x.mp4", "%1B[31m%FC"),
    ],
)
def test_the_folder_is_the_camera(video_id: str, place: str | None, camera: str) -> None:
    assert camera_of(video_id, place) == camera


@given(st.text(max_size=300))
def test_a_camera_is_a_folder_of_a_log(camera: str) -> None:
    name = CameraName(camera)
    assert 0 < len(name.folder) <= 200
    assert name.folder not in (".", "..")
    assert not {"/", "\\"} & set(name.folder)
    assert name.folder.isascii()
    assert CameraName(name) == CameraName.of_folder(name.folder) == name


@given(st.text(max_size=80) | st.text(alphabet="<>%&'\"2/3Cbscript ", max_size=30))
def test_a_camera_on_a_page_is_no_markup_and_can_be_told_back(camera: str) -> None:
    name = CameraName(camera)
    assert not {"<", ">"} & set(name.page)
    assert CameraName.of_page(name.page) == name


@given(st.text(max_size=300) | st.integers(1, 5).map(lambda n: "é" * n * 5000))
def test_any_text_becomes_an_id_that_stays(text: str) -> None:
    video_id = VideoId(text)
    assert VideoId(video_id) == video_id == printable(video_id)
    assert len(video_id) <= MOST_ID
    assert (video_id == printable(text)) == (len(printable(text)) <= MOST_ID)


def test_the_id_of_a_file_leads_back_to_its_name() -> None:
    assert VideoId.of_file("a%20\x1b[31m.mp4") == "a%2520%1B[31m.mp4"
    assert VideoId("../../etc/x").file == "%2E%2E/%2E%2E/etc/x"
    assert VideoId("a" * MOST_ID + "b") != VideoId("a" * MOST_ID + "c")


def test_labels_of_cameras_stay_as_they_are_unless_they_must_not() -> None:
    assert [CameraName(c) for c in ("yard/left", "Küche 7%20", "..", "a\x1b[31m")] == [
        "yard/left",
        "Küche 7%20",
        "%2E%2E",
        "a%1B[31m",
    ]
    long = [CameraName("ü" * 100 + end) for end in "ab"]
    assert long[0] != long[1]


def test_a_video_named_by_itself_is_of_the_folder_that_it_lies_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "yard").mkdir()
    monkeypatch.chdir(tmp_path / "yard")
    assert camera_of("x.mp4", Path("x.mp4")) == "yard"


@pytest.mark.parametrize(
    ("videos", "names"),
    [
        ([("x.mp4", "/f/a/x.mp4"), ("y.mp4", "/f/b/y.mp4")], ["x.mp4", "y.mp4"]),
        ([("x.mp4", "/f/a/x.mp4"), ("x.mp4", "/f/b/x.mp4")], ["a/x.mp4", "b/x.mp4"]),
        ([("c/x", "/f/a/c/x"), ("c/x", "/f/b/c/x"), ("b/c/x", "/g/b/c/x")], ["a/c/x", "f/b/c/x", "g/b/c/x"]),
        ([("x", "s3://one/day/x"), ("x", "s3://two/day/x")], ["one/day/x", "two/day/x"]),
        ([("7", "/f/a.mp4"), ("7", "/f/b.mp4")], ["/f/a.mp4", "/f/b.mp4"]),
        ([("x", "http://a/x"), ("x", "https://a/x")], ["http://a/x", "https://a/x"]),
        ([("k%FC", "file:///f/a/k%FC"), ("k%FC", "/f/k%FC")], ["a/k%FC", "/f/k%FC"]),
    ],
)
def test_folders_tell_one_name_apart(videos: list[tuple[str, str]], names: list[str]) -> None:
    assert tell_apart(videos) == names


@given(st.lists(PATHS.map(lambda parts: "/".join(("", *parts))), unique=True, max_size=12))
def test_ids_never_collide(places: list[str]) -> None:
    names = tell_apart([(escape(place.rpartition("/")[2]), uri_of(Path(place))) for place in places])
    assert len(set(names)) == len(places)
    if len({escape(place.rpartition("/")[2]) for place in places}) == len(places):
        assert not any("/" in name for name in names)


def test_a_path_that_cannot_be_printed_is_a_file_uri(tmp_path: Path) -> None:
    plain, odd = tmp_path / "a%20 b.mp4", tmp_path / os.fsdecode(b"k\xfc%20#?\n.mp4")
    assert uri_of(plain) == str(plain)
    assert uri_of(odd) == f"file://{tmp_path}/k%FC%2520%23%3F%0A.mp4"
    assert [path_of(uri_of(path)) for path in (plain, odd)] == [plain, odd]
    assert path_of("file://localhost/a%20b.mp4") == Path("/a b.mp4")
