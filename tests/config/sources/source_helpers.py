"""Reading the sources of configs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from rxpipe.config import Config
from rxpipe.config.sources import read_source
from rxpipe.errors import ConfigError

Configured = Callable[..., Config]


def read(config: Config, count: int | None = None) -> Iterable[Any]:
    """What the source gives."""
    ids = read_source(config, count=count)
    assert isinstance(ids, Iterable)
    return ids


def listed(config: Config, count: int | None = None) -> list[Any]:
    """All that it gives."""
    return list(read(config, count))


def refusal(config: Config, count: int | None = None) -> str:
    """What is said of a source that cannot be read, with short names for the files."""
    with pytest.raises(ConfigError) as raised:
        read_source(config, count=count)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return str(raised.value).replace(f"{config.folder}/", "")
