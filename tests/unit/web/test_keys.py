from pathlib import Path

import pytest
from pydantic import SecretStr

from headhunt_svc.errors import ConfigError
from headhunt_svc.settings import Settings
from headhunt_svc.web.keys import CurrentKeys, Keys, keys_for, required

ONE, TWO = "k" * 20, "another-key-of-length"


def settings(keys: str | None = None, file: Path | None = None) -> Settings:
    return Settings(api_keys=None if keys is None else SecretStr(keys), api_keys_file=file)


def test_each_key_has_its_name() -> None:
    keys = Keys.load(settings(f"gate:{ONE}, yard:{TWO}"))
    assert keys.name_of(f"Bearer {ONE}") == "gate"
    assert keys.name_of(f"bearer {TWO}") == "yard"


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", ONE, f"Basic {ONE}", f"Bearer {ONE}x", f"Bearer {ONE[:-1]}", "Bearer \udcff"],
)
def test_anything_else_is_nobody(header: str | None) -> None:
    assert Keys.load(settings(f"gate:{ONE}")).name_of(header) is None


def test_keys_from_the_environment_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who may ask\nyard:{TWO}\n\n")
    file.chmod(0o640)
    monkeypatch.setenv("HEADHUNT_API_KEYS", f"gate:{ONE}")
    monkeypatch.setenv("HEADHUNT_API_KEYS_FILE", str(file))
    keys = Keys.load(Settings())
    assert [keys.name_of(f"Bearer {k}") for k in (ONE, TWO)] == ["gate", "yard"]


def test_a_file_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"yard:{TWO}\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match=r"everybody can read.*chmod o-r"):
        Keys.load(settings(file=file))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (f"{ONE}", "has no name"),
        (f":{ONE}", "is empty"),
        (f"a:{ONE},a:{TWO}", "twice"),
        ("a:short", "16 or more"),
        (f"a:{ONE} {TWO}", "no spaces"),
    ],
)
def test_wrong_keys_are_named_and_never_shown(keys: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        Keys.load(settings(keys))
    assert ONE not in str(raised.value)


@pytest.mark.parametrize(("text", "says"), [(None, "cannot be read"), ("# nobody\n", "no API keys in this file")])
def test_a_file_without_keys_is_an_error(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "keys"
    if text is not None:
        file.write_text(text)
        file.chmod(0o600)
    with pytest.raises(ConfigError, match=says):
        Keys.load(settings(file=file))


def test_keys_are_not_shown() -> None:
    keys, given = Keys.load(settings(f"gate:{ONE}")), settings(f"gate:{ONE}")
    assert all(ONE not in text for text in (repr(keys), str(vars(keys)), repr(given), given.model_dump_json()))


@pytest.mark.parametrize(
    ("host", "needed"),
    [
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("::1", False),
        ("[::1]", False),
        ("::ffff:127.0.0.1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("10.0.0.1", True),
        ("camera.example", True),
        ("127.0.0.1.example", True),
        ("", True),
    ],
)
def test_all_but_loopback_needs_keys(host: str, needed: bool) -> None:
    assert required(host) is needed


def test_without_keys_only_loopback_is_served() -> None:
    assert keys_for(settings(), ["127.0.0.1", "::1"]) is None
    assert keys_for(settings(f"gate:{ONE}"), ["127.0.0.1"]) is not None
    with pytest.raises(ConfigError, match=r"listening on 0\.0\.0\.0 needs API keys"):
        keys_for(settings(), ["127.0.0.1", "0.0.0.0"])


def test_a_changed_file_of_keys_counts_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("headhunt_svc.web.keys.monotonic", lambda: now[0])
    file = tmp_path / "keys"
    file.write_text(f"yard:{ONE}\n")
    file.chmod(0o600)
    current = CurrentKeys(settings(file=file), ["0.0.0.0"])

    def names() -> list[str | None]:
        now[0] += 10
        return [current().name_of(f"Bearer {key}") for key in (ONE, TWO)]

    assert names() == ["yard", None]
    file.write_text(f"yard:{ONE}\ngate:{TWO}\n")
    assert names() == ["yard", "gate"]
    file.write_text(f"gate:{TWO}\n")
    assert names() == [None, "gate"]
    for broken in ("", "nonsense", f"gate:{ONE}\ngate:{TWO}\n"):  # half a file, a slip: those before still count
        file.write_text(broken)
        assert names() == [None, "gate"]
    file.unlink()
    assert names() == [None, "gate"]
    file.write_text(f"yard:{ONE}\n")
    file.chmod(0o600)
    assert names() == ["yard", None]
