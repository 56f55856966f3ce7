"""Files that people write: the forms that spreadsheets save, and every fault with its line."""

import csv
import io
import tempfile
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from headhunt_svc.errors import DatasetError
from headhunt_svc.storage.rows import RowFile


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    kind: Literal["normal", "anomalous"]
    start: float | None


class Loose(BaseModel):
    """Any column may be there."""

    name: str = ""
    note: str = ""


PLAIN = [(2, "yard/a.mp4", "normal", 1.5), (3, "b.mp4", "anomalous", None)]


def read(path: Path) -> list[tuple[int, str, str, float | None]]:
    file = RowFile(path, "give a file of name, kind, start")
    rows = [(n, r.name, r.kind, r.start) for n, r in file.rows(Row)]
    file.check()
    return rows


def write(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(DatasetError) as caught:
        read(path)
    return str(caught.value).split("; ")


COMMAS = "name,kind,start\nyard/a.mp4,normal,1.5\nb.mp4,anomalous,\n"
SEMICOLONS = "name;kind;start\r\nyard/a.mp4;normal;1,5\r\nb.mp4;anomalous;\r\n"
TABS = "name\tkind\tstart\r\nyard/a.mp4\tnormal\t1,5\r\nb.mp4\tanomalous\t\r\n"


@pytest.mark.parametrize("suffix", ["rows.csv", "ROWS.CSV", "rows.Csv", "rows.txt", "rows"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", [COMMAS, SEMICOLONS, TABS])
def test_what_spreadsheets_save_is_read(tmp_path: Path, text: str, encoding: str, suffix: str) -> None:
    assert read(write(tmp_path, text.encode(encoding), suffix)) == PLAIN


@pytest.mark.parametrize(
    "text",
    [
        " Name , KIND,Start \nyard/a.mp4,normal,1.5\nb.mp4,anomalous,\n",
        "name, kind, start\nyard/a.mp4, normal, 1.5\nb.mp4, anomalous,\n",
        'name; "kind"; start\nyard/a.mp4; "normal"; 1.5\nb.mp4; anomalous; \n',
        '"name";"kind";"start"\n"yard/a.mp4";"normal";"1,5"\n"b.mp4";"anomalous";""\n',
        "start,kind,name\n1.5,normal,yard/a.mp4\n,anomalous,b.mp4\n",
        "name,kind,start,,\nyard/a.mp4,normal,1.5,,\nb.mp4,anomalous,,,\n,,,,\n",
        "name;kind;start\ryard/a.mp4;normal;1.5\rb.mp4;anomalous;\r",
    ],
)
def test_headers_and_cells_as_people_type_them(tmp_path: Path, text: str) -> None:
    assert read(write(tmp_path, text)) == PLAIN


@pytest.mark.parametrize("name", ["rows.jsonl", "ROWS.JSONL", "rows.json", "rows.CSV", "rows"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_lines_with_blank_lines_and_line_separators_in_text(tmp_path: Path, encoding: str, name: str) -> None:
    first = '{"name": "a\u2028\u0085b", "kind": "normal", "start": 1.5}'
    text = f'\r\n{first}\r\n \r\n{{"name": "b", "kind": "normal", "start": null}}'
    rows = read(write(tmp_path, text.encode(encoding), name))
    assert rows == [(2, "a\u2028\u0085b", "normal", 1.5), (4, "b", "normal", None)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name,kind,start\n\n"a\nb.mp4",normal,1\n   \nc.mp4,normal,2\n', [(3, "a\nb.mp4"), (6, "c.mp4")]),
        ("\n\nname;kind;start\na.mp4;normal;1\n;;\nb.mp4;normal;2\n", [(4, "a.mp4"), (6, "b.mp4")]),
    ],
)
def test_a_row_has_the_number_of_the_line_that_it_begins_in(tmp_path: Path, text: str, expected: list) -> None:
    assert [row[:2] for row in read(write(tmp_path, text))] == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,kind,start\na,odd,x\n", ["2: kind: Input should be", "2: start: Input should be a valid number"]),
        ("name;kind;start\na;Normal;1.234,5\n", ["2: kind: Input should be", "2: start: Input should be a valid"]),
        ('name,kind,start\na,normal,"1,5"\n', ["2: start: Input should be a valid number"]),
        ("name,kind,start\na,normal\nb\n", ["2: start: Field required", "3: kind: Field", "3: start: Field"]),
        ("name,kind,start\na,normal,1,7\nb,normal,1,,x\n", ["2: too many cells: Extra", "3: too many cells: Extra"]),
        ("name,kind\na,normal\n", ["1: the header must be name,kind,start"]),
        ("\nname;kind;start;unit\na;normal;1;s\n", ["2: the header must be name,kind,start"]),
        ("name,kind,start,,unit\na,normal,1,,s\n", ["1: the header must be name,kind,start"]),
        ("name,kind,start,Name\na,normal,1,b\n", ["1: the header must be name,kind,start"]),
        ("", ["1: the header must be name,kind,start"]),
        ('name,kind,start\n"a"b,normal,1\nb,odd,1\n', ["2: this is no CSV (", "3: kind: Input should be"]),
        (
            'name,kind,start\na,odd,1\n"b,normal,1\nc,normal,1\n',
            ["2: kind: Input", "3: this is no CSV (unexpected"],
        ),
        ('{"name": "a"}\n{\n', ["1: kind: Field required", "1: start: Field required", "2: Invalid JSON"]),
        ('[{"name": "a", "kind": "normal", "start": 1}]', ["1: Input should be an object"]),
    ],
)
def test_all_faults_of_a_file_with_their_lines(tmp_path: Path, text: str, says: list[str]) -> None:
    path = write(tmp_path, text)
    messages = problems(path)
    assert len(messages) == len(says)
    for problem, words in zip(messages, says, strict=True):
        assert problem.startswith(f"{path}:{words}")


@pytest.mark.parametrize("name", ["rows.jsonl", "ROWS.JSONL"])
def test_a_first_line_that_is_no_json_does_not_make_a_csv_of_json_lines(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, '"name": "a"}\n{\n', name)
    assert [p.split(": ")[:2] for p in problems(path)] == [[f"{path}:{n}", "Invalid JSON"] for n in (1, 2)]


@pytest.mark.parametrize("n", [20, 21, 500])
def test_a_long_list_is_cut_and_counted(tmp_path: Path, n: int) -> None:
    path = write(tmp_path, "name,kind,start\n" + "a,odd,1\n" * n)
    messages = problems(path)
    assert [p.split(": ")[0] for p in messages[:20]] == [f"{path}:{i}" for i in range(2, 22)]
    assert messages[20:] == ([f"and {n - 20} more"] if n > 20 else [])


def test_problems_of_the_user_and_of_several_files_come_in_one_error(tmp_path: Path) -> None:
    files = [RowFile(write(tmp_path, COMMAS, name), "") for name in ("one.csv", "two.csv")]
    files[0].check(files[1])
    files[0].add(3, "later")
    files[0].add(2, "sooner")
    files[1].add(1, "other")
    with pytest.raises(DatasetError, match=r"one\.csv:2: sooner; .*one\.csv:3: later; .*two\.csv:1: other$"):
        files[0].check(files[1])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "name,kind,start\nküche.mp4,normal,1\n".encode("cp1252"),
            ":2: byte 0xfc is not UTF-8: save the file as UTF-8",
        ),
        (
            b"\xef\xbb\xbfname;kind;start\r\n\r\n\xe9.mp4;normal;1\r\n",
            ":3: byte 0xe9 is not UTF-8: save the file as UTF-8",
        ),
        ("name\tkind\n".encode("utf-16")[:-1], "is not UTF-16"),
    ],
)
def test_a_file_in_another_encoding_is_told_how_to_save_it(tmp_path: Path, content: bytes, says: str) -> None:
    (problem,) = problems(write(tmp_path, content))
    assert says in problem


@pytest.mark.parametrize("name", ["none.csv", "folder"])
def test_what_cannot_be_read_names_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (problem,) = problems(tmp_path / name)
    assert problem.startswith(f"{tmp_path / name} cannot be read (")
    assert problem.endswith(": give a file of name, kind, start")


def test_other_columns_are_left_alone_where_the_rows_allow_it(tmp_path: Path) -> None:
    file = RowFile(write(tmp_path, "camera;size, MB;Name\nyard;1,5;a.mp4\nyard;2;b.mp4;more\ngate\n"), "")
    assert [(n, row.name) for n, row in file.rows(Loose)] == [(2, "a.mp4"), (3, "b.mp4"), (4, "")]
    file.check()
    one_column = RowFile(write(tmp_path, "name\na;b.mp4\n"), "")
    assert [row.name for _, row in one_column.rows(Loose)] == ["a;b.mp4"]
    none_of_them = RowFile(write(tmp_path, "video\na.mp4\n"), "")
    assert list(none_of_them.rows(Loose)) == []
    with pytest.raises(DatasetError, match="1: the header must be name,note"):
        none_of_them.check()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(
    rows=st.lists(st.tuples(TEXT, st.none() | st.floats(allow_nan=False))),
    dialect=st.sampled_from(["excel", "excel-tab", "unix"]),
    separator=st.sampled_from([None, ",", ";", "\t"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_a_csv_writer_writes_reads_back_the_same(
    rows: list[tuple[str, float | None]], dialect: str, separator: str | None, encoding: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, dialect, **({"delimiter": separator} if separator else {}))
    writer.writerows([("name", "kind", "start"), *((name, "normal", start) for name, start in rows)])
    with tempfile.TemporaryDirectory() as folder:
        result = read(write(Path(folder), text.getvalue().encode(encoding)))
    assert [(name, start) for _, name, _, start in result] == rows
