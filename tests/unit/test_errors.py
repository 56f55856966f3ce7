"""Messages that name several problems."""

import pytest

from headhunt_svc.errors import list_problems, name_video, reason_of


def test_the_first_problems_are_listed_and_the_others_counted() -> None:
    names = [f"v{i}" for i in range(8)]
    assert list_problems(names[:1]) == "v0"
    assert list_problems(names[:5]) == "v0; v1; v2; v3; v4"
    assert list_problems(names) == "v0; v1; v2; v3; v4; and 3 more"


@pytest.mark.parametrize(
    ("video_id", "place", "reason", "message"),
    [
        ("yard/1.mp4", "data/yard/1.mp4", "data/yard/1.mp4: not a video", "data/yard/1.mp4: not a video"),
        ("yard/1.mp4", "data/yard/1.mp4", "3 pictures are gone", "data/yard/1.mp4: 3 pictures are gone"),
        ("b/1.mp4", "s3://x/1.mp4", "/tmp/q: not a video", "b/1.mp4: s3://x/1.mp4: /tmp/q: not a video"),
        ("1.mp4", "/a/\n/1.mp4", "/a/%0A/1.mp4: no such file", "/a/%0A/1.mp4: no such file"),
    ],
)
def test_a_failed_video_is_named_once(video_id: str, place: str, reason: str, message: str) -> None:
    assert name_video(video_id, place, reason) == message


@pytest.mark.parametrize(
    ("message", "reason"),
    [("away", "away"), ("\n  first\nsecond", "first"), ("", "KeyboardInterrupt"), (" \n\n", "KeyboardInterrupt")],
)
def test_a_reason_is_one_line_also_without_a_message(message: str, reason: str) -> None:
    assert reason_of(KeyboardInterrupt(message)) == reason
