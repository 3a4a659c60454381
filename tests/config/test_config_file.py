"""What is said of a config's file that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from rxpipe.config import load_config
from rxpipe.errors import ConfigError


@pytest.mark.parametrize(("name", "message"), [("a.yaml", "no such file"), ("", "a directory; allowed: a file")])
def test_a_path_that_is_no_file(tmp_path: Path, name: str, message: str) -> None:
    """A missing file and a directory are told as such."""
    path = tmp_path / name

    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert str(raised.value) == f"{path}: {message}"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says is passed on, with the file's name."""

    def denied(_self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)  # root may read every file

    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path / "a.yaml")
    assert str(raised.value) == f"{tmp_path / 'a.yaml'}: cannot be read: Permission denied"


def test_a_path_with_a_nul() -> None:
    """It cannot be a path on any system."""
    with pytest.raises(ConfigError, match=r"^'a\\x00b': not a path"):
        load_config("a\0b")
