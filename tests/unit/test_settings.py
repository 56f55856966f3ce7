from pathlib import Path

import pytest

from headhunt_svc.errors import ConfigError
from headhunt_svc.settings import EventSettings, JobSettings, Settings


def test_every_list_in_the_environment_is_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = {
        "URI_ROOTS": "/srv/a, /srv/b:c,",
        "URI_HOSTS": "cameras.example:8080,10.0.0.7",
        "JOBS_ROOTS": "/srv/a",
        "JOBS_URI_PREFIXES": "s3://bucket/,s3://other/day/",
        "JOBS_WEBHOOK_HOSTS": "",
    }
    for name, value in lists.items():
        monkeypatch.setenv(f"HEADHUNT_{name}", value)
    settings, jobs = Settings(), JobSettings()
    assert settings.uri_roots == (Path("/srv/a"), Path("/srv/b:c"))
    assert settings.uri_hosts == ("cameras.example:8080", "10.0.0.7")
    assert jobs.roots == (Path("/srv/a"),)
    assert jobs.uri_prefixes == ("s3://bucket/", "s3://other/day/")
    assert jobs.webhook_hosts == ()


def test_a_json_list_is_refused_and_not_read_as_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADHUNT_JOBS_ROOTS", '["/srv/a"]')
    with pytest.raises(ConfigError, match=r"HEADHUNT_JOBS_ROOTS.*separate the items by commas"):
        JobSettings()


def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADHUNT_EVENTS_TIME_ZONE", "Mars")
    monkeypatch.setenv("HEADHUNT_EVENTS_KEEP_DAYS", "-1")
    monkeypatch.setenv("HEADHUNT_EVENTS_DATABASE", "postgresql://me:secret@host/events")
    with pytest.raises(ConfigError, match=r"HEADHUNT_EVENTS_KEEP_DAYS: .*; HEADHUNT_EVENTS_TIME_ZONE: .*Mars") as error:
        EventSettings()
    assert "secret" not in str(error.value)
