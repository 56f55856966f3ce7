"""Writes events as tasks of Label Studio 1 and CVAT 2, with what is known about them as pre-annotations.

Label Studio: one JSON file of tasks, and labels.xml, the labeling configuration that they need. It finds clips by
addresses. CVAT: for each event a file "CVAT for video 1.1", to upload into the task of its clip, and labels.json, the
labels in their raw form. Both know an event by the file name of its clip, which is the event's id. What they export is
read by data/label_studio.py and data/cvat.py, and understood by answers.py.
"""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from headhunt_svc.errors import ConfigError
from headhunt_svc.events.media import copy_if_there
from headhunt_svc.events.records import EventState, Tool
from headhunt_svc.events.shown import EVENT, NOTE, STATE, UNANSWERED, ShownEvent, counted_at
from headhunt_svc.names import absolute, printable
from headhunt_svc.storage.files import write_json, write_text

logger = logging.getLogger(__name__)
TASKS, CONFIG, LABELS = "tasks.json", "labels.xml", "labels.json"
ANSWERS = (EventState.CONFIRMED, EventState.FALSE_ALARM)
_LOCAL = "/data/local-files/?d="  # what Label Studio serves from its own machine
_NO_XML = re.compile("[\ufffe\uffff]")  # what XML cannot hold, of what `printable` leaves

LABELING = f"""<View>
  <Header value="$camera, $start"/>
  <Video name="video" value="$video" frameRate="$fps"/>
  <TimelineLabels name="spans" toName="video">
    <Label value="{EVENT}"/>
  </TimelineLabels>
  <Choices name="{STATE}" toName="video" choice="single" required="true">
    <Choice value="{EventState.CONFIRMED}"/>
    <Choice value="{EventState.FALSE_ALARM}"/>
  </Choices>
  <TextArea name="{NOTE}" toName="video" maxSubmissions="1" editable="true"/>
</View>
"""


def write_tasks(tool: Tool, events: Sequence[ShownEvent], out: Path, clips: str | None) -> list[ShownEvent]:
    """Write tasks: for Label Studio into a .json file or a folder, for CVAT into a folder; folders get the clips, too.

    Returns the events that have a task: not those whose clip is deleted meanwhile, which the log names.

    clips: the address of the folder where Label Studio finds the clips; by default, as files of its own machine.

    Raises:
        ConfigError: the tool does not read such a file. OutputError: it cannot be written.
    """
    is_file = bool(out.suffix) and not out.is_dir()
    if is_file and (tool == Tool.CVAT or out.suffix != ".json"):
        hint = "a folder" if tool == Tool.CVAT else "a .json file or a folder"
        raise ConfigError(f"{out}: events are written for {tool} into {hint}")
    if not is_file:
        events = [shown for shown in events if _copy_clip(shown, out)]
    if tool == Tool.CVAT:
        for shown in events:
            write_text(out / f"{shown.event.id}.xml", cvat_xml(shown))
        write_json(out / LABELS, cvat_labels())
        return list(events)
    folder = out.parent if is_file else out

    def address(shown: ShownEvent) -> str:
        if clips is not None:
            return f"{clips.rstrip('/')}/{shown.name}"
        path = absolute(shown.path if is_file else out / shown.name)
        return _LOCAL + quote(path.as_posix().lstrip("/"))

    write_json(out if is_file else out / TASKS, label_studio_tasks(events, address))
    write_text(folder / CONFIG, LABELING)
    return list(events)


def _copy_clip(shown: ShownEvent, folder: Path) -> bool:
    is_there = copy_if_there(shown.path, folder / shown.name)
    if not is_there:
        logger.warning("%s has no task: somebody has deleted its clip %s", shown.event.id, shown.path)
    return is_there


def label_studio_tasks(events: Sequence[ShownEvent], address: Callable[[ShownEvent], str]) -> list[dict[str, Any]]:
    """Tasks with predictions, as Label Studio imports them."""
    return [
        {
            "data": {
                "video": address(shown),
                "fps": shown.times.fps,
                **shown.event.model_dump(
                    mode="json", include={"id", "camera", "start", "stop", "score", "threshold", "state", "note"}
                ),
            },
            "predictions": [
                {
                    "model_version": shown.event.detector_id,
                    "score": shown.event.score,
                    "result": _results(shown),
                }
            ],
        }
        for shown in events
    ]


def _results(shown: ShownEvent) -> list[dict[str, Any]]:
    frames = shown.frames(counted_at(shown.times, shown.times.fps))
    values: list[tuple[str, str, dict[str, Any]]] = [
        ("spans", "timelinelabels", {"ranges": [{"start": start + 1, "end": stop}], "timelinelabels": [EVENT]})
        for start, stop in frames
    ]
    if shown.event.state in ANSWERS:
        values.append((STATE, "choices", {"choices": [str(shown.event.state)]}))
    if shown.event.note:
        values.append((NOTE, "textarea", {"text": [shown.event.note]}))
    return [
        {"id": f"{kind}{i}", "from_name": name, "to_name": "video", "type": kind, "value": value}
        for i, (name, kind, value) in enumerate(values)
    ]


def cvat_labels() -> list[dict[str, Any]]:
    """The labels of a CVAT project, in the form of its raw constructor."""
    texts = [
        {"name": name, "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
        for name in (NOTE, "camera", "score")
    ]
    states = [UNANSWERED, *map(str, ANSWERS)]
    state = {"name": STATE, "mutable": False, "input_type": "select", "default_value": UNANSWERED, "values": states}
    return [{"name": EVENT, "type": "any", "attributes": [state, *texts]}]


def cvat_xml(shown: ShownEvent) -> str:
    """A file "CVAT for video 1.1" of one event: a track of the whole picture for each span."""
    event, last = shown.event, len(shown.times) - 1
    root = ET.Element("annotations")
    _add(root, "version", "1.1")
    task = ET.SubElement(ET.SubElement(root, "meta"), "task")
    facts = {"id": 1, "name": shown.name, "size": last + 1, "mode": "interpolation", "subset": "default"}
    for name, value in (facts | {"start_frame": 0, "stop_frame": last, "frame_filter": ""}).items():
        _add(task, name, str(value))
    _add(ET.SubElement(ET.SubElement(task, "labels"), "label"), "name", EVENT)
    _add(task, "source", shown.name)
    attributes = {
        STATE: str(event.state) if event.state in ANSWERS else UNANSWERED,
        NOTE: event.note,
        "camera": event.camera,
        "score": f"{event.score:.3f}",
    }
    for number, (start, stop) in enumerate(shown.frames(shown.times)):
        track = ET.SubElement(root, "track", id=str(number), label=EVENT, source="auto")
        for frame in sorted({start, min(stop, last)}):
            _box(track, shown, frame, outside=frame == stop, attributes=attributes)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = _xml_text(text)


def _box(track: ET.Element, shown: ShownEvent, frame: int, outside: bool, attributes: dict[str, str]) -> None:
    place = {"xtl": 0, "ytl": 0, "xbr": shown.width, "ybr": shown.height}
    flags = {"frame": frame, "outside": int(outside), "occluded": 0, "keyframe": 1, "z_order": 0}
    box = ET.SubElement(track, "box", {name: str(value) for name, value in (flags | place).items()})
    for name, value in attributes.items():
        _add(box, "attribute", value, name=name)


def _xml_text(text: str) -> str:
    """Text that XML can hold and gives back: lines, without spaces at both ends."""
    lines = (_NO_XML.sub(lambda c: quote(c[0]), printable(line)) for line in text.splitlines())
    return "\n".join(lines).strip()
