"""Secrets from variables and files, and where configs take them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.program import refused as command_refused

from rxpipe.cli.commands.store_location import StoreLocation, store_at
from rxpipe.config import Config, load_config
from rxpipe.database.engine import shown
from rxpipe.errors import ConfigError
from rxpipe.llm.client import key_from
from rxpipe.secret_values import filled, secret

PASSWORD = "hunter2@:/%é"
ESCAPED = "hunter2%40%3A%2F%25%C3%A9"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that ``BANK_FILE`` names."""
    monkeypatch.setenv("BANK_FILE", str(tmp_path / "bank"))
    return tmp_path / "bank"


def config(folder: Path, text: str) -> Config:
    path = folder / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_a_variable_goes_before_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file ends with a line end, which is no part of a secret; a variable that is blank is none."""
    file.write_text(f" {PASSWORD}\n", encoding="utf-8")
    assert secret("BANK") == PASSWORD
    monkeypatch.setenv("BANK", " ")
    assert secret("BANK") == PASSWORD
    monkeypatch.setenv("BANK", "own")
    assert secret("BANK") == "own"


def test_no_secret(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is set, or the file is empty."""
    file.write_text("\n", encoding="utf-8")
    assert secret("BANK") is None
    monkeypatch.delenv("BANK_FILE")
    assert secret("BANK") is None


def test_a_file_that_cannot_be_read(file: Path) -> None:
    """The variable is named, and why."""
    with pytest.raises(ConfigError, match=r"^the file that BANK_FILE names cannot be read: No such file or directory$"):
        secret("BANK")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"^the file that BANK_FILE names is no text in UTF-8$"):
        secret("BANK")


def test_a_key_from_a_file(file: Path) -> None:
    """As one from the environment."""
    file.write_text("sk-1234\n", encoding="utf-8")
    assert key_from("BANK") == "sk-1234"
    file.unlink()
    with pytest.raises(ConfigError, match=r"^providers\.main\.api_key_env: the file that BANK_FILE names cannot be"):
        key_from("BANK", where="providers.main.api_key_env")


@pytest.mark.parametrize(
    ("text", "secret", "url"),
    [
        ("${BANK}", "postgresql://me:a%40b@host/bank", "postgresql://me:a%40b@host/bank"),
        ("postgresql://me:${BANK}@host/bank", PASSWORD, f"postgresql://me:{ESCAPED}@host/bank"),
        ("postgresql://${BANK}:${BANK}@host/bank", "me", "postgresql://me:me@host/bank"),
        ("${BANK}", "postgresql://me:${HOME}@host/bank", "postgresql://me:%24%7BHOME}@host/bank"),
        ("postgresql://me:$BANK@host/bank", "me", "postgresql://me:$BANK@host/bank"),
    ],
)
def test_a_url_with_secrets(monkeypatch: pytest.MonkeyPatch, text: str, secret: str, url: str) -> None:
    """A part is escaped, the whole is not; what comes of it is a URL without variables."""
    monkeypatch.setenv("BANK", secret)
    assert filled(text) == url
    assert filled(url) == url


def test_a_config_with_secrets(file: Path, tmp_path: Path) -> None:
    """Of the database and of the source; settings leave them as they are, and no password is shown."""
    file.write_text(f"{PASSWORD}\n", encoding="utf-8")
    url = "postgresql://me:${BANK}@host/bank"
    made = config(tmp_path, f"database: {{url: '{url}'}}\nsource: {{sql: select 1, url: '{url}'}}")
    expected = f"postgresql://me:{ESCAPED}@host/bank"
    assert (made.database.url, made.source.url) == (expected, expected)
    assert made.with_settings({"strategy": "per_item"}).database.url == expected
    assert "hunter2" not in shown(made.database.url) + repr(made.database)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "neither the environment variable BANK nor BANK_FILE is set"),
        (
            "hunter2",
            "not shown, as it may be secret; allowed: a database URL, like sqlite:///questions.db or "
            "postgresql+psycopg://user@host/name",
        ),
    ],
)
def test_a_config_without_its_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, message: str
) -> None:
    """The key is named and the variable is, what the variable holds is not."""
    if value is not None:
        monkeypatch.setenv("BANK", value)
    with pytest.raises(ConfigError) as raised:
        config(tmp_path, "database: {url: '${BANK}'}")
    assert str(raised.value) == f"{tmp_path / 'pipeline.yaml'}, line 1: database.url: {message}"


def test_the_option_takes_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves them alone between single quotes."""
    message = "neither the environment variable BANK nor BANK_FILE is set"
    assert command_refused("runs", "--database", "${BANK}") == f"--database: {message}"


def test_the_variable_of_the_commands_may_name_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``RXPIPE_DATABASE_FILE``."""
    (tmp_path / "url").write_text(f"sqlite:///{tmp_path / 'none.db'}", encoding="utf-8")
    monkeypatch.delenv("RXPIPE_DATABASE", raising=False)
    monkeypatch.setenv("RXPIPE_DATABASE_FILE", str(tmp_path / "url"))
    with pytest.raises(ConfigError, match=r"none\.db"), store_at(StoreLocation()):
        pass
