"""Configs that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rxpipe.config import load_config
from rxpipe.errors import ConfigError

Refused = Callable[[str | bytes], str]


def refusing(folder: Path) -> Refused:
    """Loads a config that must be refused, and gives the message, with only the file's name for its path."""

    def refused(text: str | bytes) -> str:
        path = folder / "pipeline.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(ConfigError) as raised:
            load_config(path)
        # No traceback is printed but the error's own.
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__ or raised.value.__context__ is None
        return str(raised.value).replace(str(path), "pipeline.yaml")

    return refused
