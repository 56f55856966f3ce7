"""Log lines of commands: names in them cannot steer a terminal or pass for other lines."""

import logging

import pytest

from headhunt_svc.cli.main import _safe_logging


def test_a_name_in_a_log_line_is_printed_and_not_obeyed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = logging.lastResort
    assert handler is not None
    monkeypatch.setattr(handler, "formatter", None)
    _safe_logging()
    logger = logging.getLogger("names in log lines")
    monkeypatch.setattr(logger, "propagate", False)  # as in a command: no handler but the last
    try:
        raise ValueError("\x1b]0;owned\x07 \x9b2J")
    except ValueError:
        logger.exception("%s failed", "a\x1b[2J\nerror: all is lost\u202e.mp4")
    text = capsys.readouterr().err
    assert "a%1B[2J%0Aerror: all is lost%E2%80%AE.mp4 failed" in text
    assert "ValueError: %1B]0;owned%07 %C2%9B2J" in text
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
