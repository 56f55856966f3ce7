from pathlib import Path

import pytest

from headhunt_svc.data.labels import read_labels
from headhunt_svc.errors import DatasetError

LABELS = {"yard/a.mp4": {0: False, 7: True}, "b.mp4": {3: True}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "segment,label\nyard/a.mp4:0,normal\nyard/a.mp4:7,anomalous\nb.mp4:3,anomalous\n"),
        ("L.CSV", "\ufeffSegment;Label\r\nyard/a.mp4:0;normal\r\nyard/a.mp4:7;anomalous\r\nb.mp4:3;anomalous\r\n"),
        (
            "L.JSONL",
            '\ufeff{"segment": "yard/a.mp4:0", "label": "normal"}\n\n'
            '{"segment": "yard/a.mp4:7", "label": "anomalous"}\n'
            '{"segment": "b.mp4:3", "label": "anomalous"}',
        ),
    ],
)
def test_labels_in_any_form(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, newline="")
    assert read_labels(tmp_path / name) == LABELS


def test_all_wrong_lines_at_once(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("segment;label\na.mp4:1;normal\na.mp4;odd\na.mp4:1;anomalous\n")
    with pytest.raises(DatasetError) as caught:
        read_labels(path)
    assert [message.split(": ")[:2] for message in str(caught.value).split("; ")] == [
        [f"{path}:3", "label"],
        [f"{path}:3", "segment"],
        [f"{path}:4", "a.mp4:1 is labelled twice"],
    ]


@pytest.mark.external_data
@pytest.mark.parametrize("name", ["labels_excel_bom.csv", "LABELS.CSV"])
def test_what_excel_saves(external: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((external / "field" / "labels_excel_bom.csv").read_bytes())
    assert read_labels(path) == {"a.mp4": {0: False}}
