"""Learning from marks: its progress, the proof's page, use it and go back."""

import re
from datetime import date
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from headhunt_svc.console.desk import Desk
from headhunt_svc.console.learning import Learning
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.errors import ConfigError
from headhunt_svc.events.records import EventState
from headhunt_svc.feedback.proof import (
    Change,
    DayEvents,
    Flip,
    HeldOutDay,
    JudgedAgain,
    Proof,
    SignalAgain,
    TestSplit,
    Verdict,
    save_proof,
)
from helpers.bundles import bundle
from helpers.consoles import STOP, Client, camera_verdict, picture, token_of, write_verdict
from helpers.events import NOON, features, new

NAME = "20260301T120000"
TEST = TestSplit(
    camera="yard", videos=12, bound=0.01, found_bound=0.05, is_worse=False,
    roc_auc=Change(before=0.9, after=0.91, low=-0.01, high=0.02),
    average_precision=Change(before=0.8, after=0.8), found=Change(before=0.7, after=0.6),
    kinds={"fall": Change(before=0.5, after=0.6)}, kinds_found={"fall": Change(before=1, after=1)},
)  # fmt: skip


def proof_of(verdict: Verdict, **fields: Any) -> Proof:
    return Proof(
        detector_id="n" * 12, from_detector_id="o" * 12, marks_sha256="0" * 64, marks=7, verdict=verdict,
        sentences=("the camera yard: 5 of 6 false alarms are gone",), test=(TEST,),
        days=(DayEvents(camera="yard", day=date(2026, 3, 1), hours=23.5, before=12, after=3),), **fields,
    )  # fmt: skip


def test_the_proof_is_shown_in_words_tables_and_pictures(desk: Desk, desk_client: Client) -> None:
    event = desk.events.add(new(), merge_s=None, picture=picture(9))
    flip = Flip(
        event_id=event.id, camera="yard", state=EventState.FALSE_ALARM, start=NOON, peak_before=0.91, peak_after=0.12,
        alarms_before=True, alarms_after=False,
    )  # fmt: skip
    gone = flip.model_copy(update={"event_id": "gone"})
    held_out = HeldOutDay(
        camera="yard", day=date(2026, 3, 1), anomalous=False, events=6, segments=20, above_before=19, above_after=1,
        alarms_before=6, alarms_after=1,
    )  # fmt: skip
    proof = proof_of(Verdict.BETTER, flips=(flip, gone), held_out=(held_out,), outvoted=(event.id,))
    save_proof(desk.places.candidate / NAME, proof)
    page = desk_client().get("/events/proof").text
    text = re.sub(r"<[^>]+>|\s+", " ", page)
    text = re.sub(r"\s+", " ", text)
    for shown in (
        "Proof: better", "5 of 6 false alarms are gone", "2026-03-01 23.5 12 3 -9", "false alarm 6 6 1 -5",
        "0.900 0.910 +0.010 -0.010 to +0.020", "0.91 0.12 no more", "Use this detector",
        "Marks that the others contradict",
    ):  # fmt: skip
        assert shown in text, shown
    assert page.count(f'src="/events/{event.id}/thumbnail"') == 2  # of the flip, and of the outvoted mark
    assert "Go back" not in page
    assert desk_client().get("/events/proof?bundle=..%2F..%2Fdetector").status_code == 404


def test_the_window_that_was_judged_again_is_on_the_page_of_its_alarm(
    desk: Desk, desk_client: Client, tmp_path: Path
) -> None:
    write_verdict(tmp_path, STOP, [camera_verdict(name, "activity", score_psi=3.0) for name in ("yard", "dock")], True)
    signal = SignalAgain(before=3, after=0.2, limit=0.6, is_over=False)
    window = JudgedAgain(
        camera="yard",
        start=STOP,
        stop=STOP,
        kind="activity",
        baseline="b",
        status="fine",
        signals={"score_psi": signal},
    )
    save_proof(desk.places.candidate / NAME, proof_of(Verdict.BETTER, windows=(window,)))
    (desk.places.candidate / "20260302T120000").mkdir()
    (desk.places.candidate / "20260302T120000" / "proof.json").write_text("{")
    console = desk_client()
    page = console.get("/drift/camera?camera=yard").text
    assert f"{window.words}. <a href=" in page
    assert f"/events/proof?bundle={NAME}" in page
    assert "Judged again" not in console.get("/drift/camera?camera=dock").text
    shown = console.get(f"/events/proof?bundle={NAME}").text
    assert "score_psi</th><td>3.00</td><td>0.20</td><td>0.60</td>" in shown
    assert f"/drift/camera?camera=yard&amp;window={STOP:%Y%m%dT%H%M%S}" in shown


def test_a_bundle_that_is_worse_is_refused(desk: Desk, desk_client: Client) -> None:
    save_proof(desk.places.candidate / NAME, proof_of(Verdict.WORSE))
    console = desk_client()
    page = console.get(f"/events/proof?bundle={NAME}").text
    assert "Use this detector" not in page
    answer = console.post("/events/proof/activate", data={"csrf": token_of(page), "bundle": NAME, "why": "because"})
    assert (answer.status_code, "It is worse" in answer.text) == (409, True)
    assert not desk.places.deployed.exists()


def test_a_bundle_is_used_and_taken_back_in_the_name_of_the_key(
    desk: Desk, desk_client: Client, tmp_path: Path
) -> None:
    bundle(tmp_path, "detector", 1.0)
    bundle(tmp_path / "candidate", NAME, 0.9)
    deployed = Deployed(desk.places.deployed)
    save_proof(desk.places.candidate / NAME, proof_of(Verdict.BETTER))
    key = "0123456789abcdef"
    console = desk_client({"anna": key})
    console.headers["authorization"] = f"Bearer {key}"
    assert desk.places.active == desk.places.bundle
    assert console.post("/events/proof/activate", data={"bundle": NAME, "why": "fewer"}).status_code == 303
    first, second = deployed.history()
    assert second.active
    assert second.folder == (desk.places.candidate / NAME).resolve()
    assert (second.by, second.why) == ("anna", "fewer")
    assert first.folder == desk.places.bundle.resolve()
    assert desk.places.active == desk.places.deployed / "current"
    page = console.get("/events/proof").text
    assert "Go back to the detector before" in page
    assert console.post("/events/proof/rollback", data={"bundle": NAME, "why": "worse at night"}).status_code == 303
    last = deployed.history()[-1]
    assert last.folder == desk.places.bundle.resolve()
    assert (last.by, last.why) == ("anna", "worse at night")


def test_changes_need_a_token(desk: Desk, desk_client: Client) -> None:
    save_proof(desk.places.candidate / NAME, proof_of(Verdict.BETTER))
    console = desk_client()
    for path in ("/events/learn", "/events/proof/activate", "/events/proof/rollback"):
        assert console.post(path, data={"bundle": NAME, "why": "x"}).status_code == 403
    assert desk.learning.progress is None


def test_marks_with_features_are_counted(desk: Desk, desk_client: Client) -> None:
    console = desk_client()
    assert "Learn from" not in console.get("/events").text
    marked = desk.events.add(new(), merge_s=None, features=features(1.0))
    bare = desk.events.add(new(key="b", start=60, stop=68), merge_s=None)
    for event in (marked, bare):
        desk.events.mark(event.id, EventState.FALSE_ALARM, "anna")
    assert "Learn from 1 mark<" in console.get("/events").text
    assert "Learn from 0 marks" in console.get("/events/learn?camera=dock").text


def test_one_run_at_a_time_and_what_it_prints(tmp_path: Path) -> None:
    learning = Learning(tmp_path / "candidate")
    before = learning.version
    learning.start(["--bundle", str(tmp_path / "none"), "--log", str(tmp_path / "log")], "anna")
    with pytest.raises(ConfigError, match="learns already"):
        learning.start([], "berta")
    deadline = monotonic() + 60
    while (progress := learning.progress) is None or progress.code is None or not progress.lines:
        assert monotonic() < deadline
        sleep(0.1)
    assert (progress.by, progress.code != 0) == ("anna", True)
    assert "none" in " ".join(progress.lines)  # the bundle that is not there is named
    assert learning.version != before
    learning.end()
