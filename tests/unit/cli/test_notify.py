from pathlib import Path

import pytest
from typer.testing import CliRunner

from headhunt_svc.cli.main import app
from helpers.receiver import http_receiver

SECRET = "whsec_" + "A" * 43 + "="


def test_the_test_says_of_each_channel_whether_it_took_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADHUNT_NOTIFY_FILE", str(tmp_path / "notify.yaml"))
    with http_receiver() as receiver:
        hook = f"{{webhook: '{receiver.url}', secret: '{SECRET}'}}"
        (tmp_path / "notify.yaml").write_text(f"channels: {{a: {hook}, b: {hook}}}")
        receiver.answers += [204, 500]
        both, one = (CliRunner().invoke(app, ["notify", "test", *names]) for names in ([], ["b"]))
        unknown = CliRunner().invoke(app, ["notify", "test", "c"])
    assert (both.exit_code, one.exit_code) == (3, 0)
    assert both.stdout == "a: sent\n"
    assert "b: failed: answered 500" in both.stderr
    assert len(receiver.posts) == 3
    assert b"image/jpeg" in receiver.posts[0][1]
    assert "has no channel c; there are: a, b" in str(unknown.exception)
