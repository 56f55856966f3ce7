"""Annotations as CVAT 2 and Label Studio 1 export them, written by hand from their documentation and sources.

And what is read from them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest

from headhunt_svc.data.datasets import read_annotations
from headhunt_svc.errors import DatasetError
from headhunt_svc.params import ExportParams


@dataclass(frozen=True)
class Labelled:
    """A video with one kind of anomaly in half-open spans of frames, or none."""

    video: str
    split: str
    n_frames: int
    spans: tuple[tuple[int, int], ...] = ()
    label: str = "fight"


def cvat_task(
    number: int, video: Labelled, start: int = 0, stop: int | None = None, step: int = 1, name: str | None = None
) -> str:
    stop = video.n_frames - 1 if stop is None else stop
    subset = {"calibration": "Train", "validation": "Validation", "test": "Test"}.get(video.split, video.split)
    return f"""<task>
      <id>{number}</id>
      <name>{escape(name or video.video)}</name>
      <size>{(stop - start) // step + 1}</size>
      <mode>interpolation</mode>
      <overlap>5</overlap>
      <bugtracker></bugtracker>
      <created>2026-03-02 09:12:31.512345+00:00</created>
      <updated>2026-03-02 10:01:07.100200+00:00</updated>
      <subset>{subset}</subset>
      <start_frame>{start}</start_frame>
      <stop_frame>{stop}</stop_frame>
      <frame_filter>{f"step={step}" if step > 1 else ""}</frame_filter>
      <segments>
        <segment>
          <id>{number}</id>
          <start>0</start>
          <stop>{(stop - start) // step}</stop>
          <url>http://localhost:8080/api/jobs/{number}</url>
        </segment>
      </segments>
      <owner>
        <username>admin</username>
        <email></email>
      </owner>
      <assignee></assignee>
      <labels>
        <label>
          <name>fight</name>
          <color>#ff6037</color>
          <type>any</type>
          <attributes>
          </attributes>
        </label>
      </labels>
      <original_size>
        <width>640</width>
        <height>480</height>
      </original_size>
      <source>{escape(video.video.rpartition("/")[2])}</source>
    </task>"""


def box(frame: int, outside: bool = False, keyframe: bool = True) -> str:
    return (
        f'<box frame="{frame}" keyframe="{keyframe:d}" outside="{outside:d}" occluded="0" '
        'xtl="10.00" ytl="10.00" xbr="30.00" ybr="40.00" z_order="0">\n    </box>'
    )


def track(label: str, shapes: Sequence[str], number: int = 0, task: int | None = None) -> str:
    of_task = "" if task is None else f' task_id="{task}" subset="Test"'
    body = "\n    ".join(shapes)
    return f'<track id="{number}" label={quoteattr(label)} source="manual"{of_task}>\n    {body}\n  </track>'


def track_of(video: Labelled, offset: int = 0, **options: Any) -> list[str]:
    """One track for each span: a box in every frame, as CVAT interpolates them, and one outside where it ends."""
    tracks = []
    for start, stop in video.spans:
        shapes = [box(f + offset, keyframe=f == start) for f in range(start, stop)]
        shapes += [box(stop + offset, outside=True)] if stop < video.n_frames else []
        tracks.append(track(video.label, shapes, **options))
    return tracks


def cvat(meta: str, body: Sequence[str] = (), beginning: str = "") -> str:
    return "\n".join(
        [
            f'<?xml version="1.0" encoding="utf-8"?>\n{beginning}<annotations>\n  <version>1.1</version>',
            f"  <meta>\n    {meta}\n    <dumped>2026-03-02 10:02:00.000000+00:00</dumped>\n  </meta>",
            *(f"  {part}" for part in body),
            "</annotations>\n",
        ]
    )


def project(tasks: Sequence[str]) -> str:
    listed = "\n".join(tasks)
    return f"<project>\n<id>1</id>\n<name>yard</name>\n<tasks>\n{listed}\n</tasks>\n<subsets>Test</subsets>\n</project>"


def cvat_project(videos: Sequence[Labelled]) -> str:
    """An export of a project: of the frames of a task, the lengths of those before it in its subset are added."""
    tasks, body = [], []
    lengths: dict[str, int] = {}
    for number, video in enumerate(sorted(videos, key=lambda v: v.split), 1):
        tasks.append(cvat_task(number, video, name=video.video))
        body += track_of(video, lengths.get(video.split, 0), task=number)
        lengths[video.split] = lengths.get(video.split, 0) + video.n_frames
    return cvat(project(tasks), body)


def timeline(label: str, spans: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Regions of TimelineLabels; frames from 1, the end included."""
    return [
        {
            "original_length": 12.0,
            "value": {"ranges": [{"start": start + 1, "end": stop}], "timelinelabels": [label]},
            "id": f"r{start}",
            "from_name": "events",
            "to_name": "video",
            "type": "timelinelabels",
            "origin": "manual",
        }
        for start, stop in spans
    ]


def label_studio_task(number: int, video: str, results: Sequence[dict[str, Any]], **data: Any) -> dict[str, Any]:
    return {
        "id": number,
        "annotations": [
            {
                "id": number + 100,
                "completed_by": 1,
                "result": list(results),
                "was_cancelled": False,
                "ground_truth": False,
                "created_at": "2026-03-02T09:12:31.512345Z",
                "updated_at": "2026-03-02T09:12:31.512345Z",
                "draft_created_at": None,
                "lead_time": 41.3,
                "prediction": {},
                "result_count": len(results),
                "task": number,
                "project": 1,
            }
        ],
        "drafts": [],
        "predictions": [],
        "data": {"video": video, **data},
        "meta": {},
        "project": 1,
    }


def label_studio_min(number: int, video: str, results: Sequence[dict[str, Any]], **data: Any) -> dict[str, Any]:
    of_tags = {"events": [r["value"] for r in results]} if results else {}
    row = {"video": video, **data, "id": number, **of_tags, "annotator": 1, "annotation_id": number + 100}
    return row | {"created_at": "2026-03-02T09:12:31.512345Z", "lead_time": 41.3}


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


FIGHT = Labelled("yard/0412.mp4", "test", 100, ((10, 20), (40, 41), (90, 100)))
CALM = Labelled("yard/0413.mp4", "calibration", 50)


def frames(path: Path, export: ExportParams | None = None) -> dict[str, tuple[str, tuple[tuple[float, float], ...]]]:
    """Label and spans of each video."""
    return {a.video: (a.label, a.spans) for a in read_annotations(path, export or ExportParams())}


def problems(path: Path, export: ExportParams | None = None) -> str:
    with pytest.raises(DatasetError) as refused:
        read_annotations(path, export or ExportParams())
    assert "\n" not in str(refused.value)
    return str(refused.value)
