"""Tasks of events as Label Studio and CVAT export them after somebody has answered there."""

from typing import Any
from xml.etree import ElementTree as ET

from helpers.exports import label_studio_min, label_studio_task


def submitted(task: dict[str, Any], *answers: dict[str, Any], by: Any = 1) -> dict[str, Any]:
    """A task as Label Studio exports it after somebody has accepted the prediction and added to it."""
    (prediction,) = task["predictions"]
    results = [r for r in prediction["result"] if r["type"] not in {a["type"] for a in answers}]
    exported = label_studio_task(7, "", [*results, *answers])
    exported["data"] = dict(task["data"])
    exported["annotations"][0]["completed_by"] = by
    return exported


def minimal(exported: dict[str, Any]) -> dict[str, Any]:
    """The same task as JSON-MIN: what each tag holds under its name, one choice as its text."""
    (annotation,) = exported["annotations"]
    row = {**label_studio_min(exported["id"], "", []), **exported["data"]}
    for result in annotation["result"]:
        value = result["value"]
        if "choices" in value:
            row[result["from_name"]] = value["choices"][0]
        elif "text" in value:
            row[result["from_name"]] = value["text"]
        else:
            row.setdefault(result["from_name"], []).append(value)
    by = annotation["completed_by"]
    return row | {"annotator": by["email"] if isinstance(by, dict) else by}


def choice(state: str) -> dict[str, Any]:
    return {"from_name": "state", "to_name": "video", "type": "choices", "value": {"choices": [state]}}


def text(note: str) -> dict[str, Any]:
    return {"from_name": "note", "to_name": "video", "type": "textarea", "value": {"text": [note]}}


def span(start: int, end: int, label: str = "event") -> dict[str, Any]:
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": [label]}
    return {"from_name": "spans", "to_name": "video", "type": "timelinelabels", "value": value}


def answered(xml: str, state: str, note: str | None = None) -> str:
    """CVAT's file after somebody has set the attributes of the tracks, with the people that CVAT adds."""
    root = ET.fromstring(xml)
    for attribute in root.iter("attribute"):
        if attribute.get("name") == "state":
            attribute.text = state
        elif attribute.get("name") == "note" and note is not None:
            attribute.text = note
    task = root.find("meta/task")
    assert task is not None
    for role, name in (("owner", "admin"), ("assignee", "anna")):
        ET.SubElement(ET.SubElement(task, role), "username").text = name
    return ET.tostring(root, encoding="unicode")
